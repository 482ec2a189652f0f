"""The smallest difference that a test set can resolve, and the gain expected from more examples. Shapes: k training
sizes."""

from dataclasses import dataclass
from math import exp, inf, log, sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

from regraft.values import Measured

POWER = 0.8
"""Probability of detecting a difference of that size (statistical power). A usual choice (Cohen 1988)."""
_NORMAL = NormalDist()


def smallest_difference(num_units: int, disagreement: float) -> float:
    """Return the smallest difference in accuracy between two models that a paired test detects with a power of 80 % at
    a significance level of 5 %.

    `num_units` is the number of test examples, or of groups if the examples of a group are alike; `disagreement` is the
    share of examples that only one of the two models predicts correctly. Source: Connor 1987 (sample size for McNemar's
    test), assuming that the difference is small compared to the disagreement. Models that agreed on all examples are
    taken to disagree on one.
    """
    wanted = _NORMAL.inv_cdf(0.975) + _NORMAL.inv_cdf(POWER)
    return min(1.0, wanted * sqrt(max(disagreement, 1 / num_units) / num_units)) if num_units else 1.0


def predicted(
    measured: Measured, num_measured: int, num_test: int, level: float = 0.9, within: tuple[float, float] = (-inf, inf)
) -> Measured:  # fmt: skip
    """Return a prediction interval for a test on `num_test` other examples, given `measured` on `num_measured`
    examples. It accounts for the uncertainty of both; `within` is the metric's range.

    Without an interval of `measured`, the result has none either.
    """
    if measured.low is None or measured.high is None or not num_test:
        return Measured(value=measured.value, method=measured.method or "no interval")
    error = (measured.high - measured.low) / (2 * _NORMAL.inv_cdf((1 + measured.level) / 2))
    half = _NORMAL.inv_cdf((1 + level) / 2) * error * sqrt(1 + num_measured / num_test)
    return Measured(value=measured.value, low=max(within[0], measured.value - half),
                    high=min(within[1], measured.value + half), level=level, method="of other examples")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Power law of the error as a function of the number of training examples."""

    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    exponent: float
    """Exponent: the error is proportional to the number of examples to the power of minus this."""
    doubled: Measured
    """Expected error with twice as many examples."""


def learning_curve(sizes: Int[np.ndarray, " k"], errors: Float[np.ndarray, " k"]) -> Curve:
    """Fit a power law to errors in (0, 1) by least squares of logarithms (Hestness et al. 2017, arXiv:1712.00409). The
    interval is the regression's prediction interval, and at least as wide as the binomial error at the largest size."""
    x, y = np.log(sizes.astype(np.float64)), np.log(np.clip(errors, 0.5 / sizes.max(), None))
    slope, start = np.polyfit(x, y, 1)
    largest = int(sizes.max())
    at_largest = float(errors[sizes == largest].mean())
    free = max(1, len(x) - 2)
    residual = float(((y - start - slope * x) ** 2).sum()) / free
    new = log(2 * largest)
    leverage = 1 + 1 / len(x) + (new - float(x.mean())) ** 2 / float(((x - x.mean()) ** 2).sum())
    binomial = (1 - at_largest) / (largest * max(at_largest, 0.5 / largest))
    spread = 1.645 * sqrt(residual * leverage + binomial)
    middle = exp(start + slope * new)
    means = {int(size): float(errors[sizes == size].mean()) for size in np.unique(sizes)}
    return Curve(
        sizes=tuple(means), errors=tuple(means.values()), exponent=-float(slope),
        doubled=Measured(value=middle, low=middle * exp(-spread), high=min(1.0, middle * exp(spread)), level=0.9,
                         method="power law"),
    )  # fmt: skip
