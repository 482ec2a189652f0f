"""Counts per class under many weightings at once.

Letters in shapes: n examples, c classes, b resamples.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Counts(NamedTuple):
    """Weighted counts of every class."""

    right: Float[np.ndarray, "b c"]
    """Examples of the class that are predicted as it."""
    actual: Float[np.ndarray, "b c"]
    """Examples of the class."""
    predicted: Float[np.ndarray, "b c"]
    """Examples predicted as the class."""


def counts(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Counts:
    """The counts when the prediction is the most probable class (the first of equals)."""
    labels = probabilities.argmax(axis=1)
    right = labels == targets

    def per_class(labels: Int[np.ndarray, " m"], weights: Float[np.ndarray, "b m"]) -> Float[np.ndarray, "b c"]:
        rows = [np.bincount(labels, row, minlength=probabilities.shape[1]) for row in weights]
        return np.stack(rows).astype(np.float64)  # bincount of nothing counts in integers

    return Counts(per_class(labels[right], weights[:, right]), per_class(targets, weights), per_class(labels, weights))


def mean_over(values: Float[np.ndarray, "b c"], present: Float[np.ndarray, "b c"]) -> Float[np.ndarray, " b"]:
    """The mean of each row over the columns where `present` is above 0."""
    counted = present > 0
    result: Float[np.ndarray, " b"] = np.where(counted, values, 0.0).sum(axis=1) / counted.sum(axis=1)
    return result
