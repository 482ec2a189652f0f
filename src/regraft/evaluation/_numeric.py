"""Small numerics shared by the room: targets as rows, and a metric at unit weights.

Letters in shapes: n examples, c classes, b resamples.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int


def one_hot(targets: Int[np.ndarray, " n"], num_classes: int) -> Float[np.ndarray, "n c"]:
    """1 where the column is the target, else 0."""
    result: Float[np.ndarray, "n c"] = (targets[:, None] == np.arange(num_classes)).astype(np.float64)
    return result


def unweighted(
    weighted: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> Callable[[np.ndarray, np.ndarray], float]:
    """The plain metric of a weighted one: every example counts once."""

    def compute(targets: np.ndarray, outputs: np.ndarray) -> float:
        return float(weighted(targets, outputs, np.ones((1, len(targets))))[0])

    return compute
