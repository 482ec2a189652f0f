"""Metrics of classification with exclusive classes, and what a report shows by class.

Targets are `Int "n"` in [0, c), outputs the class probabilities `Float "n c"`; ordered classes are in ascending order.
The prediction is the most probable class.

Letters in shapes: n examples, c classes, b resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from regraft.contracts.metric import Metric, Tested
from regraft.contracts.page import Block, Bullets, Context, Table, worst
from regraft.evaluation.metrics._common import (
    ClassScores,
    Mistake,
    auroc_of,
    average_precision_of,
    class_is_right,
    class_scores,
    columns,
    confusion_matrix,
    counts,
    mean_of,
    mean_where,
    most_confused,
    one_vs_rest,
    right_if_one_class,
    safe_ratio,
    share_of,
    told_of,
)
from regraft.evaluation.metrics.probabilities import ProbabilityFigures, probability_fields
from regraft.evaluation.thresholds import OperatingPoint, Scored, operate
from regraft.values import shown

MANY_COLUMNS = 12
"""With more classes than this, reports show the confusion matrix only as a plot and a list of mistakes."""
GUESSES = 5
"""Number of guesses in top-5 accuracy."""


@dataclass(frozen=True, kw_only=True)
class ClassFigures(ProbabilityFigures):
    """Results by class, and confusions."""

    per_class: tuple[ClassScores, ...]
    """Recall, precision and F1 of every class."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts by actual class (row) and predicted class (column)."""
    most_confused: tuple[Mistake, ...]
    """The most frequent mistakes."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """Two classes: decision thresholds chosen on other examples, evaluated on these."""
    positive_class: str | None = None
    """Two classes: the positive class of `operating_points` and ranking metrics."""

    about_confusion: ClassVar[str] = "Which classes are confused with which."

    def blocks(self, of: Context) -> Iterator[Block]:
        """Return sections: metrics by class, confusion matrix, calibration, decision threshold."""
        told = [
            (one.recall, (one.name, str(one.support), str(one.predicted), *told_of(one, "recall", "precision", "f1")))
            for one in self.per_class
        ]
        said, rows = worst("classes", told, "recall")
        yield Block(
            "Metrics by class", (said, Table(("Class", "examples", "predicted", "recall", "precision", "F1"), rows))
        )
        yield Block("Confusion matrix", tuple(self._confused()), ("confusion",))
        yield from super().blocks(of)
        if not self.operating_points:
            return
        keys = [
            "sensitivity",
            "specificity",
            "precision",
            *(["cost"] if any(p.cost for p in self.operating_points) else []),
        ]
        points = [(point.rule, shown(point.threshold), *told_of(point, *keys)) for point in self.operating_points]
        said = (
            f"{self.positive_class} is the positive class: an example is flagged when its probability reaches the "
            "threshold. Thresholds were chosen on other examples."
        )
        yield Block("Decision threshold", (said, Table(("Rule", "threshold", *keys), points)))

    def _confused(self) -> Iterator[str | Table | Bullets]:
        names = [one.name for one in self.per_class]
        yield self.about_confusion
        if len(names) <= MANY_COLUMNS:
            rows = [(name, *map(str, counts)) for name, counts in zip(names, self.confusion, strict=True)]
            yield Table(("actual ↓ predicted →", *names), rows)
        yield "The most frequent mistakes:" if self.most_confused else "There were no mistakes."
        yield Bullets(
            [
                f"{one.actual} predicted as {one.predicted}: {one.count} ({one.share:.0%} of its examples)"
                for one in self.most_confused
            ]
        )

    def guess(self, of: Context) -> str:
        """Return the score of always predicting the most frequent class."""
        top = max(self.per_class, key=lambda one: one.support)
        return f"Always predicting {top.name} would score {shown(top.support / of.num_examples)}."


@dataclass(frozen=True, kw_only=True)
class RankFigures(ClassFigures):
    """The same for ordered classes, lowest first."""

    about_confusion: ClassVar[str] = (
        "Which classes are confused with which. The classes are in rising order: far from the diagonal means far off."
    )

    def guess(self, of: Context) -> str:
        """Return the score of always predicting the class closest to all."""
        distance = [
            sum(one.support * abs(rank - at) for rank, one in enumerate(self.per_class)) / of.num_examples
            for at in range(len(self.per_class))
        ]
        nearest = distance.index(min(distance))
        return f"Always predicting {self.per_class[nearest].name} would score {shown(distance[nearest])}."


def figures_of_ranks(tested: Tested) -> RankFigures:
    """Compute results by class, the confusion matrix and calibration."""
    return RankFigures(**_fields(tested))


def _fields(tested: Tested) -> dict[str, Any]:
    targets, classes = tested.targets, tested.names
    labels = tested.outputs.argmax(axis=1)
    matrix = confusion_matrix(targets, labels, len(classes))
    absent = [name for name, count in zip(classes, matrix.sum(axis=1), strict=True) if not count]
    note = f"No example of {', '.join(absent)}: averages over classes omit it or are undefined."
    return {
        "per_class": class_scores(targets, labels, classes, **tested.how),
        "confusion": tuple(tuple(row) for row in matrix.tolist()),
        "most_confused": most_confused(matrix, classes),
        "notes": (note,) if absent else (),
        **probability_fields(tested),
    }


def figures_of_classes(tested: Tested) -> ClassFigures:
    """The same, with decision thresholds if there are two classes."""
    found = ClassFigures(**_fields(tested))
    if len(tested.names) != 2:
        return found
    found = replace(found, positive_class=tested.names[1])
    if tested.held is None:
        note = "No thresholds: no validation or out-of-fold probabilities are available to choose them."
        return replace(found, notes=(*found.notes, note))
    chosen_on, tried = (
        Scored(positive=one.targets == 1, scores=one.outputs[:, 1], groups=one.groups) for one in (tested.held, tested)
    )
    points = [operate(rule, chosen_on, tried, seed=tested.seed) for rule in tested.rules]
    return replace(found, operating_points=tuple(points))


def balanced_accuracy(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Mean recall of the classes that occur among the targets; 1 / c for chance."""
    right, actual, _ = counts(targets, probabilities, weights)
    return mean_where(safe_ratio(right, actual))


