"""Outlines of objects in COCO's format, read as masks."""

import json
import zlib
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from regraft.data.sources._boxes import Boxes

BACKGROUND = "background"


@dataclass
class Outlines(Boxes):
    """The images of a source, with masks of the outlined objects."""

    task: ClassVar[str] = "segmentation"  # type: ignore[misc]

    def add(
        self, name: str, path: Path, boxes: Iterable[Any], size: tuple[float, float] | None, split: str | None,
        *, group: str | None = None, row: int | None = None,
    ) -> None:  # fmt: skip
        """Add an image with its outlines: pairs of a class (None: ignore) and a segmentation. Smaller ones are laid
        over larger ones.

        Raises:
            IndexError, TypeError, ValueError: a segmentation is not valid.
        """
        from regraft.modalities.image.masks import outlined, size_of

        super().add(name, path, (), size, split, group=group, row=row)
        if not path.is_file():
            return
        shape = (
            (round(size[1]), round(size[0])) if size else size_of(path) or (1, 1)
        )  # the scan reports unreadable ones
        found = [(label, outlined(segmentation, shape)) for label, segmentation in boxes]
        grid, numbers = np.zeros(shape, dtype=np.int64), {BACKGROUND: 0}
        for label, inside in sorted(found, key=lambda one: -one[1].sum()):
            grid[inside] = numbers.setdefault(label, len(numbers))
        kept, places = np.unique(grid, return_inverse=True)
        text = b64encode(zlib.compress(places.astype(np.uint8).tobytes(), 6)).decode()
        said = {"size": list(shape), "mask": text, "classes": [list(numbers)[at] for at in kept.tolist()]}
        self.examples[-1] = replace(self.examples[-1], label=json.dumps(said, ensure_ascii=False))
