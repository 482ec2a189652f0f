"""Ranking metrics, one class against the rest, under many weightings at once.

Letters in shapes: n examples, c classes, b resamples, p examples of the class. Equal scores share a rank, as in
scikit-learn.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.evaluation.metrics._common import mean_where, running, safe_ratio

OfOne = Callable[[Bool[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, "b n"]], Float[np.ndarray, " b"]]
"""(which examples are of the class, its scores, weights) -> a ranking metric."""


class _Ranked(NamedTuple):
    """The examples in order of falling score, as the examples of the class see them."""

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
    """Sort by score and add up the weights, ties taken together."""
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
    """The share of pairs in which the positive scores higher, ties half; nan without a positive or a negative."""
    at = _ranked(positive, scores, weights)
    num_positive = at.weight.sum(axis=1)
    num_negative = weights.sum(axis=1) - num_positive
    above = (at.all_before - at.positives_before + at.all_through - at.positives_through) / 2
    return safe_ratio((at.weight * (num_negative[:, None] - above)).sum(axis=1), num_positive * num_negative)


def average_precision_of(
    positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Precision averaged over recall steps, without interpolation; nan without a positive."""
    at = _ranked(positive, scores, weights)
    precision = at.positives_through / np.where(at.all_through > 0, at.all_through, 1.0)
    return safe_ratio((at.weight * precision).sum(axis=1), at.weight.sum(axis=1))


def one_vs_rest(of_one: OfOne) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """A two-class ranking metric for any number of classes.

    Two classes: the second is the positive one. More: the plain mean over classes, each against the rest; nan where
    it is not defined for one of them.
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
    """The plain mean over the labels for which a two-class ranking metric is defined; nan where it is for none."""

    def of_sample(
        targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
    ) -> Float[np.ndarray, " b"]:
        pairs = zip(targets.T > 0, probabilities.T, strict=True)
        return mean_where(np.stack([of_one(positive, scores, weights) for positive, scores in pairs], axis=1))

    return of_sample
