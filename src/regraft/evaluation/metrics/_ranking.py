"""Ranking metrics, one class against the rest, under many weightings at once.

Letters in shapes: n examples, c classes, b resamples, p examples of the class. Equal scores share a rank, as in
scikit-learn.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Ranked(NamedTuple):
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


def ranked(
    positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Ranked:
    """Sort by score and add up the weights, ties taken together."""
    order = np.argsort(-scores, kind="stable")
    sorted_scores, rows = scores[order], np.flatnonzero(positive[order])
    starts = np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])
    tie = np.searchsorted(starts, rows, side="right") - 1
    first, last = starts[tie], np.r_[starts[1:], len(scores)][tie]

    in_order = np.take(weights, order, axis=1)
    everything = _running(in_order)
    of_class = np.take(in_order, rows, axis=1)
    positives = _running(of_class)
    return Ranked(
        of_class,
        np.take(positives, np.searchsorted(rows, first), axis=1),
        np.take(positives, np.searchsorted(rows, last), axis=1),
        np.take(everything, first, axis=1),
        np.take(everything, last, axis=1),
    )


def _running(values: Float[np.ndarray, "b m"]) -> Float[np.ndarray, "b m+1"]:
    """Sums of the first 0, 1 … m columns."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def auroc_of(
    positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """The share of pairs in which the positive scores higher, ties half; nan without a positive or a negative."""
    at = ranked(positive, scores, weights)
    num_positive = at.weight.sum(axis=1)
    num_negative = weights.sum(axis=1) - num_positive
    above = (at.all_before - at.positives_before + at.all_through - at.positives_through) / 2
    beaten = (at.weight * (num_negative[:, None] - above)).sum(axis=1)
    pairs = num_positive * num_negative
    result: Float[np.ndarray, " b"] = np.where(pairs > 0, beaten / np.where(pairs > 0, pairs, 1.0), np.nan)
    return result


def average_precision_of(
    positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Precision averaged over recall steps, without interpolation; nan without a positive."""
    at = ranked(positive, scores, weights)
    num_positive = at.weight.sum(axis=1)
    precision = at.positives_through / np.where(at.all_through > 0, at.all_through, 1.0)
    summed = (at.weight * precision).sum(axis=1)
    some = num_positive > 0
    result: Float[np.ndarray, " b"] = np.where(some, summed / np.where(some, num_positive, 1.0), np.nan)
    return result


def over_tags(
    of_one: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """The plain mean over the tags for which a two-class ranking metric is defined; nan where it is for none."""

    def weighted(
        targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
    ) -> Float[np.ndarray, " b"]:
        total, defined = np.zeros(len(weights)), np.zeros(len(weights))
        for positive, scores in zip(targets.T > 0, probabilities.T, strict=True):
            of_tag = of_one(positive, scores, weights)
            known = ~np.isnan(of_tag)
            total += np.where(known, of_tag, 0.0)
            defined += known
        return np.where(defined > 0, total / np.maximum(defined, 1), np.nan)

    return weighted


def one_vs_rest(
    of_one: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """A two-class ranking metric for any number of classes.

    Two classes: the second is the positive one. More: the plain mean over classes, each against the rest; nan where
    it is not defined for one of them.
    """

    def weighted(
        targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
    ) -> Float[np.ndarray, " b"]:
        num_classes = probabilities.shape[1]
        chosen = [1] if num_classes == 2 else list(range(num_classes))
        total = np.zeros(len(weights))
        for label in chosen:
            total += of_one(targets == label, probabilities[:, label], weights)
        return total / len(chosen)

    return weighted
