"""The number that logits are divided by to state the confidence that the examples bear out.

Letters in shapes: n examples, c classes.

Source: Guo et al. 2017, arXiv:1706.04599.
"""

from math import exp, log

import numpy as np
from jaxtyping import Float, Int

from regraft.tasks._softmax import softmax

RANGE = (0.05, 20.0)
"""Temperatures outside are never returned (our choice)."""


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
        spread = (share_of * (wide - mean[:, None]) ** 2).sum(axis=1)
        return float(mean.mean()) - given, float(spread.mean()) * exp(at)

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
