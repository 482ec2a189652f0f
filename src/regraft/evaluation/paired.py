"""Two models on the same examples: is the difference real?

Letters in shapes: n examples, c outputs.

The interval is a paired bootstrap (the same resample for both models, by group where there are groups). For accuracy
McNemar's exact test says how likely a split of the discordant examples at least as uneven is if both models are
equally good; it takes examples as independent, so with groups the verdict rests on the interval alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb, exp, isnan, lgamma, log
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import metric as metric_named
from regraft.evaluation._resampling import units
from regraft.evaluation.intervals import MIN_GROUPS, Statistic, bootstrap, num_resamples_for, statistic
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
    only_a_right: int | None
    """Examples that a labels right and b wrong; None where an example has no one label."""
    only_b_right: int | None
    """Examples that b labels right and a wrong; None where an example has no one label."""
    p_value: float | None
    """McNemar's exact two-sided p value for equal accuracy, examples taken as independent; None as above."""
    outcome: Literal["real", "not resolved", "too few groups"]
    """Whether chance is excluded at the level of the interval."""
    verdict: str
    """The outcome in one sentence, for people."""


def compare(
    targets: Shaped[np.ndarray, "n ..."],
    outputs_a: Float[np.ndarray, "n c"],
    outputs_b: Float[np.ndarray, "n c"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    metric: str = "accuracy",
    names: tuple[str, str] = ("a", "b"),
    outputs: Sequence[str] = (),
    num_resamples: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Compare two models on the same examples by one metric, which must fit the targets.

    `real` needs an interval without 0 and, for accuracy without groups, a McNemar p value below 1 - level as well.
    `names` are those of the models, `outputs` those of the numbers, to tell their unit. `num_resamples` is twice
    `intervals.num_resamples_for` when not given.

    Raises:
        UnknownName: there is no such metric.
    """
    chosen = metric_named(metric)
    of_a, of_b = (statistic(chosen, targets, one).of_weights for one in (outputs_a, outputs_b))
    width = chosen.range[1] - chosen.range[0]
    both = Statistic(
        of_weights=lambda weights: of_a(weights) - of_b(weights), bounds=(-width, width), undefined=chosen.undefined
    )
    times = num_resamples or 2 * num_resamples_for(outputs_a)
    found = bootstrap({"d": both}, len(targets), groups=groups, num_resamples=times, level=level, seed=seed)
    difference = found["d"]

    only_a, only_b, p_value = None, None, None
    if targets.ndim == 1:  # one label each
        right_a, right_b = (one.argmax(axis=1) == targets for one in (outputs_a, outputs_b))
        only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        p_value = mcnemar(only_a, only_b)
    drawn = units(len(targets), groups)
    by_chance = p_value if metric == "accuracy" and not drawn.grouped else None
    excludes_zero = difference.low is not None and difference.high is not None and difference.low * difference.high > 0
    if drawn.grouped and drawn.num < MIN_GROUPS:
        outcome: Literal["real", "not resolved", "too few groups"] = "too few groups"
    else:
        outcome = "real" if excludes_zero and (by_chance is None or by_chance < 1 - level) else "not resolved"

    size = f"{chosen.title} {difference.told(signed=True)}" + chosen.unit(outputs)
    if by_chance is not None:
        size += f", McNemar p = {_short(by_chance)}"
    if outcome == "too few groups":
        verdict = f"Not to be told: too few groups ({drawn.num} < {MIN_GROUPS}). {size}."
    elif outcome == "real":
        ahead = names[0] if (difference.value > 0) == chosen.higher_is_better else names[1]
        verdict = f"Real: {ahead} is better. {size}."
    elif np.array_equal(outputs_a, outputs_b):
        verdict = f"No difference: {names[0]} and {names[1]} predict the same."
    elif isnan(difference.value):
        verdict = f"Not to be told: {chosen.title} is {difference.method}."
    else:
        verdict = f"Not resolved: the difference between {names[0]} and {names[1]} could be chance. {size}."
    return PairedDifference(
        metric=metric,
        a=chosen.compute(targets, outputs_a),
        b=chosen.compute(targets, outputs_b),
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


def _short(p_value: float) -> str:
    return f"{p_value:.2g}" if p_value >= 1e-4 else "under 0.0001"
