"""Metrics of object detection, as in COCO's evaluation, and what a report shows by class.

A target holds `boxes` (m 4) and `labels` (m), an output also `scores` (m). A predicted box is correct if it overlaps a
box of its class, not matched by a better-scoring one, with at least a given IoU.

Letters: n examples, b resamples, d predicted boxes of a class in all examples, t thresholds, c classes, m boxes of one
example.

Source: Lin et al. 2014, arXiv:1405.0312; pycocotools (cocoeval.py) for all areas and 100 boxes per example.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.contracts.metric import Figures, Metric, Tested
from regraft.contracts.page import Block, Context, Table, worst
from regraft.evaluation.intervals import Statistic, bootstrap, num_resamples_for
from regraft.evaluation.metrics._common import mean_where, safe_ratio
from regraft.nn.boxes import areas, overlaps
from regraft.tasks.detection import STATED
from regraft.values import Measured, shown

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
RECALLS = np.linspace(0.0, 1.0, 101)
KEYS = ("ap50", "map", "precision", "recall")
SIZES = (("small (under 32 x 32)", 0.0), ("medium", 32.0**2), ("large (96 x 96 or more)", 96.0**2))
"""Bins of box area, in squared units of its sides, each with its lower limit, as in COCO."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranked:
    """The predicted boxes of one class, by descending score."""

    example: Int[np.ndarray, " d"]
    right: Bool[np.ndarray, "t d"]
    truth: Float[np.ndarray, " n"]
    """Number of ground-truth boxes of the class in each example."""

    def average_precision(self, weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b t"]:
        """Average precision by threshold: the mean over 101 recall levels of the best precision at that recall or
        higher; nan if the sample has no box of the class."""
        total, each = weights @ self.truth, weights[:, self.example]
        seen = np.cumsum(each, axis=1)
        found = np.full((len(weights), len(self.right)), np.nan)
        for at, right in enumerate(self.right):
            steps = np.flatnonzero(right)  # recall rises, and precision is best, at right boxes alone
            hits = np.cumsum(each[:, steps], axis=1)
            precision = np.divide(hits, seen[:, steps], out=np.zeros_like(hits), where=hits > 0)
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            for row in np.flatnonzero(total > 0):
                place = np.searchsorted(hits[row] / total[row], RECALLS, side="left")
                reached = place[place < len(steps)]
                found[row, at] = best[row, reached].sum() / len(RECALLS)
        return found


def ranked(targets: Any, outputs: Any, thresholds: Sequence[float]) -> list[Ranked]:
    """The boxes of every class up to the highest that occurs in the targets."""
    count = 1 + max((int(one["labels"].max(initial=-1)) for one in targets), default=-1)
    made: list[list[tuple[int, float, np.ndarray]]] = [[] for _ in range(count)]
    truth = np.zeros((count, len(targets)))
    for at, (target, output) in enumerate(zip(targets, outputs, strict=True)):
        np.add.at(truth[:, at], target["labels"], 1)
        right = matched(target, output, thresholds)
        for label, score, hit in zip(output["labels"].tolist(), output["scores"].tolist(), right.T, strict=True):
            if label < count:
                made[label].append((at, score, hit))
    found = []
    for label, rows in enumerate(made):
        rows.sort(key=lambda row: -row[1])  # stable: of equal scores the earlier example first
        right = np.array([hit for _, _, hit in rows], dtype=bool).reshape(-1, len(thresholds)).T
        examples = np.array([at for at, _, _ in rows], dtype=np.int64)
        found.append(Ranked(example=examples, right=right, truth=truth[label]))
    return found


def matched(target: Mapping[str, Any], output: Mapping[str, Any], thresholds: Sequence[float]) -> np.ndarray:
    """Return which predicted boxes of an example are correct, by threshold (t m): in order of score each is matched to
    the unmatched box of its class with the highest overlap, and to the last of these for ties."""
    right = np.zeros((len(thresholds), len(output["labels"])), dtype=bool)
    if not right.size or not len(target["labels"]):
        return right
    found = overlaps(output["boxes"], target["boxes"])
    found = np.where(output["labels"][:, None] == target["labels"], found, -1.0)[:, ::-1]
    taken = np.zeros((len(thresholds), found.shape[1]), dtype=bool)
    limits, rows = np.minimum(np.array(thresholds), 1 - 1e-10)[:, None], np.arange(len(thresholds))
    for at in np.argsort(-output["scores"], kind="stable"):
        free = np.where(taken | (found[at] < limits), -1.0, found[at])
        best = free.argmax(axis=1)
        right[:, at] = free[rows, best] >= 0
        taken[rows[right[:, at]], best[right[:, at]]] = True
    return right


def mean_average_precision(
    targets: Any, outputs: Any, weights: Float[np.ndarray, "b n"], thresholds: Sequence[float] = THRESHOLDS
) -> Float[np.ndarray, " b"]:
    """Mean average precision over the classes that occur, and over thresholds."""
    by_class = [one.average_precision(weights) for one in ranked(targets, outputs, thresholds)]
    return (
        mean_where(np.stack(by_class, axis=1).reshape(len(weights), -1)) if by_class else np.full(len(weights), np.nan)
    )


@dataclass(frozen=True, kw_only=True)
class ClassBoxes:
    """Results of one class."""

    name: str
    boxes: int
    """Number of ground-truth boxes."""
    metrics: Mapping[str, Measured]
    """`ap50` and `map` of this class; `precision` and `recall` of confident boxes at an IoU of 0.5."""


@dataclass(frozen=True, kw_only=True)
class SizeBoxes:
    """Results by box size."""

    name: str
    boxes: int
    recall: Measured
    """Fraction found by a confident box of the same class, at an IoU of 0.5."""


@dataclass(frozen=True, kw_only=True)
class BoxFigures(Figures):
    """Results by class and size."""

    per_class: tuple[ClassBoxes, ...]
    per_size: tuple[SizeBoxes, ...]
    stated: float = STATED
    """Score threshold of confident boxes."""

    def blocks(self, of: Context) -> Iterator[Block]:
        """Return two tables."""
        rows = [
            (one.metrics["ap50"], (one.name, f"{one.boxes:,}", *(one.metrics[key].told() for key in KEYS)))
            for one in self.per_class
        ]
        note, shown_rows = worst("classes", rows, "AP50")
        sizes = [(one.name, f"{one.boxes:,}", one.recall.told()) for one in self.per_size]
        how = (
            f"Precision and recall are computed for the predictions: boxes with a score of {shown(self.stated)} or "
            "more; "
            "a box is correct if its IoU with a box of the same class is at least 0.5. Average precision uses all "
            "boxes, ordered by score."
        )
        yield Block(
            "Boxes by class and size",
            (
                how, note, Table(("Class", "boxes", "AP50", "mAP", "precision", "recall"), shown_rows),
                Table(("Box size", "boxes", "recall"), sizes),
            ),
        )  # fmt: skip


def figures_of_boxes(tested: Tested) -> BoxFigures:
    """Return the results of every class and size, all intervals from the same resamples."""
    targets, outputs, count = tested.targets, tested.outputs, len(tested.names)
    every = ranked(targets, outputs, THRESHOLDS)
    hits, said, size_hits, size_truth = _counts(targets, outputs, count)
    truth = np.stack([np.bincount(one["labels"], minlength=count) for one in targets]).astype(np.float64)
    statistics = dict[str, Statistic]()
    for at in range(count):
        if at < len(every):
            statistics[f"ap50 {at}"] = _of_class(every[at], slice(0, 1))
            statistics[f"map {at}"] = _of_class(every[at], slice(None))
        statistics[f"precision {at}"] = _ratio(hits[:, at], said[:, at], "nothing is predicted")
        statistics[f"recall {at}"] = _ratio(hits[:, at], truth[:, at], "there is no box")
    for at in range(len(SIZES)):
        statistics[f"size {at}"] = _ratio(size_hits[:, at], size_truth[:, at], "there is no box")
    times = num_resamples_for(len(targets), _columns(outputs) * count)
    measured = bootstrap(statistics, len(targets), num_resamples=times, **tested.how)
    none = Measured(value=float("nan"), method="undefined: no boxes")
    return BoxFigures(
        per_class=tuple(
            ClassBoxes(
                name=name,
                boxes=int(truth[:, at].sum()),
                metrics={key: measured.get(f"{key} {at}", none) for key in KEYS},
            )
            for at, name in enumerate(tested.names)
        ),
        per_size=tuple(
            SizeBoxes(name=name, boxes=int(size_truth[:, at].sum()), recall=measured[f"size {at}"])
            for at, (name, _) in enumerate(SIZES)
        ),
    )


def _counts(targets: Any, outputs: Any, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return by example: the numbers of correct and of all confident boxes of each class (n c), and of found and of
    all ground-truth boxes of each size (n s)."""
    hits, said = np.zeros((2, len(targets), count))
    size_hits, size_truth = np.zeros((2, len(targets), len(SIZES)))
    edges = [edge for _, edge in SIZES[1:]]
    for at, (target, output) in enumerate(zip(targets, outputs, strict=True)):
        stated = {name: array[output["scores"] >= STATED] for name, array in output.items()}
        right = matched(target, stated, (0.5,))[0]
        np.add.at(hits[at], stated["labels"][right], 1)
        np.add.at(said[at], stated["labels"], 1)
        sizes = np.digitize(areas(target["boxes"]), edges)
        np.add.at(size_truth[at], sizes, 1)
        for size in range(len(SIZES)):
            some = {name: array[sizes == size] for name, array in target.items()}
            size_hits[at, size] = matched(some, {name: array[right] for name, array in stated.items()}, (0.5,)).sum()
    return hits, said, size_hits, size_truth


def _of_class(one: Ranked, thresholds: slice) -> Statistic:
    part = Ranked(example=one.example, right=one.right[thresholds], truth=one.truth)
    return Statistic(
        of_weights=lambda weights: mean_where(part.average_precision(weights)), bounds=(0.0, 1.0),
        undefined="there is no box",
    )  # fmt: skip


def _ratio(part: np.ndarray, whole: np.ndarray, undefined: str) -> Statistic:
    """Return a ratio of sums over the examples."""
    return Statistic(
        of_weights=lambda weights: safe_ratio(weights @ part, weights @ whole), bounds=(0.0, 1.0), undefined=undefined
    )


def _columns(outputs: Any) -> int:
    """Boxes of an example."""
    return 1 + sum(len(one["labels"]) for one in outputs) // max(1, len(outputs))


_metric = partial(
    Metric,
    higher_is_better=True,
    range=(0.0, 1.0),
    kinds=frozenset({"detection"}),
    columns=_columns,
    undefined="there is no box",
)
NAMES = ("ap50", "map")
KINDS = ("detection",)
ENTRIES = {
    "ap50": _metric(
        name="ap50",
        title="AP50 (average precision at an IoU of 0.5, mean over classes)",
        of_sample=partial(mean_average_precision, thresholds=(0.5,)),
        main=frozenset({"detection"}),
        figures=figures_of_boxes,
    ),
    "map": _metric(
        name="map",
        title="COCO mAP (mean over IoUs from 0.5 to 0.95, and over classes)",
        of_sample=mean_average_precision,
    ),
}
