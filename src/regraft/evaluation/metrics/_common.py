"""What metrics of several families are made of: means over examples, predicted labels, counts per class.

Letters in shapes: n examples, c classes or labels, b resamples.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from regraft.evaluation.confusion import predicted_labels


def columns(outputs: Float[np.ndarray, "n c"]) -> int:
    """How many outputs an example has."""
    return int(outputs.shape[1])


def per_example(of_example: Callable[[Any, Any], Shaped[np.ndarray, " n"]]) -> Callable[[Any, Any], np.ndarray]:
    """The statistics of a mean over examples, to be read by `mean`: a number (or a yes) of each, and a 1 to count."""

    def statistics(targets: Any, outputs: Any) -> Float[np.ndarray, "n 2"]:
        values = of_example(targets, outputs).astype(np.float64)
        return np.column_stack([values, np.ones(len(values))])

    return statistics


def mean(sums: Float[np.ndarray, "b 2"]) -> Float[np.ndarray, " b"]:
    """Sum by count."""
    result: Float[np.ndarray, " b"] = sums[:, 0] / sums[:, 1]
    return result


def class_is_right(targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, " n"]:
    """Whether the most probable class (the first of equals) is the target."""
    result: Bool[np.ndarray, " n"] = probabilities.argmax(axis=1) == targets
    return result


def right_if_one_class(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]
) -> Bool[np.ndarray, " n"] | None:
    """The same; None for labels, of which some may be right and others wrong."""
    return None if targets.ndim == 2 else class_is_right(targets, probabilities)


def safe_ratio(part: Float[np.ndarray, "*x"], whole: Float[np.ndarray, "*x"]) -> Float[np.ndarray, "*x"]:
    """part / whole; nan where there is no whole."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)


def running(values: Float[np.ndarray, "b m"]) -> Float[np.ndarray, "b m+1"]:
    """Sums of the first 0, 1 … m columns."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


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
    """The counts when the prediction is the most probable class, or the labels at 0.5 or above.

    As statistics per example these would be a table of n by 3 c numbers, too large for many classes.
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
    """The mean of each row over the columns that are not nan; nan where all are."""
    known = ~np.isnan(values)
    return safe_ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def told_of(one: object, *names: str) -> tuple[str, ...]:
    """These measured fields with their intervals, for a table; an empty cell for one that is None."""
    return tuple("" if (found := getattr(one, name)) is None else found.told() for name in names)