def macro_f1(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Mean F1 (harmonic mean of precision and recall) of the classes or labels that occur or are predicted."""
    right, actual, predicted = counts(targets, probabilities, weights)
    return mean_where(safe_ratio(2 * right, actual + predicted))


def in_top5(targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, " n"]:
    """Whether the target is among the five most probable classes; ties at the fifth place go to the first classes.

    Source: Russakovsky et al. 2015, arXiv:1409.0575, section 4 (for a thousand classes); reporting it from eleven
    classes on is our choice: with fewer, five guesses are half of them.
    """
    own = probabilities[np.arange(len(targets)), targets][:, None]
    earlier = np.arange(probabilities.shape[1]) < targets[:, None]
    before = ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)
    return before < GUESSES


def distance_in_ranks(targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"]) -> Int[np.ndarray, " n"]:
    """Absolute difference in ranks between prediction and target."""
    return np.abs(probabilities.argmax(axis=1) - targets)


def within_one(targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, " n"]:
    """Whether the prediction is the target or an adjacent class."""
    return distance_in_ranks(targets, probabilities) <= 1


def squares_of_ranks(targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"]) -> np.ndarray:
    """Squared distance, target, prediction, their squares, and a 1 to count; `Float "n 6"`."""
    rank, given = targets.astype(np.float64), probabilities.argmax(axis=1).astype(np.float64)
    return np.column_stack([(rank - given) ** 2, rank, given, rank**2, given**2, np.ones(len(rank))])


def quadratic_weighted_kappa(sums: Float[np.ndarray, "b 6"]) -> Float[np.ndarray, " b"]:
    """Quadratic weighted kappa: agreement beyond chance, with errors weighted by the squared distance in ranks.

    1 for perfect agreement, 0 for predictions independent of the targets, down to -1 for worse. nan if predictions and
    targets are all of one class. Source: Cohen 1968; as scikit-learn's cohen_kappa_score with quadratic weights.
    """
    observed, rank, given, rank_squared, given_squared = (sums[:, :-1] / sums[:, -1:]).T
    # The mean square of the distance between a random target and a random prediction, drawn apart from each other.
    expected = rank_squared + given_squared - 2 * rank * given
    some = expected > 1e-12
    return np.where(some, 1 - observed / np.where(some, expected, 1.0), np.nan)


_CLASSES, _RANKS = frozenset({"classification"}), frozenset({"ordinal"})
_of_both = partial(
    Metric, higher_is_better=True, range=(0.0, 1.0), kinds=_CLASSES | _RANKS, columns=columns, right=class_is_right
)
_of_classes = partial(_of_both, kinds=_CLASSES)
_of_ranks = partial(_of_both, kinds=_RANKS)

NAMES = (
    "accuracy",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "macro_f1",
    "quadratic_weighted_kappa",
    "rank_mae",
    "top5_accuracy",
    "within_one",
)
_EVERY = (
    _of_both(name="accuracy", title="Accuracy", main=_CLASSES, figures=figures_of_classes, **share_of(class_is_right)),
    _of_classes(name="auroc", title="AUROC", of_sample=one_vs_rest(auroc_of)),
    _of_classes(name="average_precision", title="Average precision", of_sample=one_vs_rest(average_precision_of)),
    _of_both(name="balanced_accuracy", title="Balanced accuracy", of_sample=balanced_accuracy),
    _of_both(
        name="macro_f1", title="Macro F1", kinds=_CLASSES | _RANKS | {"multilabel"}, of_sample=macro_f1,
        right=right_if_one_class,
    ),
    _of_ranks(
        name="quadratic_weighted_kappa", title="Quadratic weighted kappa", range=(-1.0, 1.0),
        statistics=squares_of_ranks, value=quadratic_weighted_kappa, undefined="all examples are of one class",
    ),
    _of_ranks(
        name="rank_mae", title="Mean distance in ranks", higher_is_better=False, range=(0.0, float("inf")),
        main=_RANKS, figures=figures_of_ranks, **mean_of(distance_in_ranks),
    ),
    _of_classes(name="top5_accuracy", title="Top-5 accuracy", min_classes=11, **share_of(in_top5)),
    _of_ranks(name="within_one", title="Correct or one rank off", **share_of(within_one)),
)  # fmt: skip
ENTRIES = {one.name: one for one in _EVERY}
