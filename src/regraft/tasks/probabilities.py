"""Logits as probabilities: softmax, sigmoid, log losses, and the temperature that logits are divided by.

Letters in shapes: n examples, c classes or questions, s choices.

Source of the temperature: Guo et al. 2017, arXiv:1706.04599.
"""

from math import exp, log

import numpy as np
from jaxtyping import Float, Int

RANGE = (0.05, 20.0)
"""Temperatures outside are never returned (our choice)."""


def log_softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Logarithms of the softmax of each row, in float64; no overflow for any finite logits."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: Float[np.ndarray, "n c"] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Softmax of each row, in float64; rows sum to 1."""
    result: Float[np.ndarray, "n c"] = np.exp(log_softmax(logits))
    return result


def log_losses(logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Negative log probability of each row's class under the softmax, in nats, in float64."""
    losses: Float[np.ndarray, " n"] = -log_softmax(logits)[np.arange(len(targets)), targets]
    return losses


def softmax_slopes(
    logits: Float[np.ndarray, "c n"], targets: Int[np.ndarray, " n"], shares: Float[np.ndarray, " n"]
) -> tuple[float, Float[np.ndarray, "c n"], Float[np.ndarray, " c"]]:
    """Sum of `shares` times log loss; its derivatives by the logits; and by class the sum of `shares` times p (1 - p).

    A row of `logits` for each class, which keeps numpy's reductions over few classes fast. They are overwritten.
    """
    logits -= logits.max(axis=0)
    at_truth = (targets, np.arange(len(targets)))
    true_logits = logits[at_truth].astype(np.float64)
    probabilities = np.exp(logits, out=logits)
    total = probabilities.sum(axis=0)
    value = float(shares @ (np.log(total, dtype=np.float64) - true_logits))
    probabilities /= total
    slopes = probabilities * shares.astype(logits.dtype)
    curvature = slopes.sum(axis=1, dtype=np.float64) - np.einsum("cn,cn->c", slopes, probabilities)
    slopes[at_truth] -= shares.astype(logits.dtype)
    return value, slopes, curvature


def sigmoid(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Probability of yes, in float64."""
    result: Float[np.ndarray, "n c"] = np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))
    return result


def binary_log_losses(logits: Float[np.ndarray, "*n"], yes: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Negative log probability of the truth of each question, in nats, in float64; `yes` is 1 or 0."""
    wide = logits.astype(np.float64)
    losses: Float[np.ndarray, "*n"] = np.logaddexp(0.0, np.where(yes > 0, -wide, wide))
    return losses


def sigmoid_slopes(
    logits: Float[np.ndarray, "c n"], yes: Float[np.ndarray, "c n"], shares: Float[np.ndarray, " n"]
) -> tuple[float, Float[np.ndarray, "c n"], Float[np.ndarray, " c"]]:
    """As `softmax_slopes`, for the log losses of yes or no; summed over the questions."""
    small = np.exp(-np.abs(logits))
    losses = np.log1p(small) + np.maximum(logits, 0) - yes * logits
    value = float((losses @ shares.astype(logits.dtype)).sum(dtype=np.float64))
    probabilities = np.where(logits >= 0, 1, small) / (1 + small)
    weighted = probabilities * shares.astype(logits.dtype)
    curvature = weighted.sum(axis=1, dtype=np.float64) - np.einsum("cn,cn->c", weighted, probabilities)
    return value, weighted - yes * shares.astype(logits.dtype), curvature


def as_choices(
    logits: Float[np.ndarray, "n c"], yes: Float[np.ndarray, "n c"]
) -> tuple[Float[np.ndarray, "s 2"], Int[np.ndarray, " s"], Int[np.ndarray, " s"]]:
    """Each question as a choice between no (logit 0) and yes: logits, which is true, and of which example it is."""
    column = logits.reshape(-1, 1)
    of_example = np.repeat(np.arange(len(logits)), logits.shape[1])
    return np.concatenate([np.zeros_like(column), column], axis=1), yes.ravel().astype(np.int64), of_example


def fit_temperature(logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, " n"]) -> float:
    """The temperature in [0.05, 20] with the lowest log loss.

    The loss is convex in 1 / temperature; its derivative is brought to zero by Newton steps in the logarithm, halving
    the bracket whenever a step leaves it. 1 where the logits of every example are equal.
    """
    wide = logits.astype(np.float64)
    given = float(wide[np.arange(len(targets)), targets].mean())

    def slope(at: float) -> tuple[float, float]:
        """First derivative of the loss by the inverse temperature e^at, and the second times e^at."""
        share_of = softmax(wide * exp(at))
        mean = (share_of * wide).sum(axis=1)
        variance = (share_of * (wide - mean[:, None]) ** 2).sum(axis=1)
        return float(mean.mean()) - given, float(variance.mean()) * exp(at)

    if np.ptp(wide, axis=1).max() == 0:
        return 1.0
    low, high = -log(RANGE[1]), -log(RANGE[0])
    if slope(low)[0] >= 0:
        return RANGE[1]
    if slope(high)[0] <= 0:
        return RANGE[0]
    at = 0.0
    for _ in range(100):
        rise, curve = slope(at)
        low, high = (low, at) if rise > 0 else (at, high)
        step = at - rise / curve if curve > 0 else low
        step = step if low < step < high else (low + high) / 2
        if abs(step - at) < 1e-12:
            break
        at = step
    return exp(-at)
