"""Counts per class under many weightings at once.

Letters in shapes: n examples, c classes or tags, b resamples.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.evaluation._numeric import answered


class Counts(NamedTuple):
    """Weighted counts of every class."""

    right: Float[np.ndarray, "b c"]
    """Examples of the class that are predicted as it."""
    actual: Float[np.ndarray, "b c"]
    """Examples of the class."""
    predicted: Float[np.ndarray, "b c"]
    """Examples predicted as the class."""


def counts(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Counts:
    """The counts when the prediction is the most probable class (the first of equals), or the tags at 0.5 or above."""
    if targets.ndim == 2:
        actual, given = targets.astype(np.float64), answered(probabilities).astype(np.float64)
        return Counts(weights @ (actual * given), weights @ actual, weights @ given)
    labels = probabilities.argmax(axis=1)
    right = labels == targets

    def per_class(labels: Int[np.ndarray, " m"], weights: Float[np.ndarray, "b m"]) -> Float[np.ndarray, "b c"]:
        rows = [np.bincount(labels, row, minlength=probabilities.shape[1]) for row in weights]
        return np.stack(rows).astype(np.float64)  # bincount of nothing counts in integers

    return Counts(per_class(labels[right], weights[:, right]), per_class(targets, weights), per_class(labels, weights))


def mean_over(values: Float[np.ndarray, "b c"], present: Float[np.ndarray, "b c"]) -> Float[np.ndarray, " b"]:
    """The mean of each row over the columns where `present` is above 0; nan where there is none."""
    counted = present > 0
    num = counted.sum(axis=1)
    return np.where(num > 0, np.where(counted, values, 0.0).sum(axis=1) / np.maximum(num, 1), np.nan)
