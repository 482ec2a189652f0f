"""Small numerics shared by the room: targets as rows, and a metric at unit weights.

Letters in shapes: n examples, c classes or tags, b resamples.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

TAG_THRESHOLD = 0.5
"""From this probability on a tag counts as answered (our choice: what a calibrated model holds likelier than not)."""


def one_hot(targets: Int[np.ndarray, " n"], num_classes: int) -> Float[np.ndarray, "n c"]:
    """1 where the column is the target, else 0."""
    result: Float[np.ndarray, "n c"] = (targets[:, None] == np.arange(num_classes)).astype(np.float64)
    return result


def indicator(targets: Shaped[np.ndarray, "n ..."], num_columns: int) -> Float[np.ndarray, "n c"]:
    """1 where the class or tag of the column is the example's, else 0: one of each row's for classes, any for tags."""
    return one_hot(targets, num_columns) if targets.ndim == 1 else targets.astype(np.float64)


def answered(outputs: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, "n c"]:
    """Which tags are answered: those at a probability of 0.5 or above."""
    return outputs >= TAG_THRESHOLD


def weighted_mean(values: Shaped[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    """The mean of a number (or a yes) per example under every weighting."""
    result: Float[np.ndarray, " b"] = (weights @ values.astype(np.float64)) / weights.sum(axis=1)
    return result


def unweighted(
    weighted: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> Callable[[np.ndarray, np.ndarray], float]:
    """The plain metric of a weighted one: every example counts once."""

    def compute(targets: np.ndarray, outputs: np.ndarray) -> float:
        return float(weighted(targets, outputs, np.ones((1, len(targets))))[0])

    return compute
