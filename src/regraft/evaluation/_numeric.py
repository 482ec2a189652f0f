"""Small numerics shared by the room: softmax, and a metric at unit weights.

Letters in shapes: n examples, c classes, b resamples.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int


def log_softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Logarithms of the softmax of each row, in float64; no overflow for any finite logits."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: Float[np.ndarray, "n c"] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Softmax of each row, in float64; rows sum to 1."""
    result: Float[np.ndarray, "n c"] = np.exp(log_softmax(logits))
    return result


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
