"""Shared by several families of metrics: means over examples, counts, rankings, the confusion matrix.

Letters in shapes: n examples, c classes or labels, b resamples, p examples of a class. Equal scores share a rank, as in
scikit-learn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from regraft.evaluation.intervals import share
from regraft.values import Measured


def columns(outputs: Float[np.ndarray, "n c"]) -> int:
    """Return the number of outputs of an example."""
    return int(outputs.shape[1])


def per_example(of_example: Callable[[Any, Any], Shaped[np.ndarray, " n"]]) -> Callable[[Any, Any], np.ndarray]:
    """Return the statistics of a mean over examples, for `mean`: a number (or truth value) each, and a 1 to count."""

    def statistics(targets: Any, outputs: Any) -> Float[np.ndarray, "n 2"]:
        values = of_example(targets, outputs).astype(np.float64)
        return np.column_stack([values, np.ones(len(values))])

    return statistics


def mean(sums: Float[np.ndarray, "b 2"]) -> Float[np.ndarray, " b"]:
    """Return sum divided by count; NaN for no examples."""
    with np.errstate(invalid="ignore"):
        return sums[:, 0] / sums[:, 1]


def mean_of(of_example: Callable[[Any, Any], Shaped[np.ndarray, " n"]]) -> dict[str, Any]:
    """Return the fields of a metric that is the mean of `of_example` over the examples."""
    return {"statistics": per_example(of_example), "value": mean}


def share_of(right: Callable[[Any, Any], Bool[np.ndarray, " n"]]) -> dict[str, Any]:
    """Return the fields of a metric that is the fraction of examples that are `right`."""
    return mean_of(right) | {"right": right, "interval": "wilson"}


def class_is_right(targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, " n"]:
    """Return whether the most probable class (the first of equals) is the target."""
    return probabilities.argmax(axis=1) == targets


def right_if_one_class(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]
) -> Bool[np.ndarray, " n"] | None:
    """Return the same; None for multi-label targets, of which some may be right and others wrong."""
    return None if targets.ndim == 2 else class_is_right(targets, probabilities)


def safe_ratio(part: Float[np.ndarray, "*x"], whole: Float[np.ndarray, "*x"]) -> Float[np.ndarray, "*x"]:
    """Return part / whole; nan if whole is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)


def running(values: Float[np.ndarray, "b m"]) -> Float[np.ndarray, "b m+1"]:
    """Return the sums of the first 0, 1 … m columns."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


class Counts(NamedTuple):
    """Weighted counts of every class."""

    right: Float[np.ndarray, "b c"]
    """True positives of the class."""
    actual: Float[np.ndarray, "b c"]
    """Examples of the class."""
    predicted: Float[np.ndarray, "b c"]
    """Examples predicted as the class."""


def counts(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Counts:
    """Return the counts if the prediction is the most probable class, or the labels at 0.5 or above.

    As statistics per example these would be n by 3 c numbers, too many for many classes.
    """
    if targets.ndim == 2:
        actual, given = targets.astype(np.float64), predicted_labels(probabilities).astype(np.float64)
        return Counts(weights @ (actual * given), weights @ actual, weights @ given)
    labels = probabilities.argmax(axis=1)
    right = labels == targets

    def per_class(labels: Int[np.ndarray, " m"], weights: Float[np.ndarray, "b m"]) -> Float[np.ndarray, "b c"]:
        rows = [np.bincount(labels, row, minlength=probabilities.shape[1]) for row in weights]
        return np.stack(rows).astype(np.float64)  # bincount of nothing counts in integers

    return Counts(per_class(labels[right], weights[:, right]), per_class(targets, weights), per_class(labels, weights))


def mean_where(values: Float[np.ndarray, "b c"]) -> Float[np.ndarray, " b"]:
    """Return the mean of each row over the columns that are not nan; nan if all are."""
    known = ~np.isnan(values)
    return safe_ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def told_of(one: object, *names: str) -> tuple[str, ...]:
    """Return these measured fields with their intervals, for a table; an empty cell if one is None."""
    return tuple("" if (found := getattr(one, name)) is None else found.told() for name in names)


OfOne = Callable[[Bool[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, "b n"]], Float[np.ndarray, " b"]]
"""(which examples are of the class, its scores, weights) -> a ranking metric."""


class _Ranked(NamedTuple):
    """The examples by descending score, seen from those of the class."""

    weight: Float[np.ndarray, "b p"]
    """Weight of every example of the class."""
    positives_before: Float[np.ndarray, "b p"]
    """Weight of the class above that example's score."""
    positives_through: Float[np.ndarray, "b p"]
    """Weight of the class at that example's score or above."""
    all_before: Float[np.ndarray, "b p"]
    """Weight of all examples above that example's score."""
    all_through: Float[np.ndarray, "b p"]
    """Weight of all examples at that example's score or above."""


