"""Two models on the same examples: is the difference real?

Letters in shapes: n examples, c classes.

The interval is a paired bootstrap (the same resample for both models, by group where there are groups). For accuracy
McNemar's exact test says how likely a split of the discordant examples at least as uneven is if both models are
equally good; it takes examples as independent, so with groups the verdict rests on the interval alone.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import comb, exp, lgamma, log
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.evaluation._contract import metric as metric_named
from regraft.evaluation._resampling import units
from regraft.evaluation.intervals import MIN_GROUPS, Statistic, bootstrap, statistic
from regraft.values import Measured


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """What two models' predictions of the same examples say of their difference."""

    metric: str
    """Which metric."""
    a: float
    """The metric of model a."""
    b: float
    """The metric of model b."""
    difference: Measured
    """a less b, in the metric's own unit."""
    only_a_right: int
    """Examples that a labels right and b wrong."""
    only_b_right: int
    """Examples that b labels right and a wrong."""
    p_value: float
    """McNemar's exact two-sided p value for equal accuracy, examples taken as independent."""
    outcome: Literal["real", "not resolved", "too few groups"]
    """Whether chance is excluded at the level of the interval."""
    verdict: str
    """The outcome in one sentence, for people."""


def compare(
    targets: Int[np.ndarray, " n"],
    probabilities_a: Float[np.ndarray, "n c"],
    probabilities_b: Float[np.ndarray, "n c"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    metric: str = "accuracy",
    names: tuple[str, str] = ("a", "b"),
    num_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Compare two models on the same examples by one metric.

    `real` needs an interval without 0 and, for accuracy without groups, a McNemar p value below 1 - level as well.

    Raises:
        UnknownName: there is no such metric.
    """
    chosen = metric_named(metric)
    of_a, of_b = (statistic(chosen, targets, p).of_weights for p in (probabilities_a, probabilities_b))
    width = chosen.range[1] - chosen.range[0]
    both = Statistic(of_weights=lambda weights: of_a(weights) - of_b(weights), bounds=(-width, width))
    found = bootstrap({"d": both}, len(targets), groups=groups, num_resamples=num_resamples, level=level, seed=seed)
    difference = found["d"]

    right_a, right_b = (p.argmax(axis=1) == targets for p in (probabilities_a, probabilities_b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = mcnemar(only_a, only_b)
    drawn = units(len(targets), groups)
    tested = metric == "accuracy" and not drawn.grouped
    excludes_zero = difference.low is not None and difference.high is not None and difference.low * difference.high > 0
    if drawn.grouped and drawn.num < MIN_GROUPS:
        outcome: Literal["real", "not resolved", "too few groups"] = "too few groups"
    else:
        outcome = "real" if excludes_zero and (not tested or p_value < 1 - level) else "not resolved"

    size = f"{chosen.title} {_signed(difference)}" + (f", McNemar p = {_short(p_value)}" if tested else "")
    if outcome == "too few groups":
        verdict = f"Not to be told: too few groups ({drawn.num} < {MIN_GROUPS}). {size}."
    elif outcome == "real":
        ahead = names[0] if (difference.value > 0) == chosen.higher_is_better else names[1]
        verdict = f"Real: {ahead} is better. {size}."
    elif np.array_equal(probabilities_a, probabilities_b):
        verdict = f"No difference: {names[0]} and {names[1]} predict the same."
    else:
        verdict = f"Not resolved: the difference between {names[0]} and {names[1]} could be chance. {size}."
    return PairedDifference(
        metric=metric,
        a=chosen.compute(targets, probabilities_a),
        b=chosen.compute(targets, probabilities_b),
        difference=difference,
        only_a_right=only_a,
        only_b_right=only_b,
        p_value=p_value,
        outcome=outcome,
        verdict=verdict,
    )


def mcnemar(only_a_right: int, only_b_right: int) -> float:
    """McNemar's exact two-sided p value: a fair coin thrown for every discordant example. 1 when there is none."""
    n, fewer = only_a_right + only_b_right, min(only_a_right, only_b_right)
    if n <= 1000:
        tail = float(Fraction(sum(comb(n, k) for k in range(fewer + 1)), 2**n))
    else:
        tail = sum(exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * log(2)) for k in range(fewer + 1))
    return min(1.0, 2 * tail)


def _signed(difference: Measured) -> str:
    if difference.low is None or difference.high is None:
        return f"{difference.value:+.3f}"
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _short(p_value: float) -> str:
    return f"{p_value:.2g}" if p_value >= 1e-4 else "under 0.0001"
