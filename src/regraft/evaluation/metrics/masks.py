"""Metrics of segmentation, and the results by class in a report.

Targets and outputs are masks (`tasks/masks.py`); points that the target ignores are excluded. Intersection over union
(IoU) and the Dice coefficient pool all points of a sample, by class; the mean is over classes that occur in targets or
outputs. The boundary F-score is computed for each example and class from the fractions of either boundary that are near
the other, then averaged over examples, then over classes.

Letters: n examples, b resamples, c classes, h and w rows and columns of an example.

Source: Everingham et al. 2010, doi:10.1007/s11263-009-0275-4 (IoU); Csurka et al. 2013, doi:10.5244/C.27.32 (the
boundary F-score and its tolerance).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil, isqrt
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from regraft.contracts.metric import Figures, Metric, Tested
from regraft.contracts.page import Block, Context, Table, worst
from regraft.errors import BadData
from regraft.evaluation.intervals import Statistic, bootstrap, num_resamples_for
from regraft.evaluation.metrics._common import mean_where, safe_ratio
from regraft.tasks.masks import IGNORED
from regraft.values import Measured

NEAR = 0.0075
"""Tolerance of the boundary, as a fraction of the example's diagonal, rounded up to whole points."""
KEYS = ("iou", "dice", "boundary_f")
NONE = "no point is of it"


def grids(target: Any, output: Any) -> tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """Return both as class indices, with `IGNORED` where the target has it.

    Raises:
        BadData: their sizes differ.
    """
    truth, said = target.grid(), output.grid()
    if truth.shape != said.shape:
        raise BadData(
            f"The mask has {truth.shape[0]} x {truth.shape[1]} points, but the predicted one has {said.shape[0]} x "
            f"{said.shape[1]}.",
            fix="use masks of the same size as their examples.",
        )
    return truth, np.where(truth == IGNORED, np.uint8(IGNORED), said)


def points(targets: Any, outputs: Any) -> Float[np.ndarray, "n s"]:
    """Return for each example, by class, the number of its points in both, in the target, in the output (s = 3c)."""
    count = _num_classes(targets, outputs)
    found = np.zeros((len(targets), 3, count))
    for at, (target, output) in enumerate(zip(targets, outputs, strict=True)):
        truth, said = grids(target, output)
        for row, some in enumerate((truth[truth == said], truth, said)):
            found[at, row] = np.bincount(some.ravel(), minlength=IGNORED + 1)[:count]
    return found.reshape(len(targets), -1)


def overlap(sums: Float[np.ndarray, "b s"], *, dice: bool) -> Float[np.ndarray, "b c"]:
    """Return IoU or Dice coefficient by class, from sums of `points`; nan if neither has a point of the class."""
    both, truth, said = np.moveaxis(sums.reshape(len(sums), 3, -1), 1, 0)
    return safe_ratio(2 * both, truth + said) if dice else safe_ratio(both, truth + said - both)


def boundary(grid: UInt8[np.ndarray, "h w"], number: int) -> Bool[np.ndarray, "h w"]:
    """Return the points of a class next to a point of another (left, right, above or below), not counting ignored
    points."""
    inside, found = grid == number, np.zeros(grid.shape, dtype=bool)
    other = ~inside & (grid != IGNORED)
    found[1:] |= inside[1:] & other[:-1]
    found[:-1] |= inside[:-1] & other[1:]
    found[:, 1:] |= inside[:, 1:] & other[:, :-1]
    found[:, :-1] |= inside[:, :-1] & other[:, 1:]
    return found


def within(some: Bool[np.ndarray, "h w"], near: int) -> Bool[np.ndarray, "h w"]:
    """Return which points are at most `near` away from one of these (Euclidean distance)."""
    height, width = some.shape
    before = np.zeros((height, width + 2 * near + 1), dtype=np.int64)  # how many stand to the left
    np.cumsum(np.pad(some, ((0, 0), (near, near))), axis=1, out=before[:, 1:])
    found = np.zeros(some.shape, dtype=bool)
    for down in range(-min(near, height - 1), min(near, height - 1) + 1):
        across = isqrt(near * near - down * down)
        last = before[:, near + across + 1 : near + across + 1 + width]
        row = last > before[:, near - across : near - across + width]
        found[max(0, down) : height + min(0, down)] |= row[max(0, -down) : height - max(0, down)]
    return found