def _ranked(
    positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> _Ranked:
    """Sort by score and accumulate the weights, ties together."""
    order = np.argsort(-scores, kind="stable")
    sorted_scores, rows = scores[order], np.flatnonzero(positive[order])
    starts = np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])
    tie = np.searchsorted(starts, rows, side="right") - 1
    first, last = starts[tie], np.r_[starts[1:], len(scores)][tie]

    in_order = np.take(weights, order, axis=1)
    everything = running(in_order)
    of_class = np.take(in_order, rows, axis=1)
    positives = running(of_class)
    return _Ranked(
        of_class,
        np.take(positives, np.searchsorted(rows, first), axis=1),
        np.take(positives, np.searchsorted(rows, last), axis=1),
        np.take(everything, first, axis=1),
        np.take(everything, last, axis=1),
    )


def auroc_of(
    positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Return the fraction of pairs in which the positive scores higher, ties counting half; nan without both kinds."""
    at = _ranked(positive, scores, weights)
    num_positive = at.weight.sum(axis=1)
    num_negative = weights.sum(axis=1) - num_positive
    above = (at.all_before - at.positives_before + at.all_through - at.positives_through) / 2
    return safe_ratio((at.weight * (num_negative[:, None] - above)).sum(axis=1), num_positive * num_negative)


def average_precision_of(
    positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Return the precision averaged over recall steps, without interpolation; nan without positives."""
    at = _ranked(positive, scores, weights)
    precision = at.positives_through / np.where(at.all_through > 0, at.all_through, 1.0)
    return safe_ratio((at.weight * precision).sum(axis=1), at.weight.sum(axis=1))


def one_vs_rest(of_one: OfOne) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Extend a two-class ranking metric to any number of classes.

    Two classes: the second is the positive one. More: the unweighted mean over classes, one versus rest; nan if it is
    undefined for one of them.
    """

    def of_sample(
        targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
    ) -> Float[np.ndarray, " b"]:
        num_classes = probabilities.shape[1]
        chosen = [1] if num_classes == 2 else list(range(num_classes))
        total = np.zeros(len(weights))
        for label in chosen:
            total += of_one(targets == label, probabilities[:, label], weights)
        return total / len(chosen)

    return of_sample


def over_labels(of_one: OfOne) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Return the unweighted mean over the labels for which a two-class ranking metric is defined; nan if for none."""

    def of_sample(
        targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
    ) -> Float[np.ndarray, " b"]:
        pairs = zip(targets.T > 0, probabilities.T, strict=True)
        return mean_where(np.stack([of_one(positive, scores, weights) for positive, scores in pairs], axis=1))

    return of_sample


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Results of one class or label."""

    name: str
    """The class."""
    support: int
    """Examples of the class."""
    predicted: int
    """Examples predicted as the class."""
    recall: Measured
    """Fraction of the class's examples that are predicted as it; nan without examples."""
    precision: Measured
    """Share of the examples predicted as the class that are of it; nan without any."""
    f1: Measured
    """Harmonic mean of the two; nan when the class neither occurs nor is predicted."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """Examples of one class that are predicted as another."""

    actual: str
    """Their class."""
    predicted: str
    """The predicted class."""
    count: int
    """Their number."""
    share: float
    """As a fraction of all examples of `actual`."""


def predicted_labels(probabilities: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, "n c"]:
    """Return which labels are predicted: those with a probability of 0.5 or above (our choice)."""
    return probabilities >= 0.5


def confusion_matrix(
    targets: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], num_classes: int
) -> Int[np.ndarray, "c c"]:
    """Return counts by actual class (row) and predicted class (column)."""
    cells = np.bincount(targets * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def class_scores(
    targets: Int[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    classes: Sequence[str],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> tuple[ClassScores, ...]:
    """Return recall, precision and F1 of every class, with Wilson intervals, or by group if there are groups."""
    return tuple(
        scores_of(name, targets == label, predicted == label, groups=groups, seed=seed)
        for label, name in enumerate(classes)
    )


def scores_of(
    name: str,
    actual: Bool[np.ndarray, " n"],
    given: Bool[np.ndarray, " n"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> ClassScores:
    """Return recall, precision and F1 of one class or label, from which examples have it and for which it is predicted.

    F1 is 2 j / (1 + j), where j is the Jaccard index (have it and are predicted, among those that do either), so its
    interval is that of j, transformed (our choice).
    """

    def part(among: Bool[np.ndarray, " n"]) -> Measured:
        return share(actual & given, among, groups=groups, seed=seed)

    overlap = part(actual | given)
    ends = [None if end is None else 2 * end / (1 + end) for end in (overlap.low, overlap.high)]
    return ClassScores(
        name=name,
        support=int(actual.sum()),
        predicted=int(given.sum()),
        recall=part(actual),
        precision=part(given),
        f1=replace(overlap, value=2 * overlap.value / (1 + overlap.value), low=ends[0], high=ends[1]),
    )


def most_confused(matrix: Int[np.ndarray, "c c"], classes: Sequence[str], limit: int = 5) -> tuple[Mistake, ...]:
    """Return the `limit` most frequent mistakes, most frequent first; ties by the fraction of the class."""
    counts = matrix.copy()
    np.fill_diagonal(counts, 0)
    shares = counts / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    order = np.lexsort((-shares.ravel(), -counts.ravel()))[:limit]
    pairs = [divmod(int(cell), len(classes)) for cell in order]
    return tuple(
        Mistake(actual=classes[i], predicted=classes[j], count=int(counts[i, j]), share=float(shares[i, j]))
        for i, j in pairs
        if counts[i, j]
    )
