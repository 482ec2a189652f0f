"""Shared by sources of boxes: checking boxes and writing them as labels, and splits from file names."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regraft.contracts.example import Example, Found, in_file
from regraft.errors import BadData
from regraft.values import notices
from regraft.words import counted, named

Box = tuple[str, float, float, float, float]
"""Class; left, top, right and bottom edge in pixels of the image."""
TASK = "detection"


@dataclass
class Boxes:
    """The images of a source, and problems found with their boxes."""

    where: Path
    """Path given by the user."""
    examples: list[Example] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Images that do not exist."""
    odd: dict[str, list[str]] = field(default_factory=dict)
    """Images by problem with a box, once per box."""
    task: str = TASK
    """What the labels are for."""

    def add(
        self, name: str, path: Path, boxes: Iterable[Box], size: tuple[float, float] | None, split: str | None,
        *, group: str | None = None, row: int | None = None,
    ) -> None:  # fmt: skip
        """Add an image with its boxes; `size` is its width and height, if known."""
        if not path.is_file():
            self.missing.append(str(path))
            return
        seen = dict[tuple[Any, ...], None]()
        for label, *sides in boxes:
            found = self._mended(name, sides, size)
            if found and (label, *found) in seen:
                self._note("given twice, counted once", name)
            elif found:
                seen[label, *found] = None
        label = json.dumps([{"label": label, "box": sides} for label, *sides in seen], ensure_ascii=False)
        self.examples.append(Example(id=name, contents=in_file(path), label=label, group=group, split=split, row=row))

    def _mended(self, name: str, sides: Sequence[float], size: tuple[float, float] | None) -> list[float]:
        """Return the corrected box; empty to leave it out."""
        left, top, right, bottom = map(float, sides)
        if not all(abs(side) < float("inf") for side in (left, top, right, bottom)):
            self._note("with sides that are not finite, left out", name)
            return []
        if left > right or top > bottom:
            self._note("with swapped sides (left beyond right, or top below bottom), put in order", name)
            left, right, top, bottom = min(left, right), max(left, right), min(top, bottom), max(top, bottom)
        if left == right or top == bottom:
            self._note("empty, left out", name)
            return []
        width, height = size or (float("inf"), float("inf"))
        cut = [max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)]
        if cut[0] >= cut[2] or cut[1] >= cut[3]:
            self._note("outside the image, left out", name)
            return []
        if max(abs(one - other) for one, other in zip(cut, (left, top, right, bottom), strict=True)) > 1:
            self._note("extending beyond the image, clipped to it", name)
        return [round(side, 3) for side in cut]

    def _note(self, what: str, name: str) -> None:
        self.odd.setdefault(what, []).append(name)

    def found(self, notes: Sequence[str] = ()) -> Found:
        """Return what the source read, in the order of ids.

        Raises:
            BadData: images do not exist, there is none, or none has a box.
        """
        if self.missing:
            raise BadData(
                f"{counted(len(self.missing), 'image')} of {self.where.name} not found: {named(self.missing, 2)}.",
                fix="put the images where the annotations expect them (for COCO JSON: beside it, or --folder FOLDER).",
            )
        if not any(one.label != "[]" for one in self.examples):
            raise BadData(f"{self.where} holds no boxes.", fix="provide images with boxes, or use another --task.")
        told = [
            f"{counted(len(names), 'box is', 'boxes are')} {what}: {named(dict.fromkeys(names))}."
            for what, names in sorted(self.odd.items())
        ]
        empty = sum(one.label == "[]" for one in self.examples)
        told += [f"{counted(empty, 'image has', 'images have')} no box: background only."] if empty else []
        examples = tuple(sorted(self.examples, key=lambda one: one.id))
        return Found(examples=examples, modality="image", notes=notices([*told, *notes]), task=self.task)