def boundaries(targets: Any, outputs: Any) -> Float[np.ndarray, "n s"]:
    """Return for each example, by class, the F-score of its boundary, and 1 if either has a boundary (s = 2c)."""
    count = _num_classes(targets, outputs)
    found = np.zeros((len(targets), 2, count))
    for at, (target, output) in enumerate(zip(targets, outputs, strict=True)):
        truth, said = grids(target, output)
        near = ceil(NEAR * float(np.hypot(*truth.shape)))
        for number in np.union1d(truth, said)[:count].tolist():
            if number == IGNORED:
                continue
            one, other = boundary(truth, number), boundary(said, number)
            found[at, 1, number] = one.any() or other.any()
            if one.any() and other.any():
                recall, precision = within(other, near)[one].mean(), within(one, near)[other].mean()
                found[at, 0, number] = 2 * precision * recall / max(precision + recall, 1e-300)
    return found.reshape(len(targets), -1)


def scored(sums: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "b c"]:
    """Return the mean F-score by class, from sums of `boundaries`."""
    score, there = np.moveaxis(sums.reshape(len(sums), 2, -1), 1, 0)
    return safe_ratio(score, there)


def _num_classes(targets: Any, outputs: Any) -> int:
    numbers = {number for masks in (targets, outputs) for one in masks for number in one.numbers} - {IGNORED}
    return max(numbers, default=0) + 1


def _mean(by_class: Callable[[Any], Float[np.ndarray, "b c"]], sums: Float[np.ndarray, "b s"]) -> Any:
    return mean_where(by_class(sums))


@dataclass(frozen=True, kw_only=True)
class ClassPoints:
    """Results of one class."""

    name: str
    share: float
    """Fraction of all points of the targets."""
    metrics: Mapping[str, Measured]
    """`iou`, `dice` and `boundary_f` of this class."""


@dataclass(frozen=True, kw_only=True)
class MaskFigures(Figures):
    """Results by class."""

    per_class: tuple[ClassPoints, ...]

    def blocks(self, of: Context) -> Iterator[Block]:
        """Return a table."""
        rows = [
            (one.metrics["iou"], (one.name, f"{one.share:.1%}", *(one.metrics[key].told() for key in KEYS)))
            for one in self.per_class
        ]
        note, shown_rows = worst("classes", rows, "IoU")
        how = (
            "IoU and Dice coefficient pool all points, so large examples count for more. The boundary "
            f"F-score is a mean over examples; boundary points match within {NEAR:.2%} of an example's diagonal."
        )
        table = Table(("Class", "share of points", "IoU", "Dice", "boundary F-score"), shown_rows)
        yield Block("Masks by class", (how, note, table))


def figures_of_masks(tested: Tested) -> MaskFigures:
    """Return the results of every class, all intervals from the same resamples."""
    sums, edges = points(tested.targets, tested.outputs), boundaries(tested.targets, tested.outputs)
    known = sums.shape[1] // 3
    statistics = {
        f"{key} {at}": Statistic(of_weights=partial(_of_class, rows, by_class, at), bounds=(0.0, 1.0), undefined=NONE)
        for key, rows, by_class in zip(KEYS, (sums, sums, edges), _BY_CLASS, strict=True)
        for at in range(known)
    }
    times = num_resamples_for(len(tested.targets), known)
    measured = bootstrap(statistics, len(tested.targets), num_resamples=times, **tested.how)
    none, truth = Measured(value=float("nan"), method=f"undefined: {NONE}"), sums[:, known : 2 * known].sum(axis=0)
    return MaskFigures(
        per_class=tuple(
            ClassPoints(
                name=name,
                share=float(truth[at] / max(1.0, truth.sum())) if at < known else 0.0,
                metrics={key: measured.get(f"{key} {at}", none) for key in KEYS},
            )
            for at, name in enumerate(tested.names)
        )
    )


def _of_class(rows: np.ndarray, by_class: Any, at: int, weights: np.ndarray) -> np.ndarray:
    return by_class(weights @ rows)[:, at]


_BY_CLASS = (partial(overlap, dice=False), partial(overlap, dice=True), scored)
_metric = partial(
    Metric, higher_is_better=True, range=(0.0, 1.0), kinds=frozenset({"segmentation"}), undefined="there is no point"
)
NAMES = ("iou", "dice", "boundary_f")
KINDS = ("segmentation",)
ENTRIES = {
    "iou": _metric(
        name="iou",
        title="Mean IoU (intersection over union, mean over classes)",
        statistics=points,
        value=partial(_mean, _BY_CLASS[0]),
        main=frozenset({"segmentation"}),
        figures=figures_of_masks,
    ),
    "dice": _metric(
        name="dice", title="Dice coefficient (mean over classes)", statistics=points,
        value=partial(_mean, _BY_CLASS[1]),
    ),
    "boundary_f": _metric(
        name="boundary_f", title="Boundary F-score (mean over examples and classes)", statistics=boundaries,
        value=partial(_mean, scored),
    ),
}  # fmt: skip
