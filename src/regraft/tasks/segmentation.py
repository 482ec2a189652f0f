"""Semantic segmentation: a class for every point of an example.

A feature pyramid maps the backbone's taps to maps with the same number of channels; their sum predicts classes at twice
the resolution of the finest map. The values are interpolated linearly to the example's own size, and the class with the
highest one is predicted.

A label is JSON: `{"size": [h, w], "classes": [NAME, …], "mask": TEXT}`. TEXT holds a byte per point, row by row,
compressed by zlib and in base 64: an index in `classes`, in which null stands for points to ignore.

Source: Lin et al. 2017, arXiv:1612.03144 (feature pyramid, torchvision's version); Kirillov et al. 2019,
arXiv:1901.02446 (sum of its maps); Shi et al. 2016, arXiv:1609.05158 (finer maps from channels).

Letters: n examples, b rows of a batch, c classes, p and q sides of the head's map, s side of a training mask.
"""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from regraft.contracts.example import Marks, as_records
from regraft.contracts.page import Words
from regraft.contracts.task import Reads, Task
from regraft.errors import BadData
from regraft.tasks.masks import IGNORED, Mask, in_view
from regraft.tasks.said import between, highest, mask, recorded, script
from regraft.values import Json, Prediction
from regraft.words import counted, joined

if TYPE_CHECKING:
    from torch import Tensor, nn

READS = Reads("pooled", strides=(8, 16, 32), whole=True)
WIDTH = 96
"""Channels of the pyramid."""
SIDE = 112
"""Side of training masks: that of the head's output for a view of side 448, twice that for 224 (our choice)."""
MOST = 255
"""Maximum number of classes: an index is a byte."""


@dataclass(frozen=True)
class Segmentation(Task):
    """Semantic segmentation with these classes."""

    classes: tuple[str, ...]
    kind: str = "segmentation"
    reads: Reads = READS
    moves: bool = True
    places: Sequence[str] = ("box",)
    head_epochs: int = 12

    def words(self) -> Words:
        """Return the names that reports use: masks."""
        of = f"with masks of {counted(len(self.classes), 'class', 'classes')}"
        return Words(
            output="class",
            outputs="classes",
            asked=of,
            labelled=of,
            given=f"a mask of {counted(len(self.classes), 'class', 'classes')}, as large as the input",
            purpose="Assigns every point of inputs of the kind the model was trained on to one of the classes above",
            caution="Every point gets one of the classes, even if it belongs to none, and the mask does not show how "
            "confident the model is.",
            fields="prediction.label, prediction.record",
            probe="head alone",
        )

    def named(self, label: str) -> Sequence[str]:
        """Return the classes of its points."""
        return tuple(name for name in read_label(label)["classes"] if name is not None)

    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Return a `Mask` for each example."""
        return as_records([self._mask(read_label(label)) for label in labels])

    def strata(self, targets: np.ndarray) -> Int[np.ndarray, "n"]:
        """Return for each example its class that occurs in the fewest examples."""
        count = Counter(number for one in targets for number in set(one.numbers))
        return np.array([min(one.numbers, key=lambda number: (count[number], number), default=0) for one in targets])

    def encoded(self, targets: np.ndarray, placements: Mapping[str, np.ndarray]) -> Int[np.ndarray, "b s s"]:
        """Return for each view the visible part of its mask."""
        placed = zip(targets, placements["box"], placements["flips"], strict=True)
        return np.stack([in_view(one.grid(), box, flips, SIDE) for one, box, flips in placed]).astype(np.int64)

    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """Return a head: taps -> logits of the classes (b c p q)."""
        from regraft.nn.masks import MaskHead

        taps = {name: width for name, width in widths.items() if name != self.reads.readout}
        return MaskHead(taps, WIDTH, len(self.classes), dropout)

    def objective(self, targets: np.ndarray, *, balanced: bool, smoothing: float) -> "Callable[[Any, Any], Tensor]":
        """Return the sum of cross entropy and Dice loss."""
        from regraft.nn.masks import mask_loss

        return partial(mask_loss, IGNORED)

    def gathered(self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any) -> np.ndarray:
        """Return the mask of every example, at its own size."""
        rows = (maps for batch in batches for maps in batch)
        grids = [highest(maps, placed) for maps, placed in zip(rows, placements["box"], strict=True)]
        return self.restored([recorded(grid, self.classes) for grid in grids])

    def graph(self, output: Any, temperature: float, placed: Mapping[str, "Tensor"]) -> "Mapping[str, Tensor]":
        """Return in addition `placed` (b 4), the visible part of each example; masks are computed outside the graph."""
        return {"placed": placed["box"] * 1.0}

    def standalone(self) -> str:
        """Return a script for the mask, as in `gathered` and `recorded`."""
        return script(between, highest, recorded, mask)

    def decode(self, outputs: np.ndarray) -> list[str]:
        """Return the classes of each output's points, in the order of `classes`."""
        found = (np.unique(one.grid()).tolist() for one in outputs)
        return [joined(name for number, name in enumerate(self.classes) if number in some) for some in found]

    def recorded(self, outputs: np.ndarray) -> list[Json]:
        """Return a mask in the form of a label, with all classes, and the `shares` of its points by class."""
        return [recorded(one.grid(), self.classes) for one in outputs]

    def restored(self, records: Sequence[Any]) -> np.ndarray:
        """Return the masks."""
        return as_records([self._mask(one) for one in records])

    def predictions(self, outputs: np.ndarray) -> list[Prediction]:
        """Return the names of the classes with at least one point; the record holds the mask itself."""
        return [Prediction(id="", label=label, probabilities={}) for label in self.decode(outputs)]

    def marks(self, record: Any) -> Marks:
        """Return the mask in a prediction's record."""
        return Marks(numbers=self._mask(record).grid())

    def doubtful(self, targets: np.ndarray) -> Iterable[tuple[str, str, str, Sequence[int]]]:
        """Return masks of a single class, and those in which nothing counts."""
        classes = [set(one.numbers) - {IGNORED} for one in targets]
        fix = "look at them: what they should mark may have been forgotten, or lie outside."
        yield "masks of one class", "have a mask of one class all over", fix, _where(classes, 1)
        yield "empty masks", "have a mask in which every point is ignored", "leave them out.", _where(classes, 0)

    def _mask(self, said: Mapping[str, Any]) -> Mask:
        number = {name: at for at, name in enumerate(self.classes)} | {None: IGNORED}
        if odd := [name for name in said["classes"] if name not in number]:
            raise BadData(
                f"The class {odd[0]!r} of a mask is unknown to the model (its classes: {', '.join(self.classes)}).",
                fix="name the classes as in training (classes.txt), or leave out such masks.",
            )
        height, width = said["size"]
        return Mask((height, width), said["mask"], tuple(number[name] for name in said["classes"]))


def _where(classes: Sequence[set[int]], count: int) -> list[int]:
    return [at for at, some in enumerate(classes) if len(some) == count]


def read_label(label: str) -> Mapping[str, Any]:
    """Return the contents of a label.

    Raises:
        BadData: the label is not JSON of this form.
    """
    try:
        said = json.loads(label)
        sized = len([int(side) for side in said["size"]]) == 2
        if sized and all(name is None or isinstance(name, str) for name in said["classes"]):
            b64decode(said["mask"], validate=True)
            return said
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise BadData(
        f"The label {label[:60]!r} is not a mask.",
        fix="provide masks beside their examples, in folders or a table; see the how-to on masks.",
    )


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Segmentation:
    """Return the segmentation task with these classes."""
    return Segmentation(tuple(classes))


ENTRY = task
