"""Is a difference real? Two models on the same examples, or one model on two sets of examples.

Letters in shapes: n and m examples of two separate sets, u both together, b resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb, exp, isnan, lgamma, log, sqrt
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import Metric, Sample
from regraft.contracts.metric import metric as metric_named
from regraft.evaluation.intervals import (
    MIN_GROUPS,
    Statistic,
    bootstrap,
    num_resamples_for,
    too_few,
    units,
    wilson,
)
from regraft.records import to_json
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
    """Examples that a predicts right and b wrong; None where an example is not right or wrong as a whole."""
    only_b_right: int | None
    """Examples that b predicts right and a wrong; None as above."""
    p_value: float | None
    """McNemar's exact two-sided p value for equal shares of right examples, taken as independent; None as above."""
    outcome: Literal["real", "not resolved", "too few groups"]
    """Whether chance is excluded at the level of the interval."""
    verdict: str
    """The outcome in one sentence, for people."""


def compare(
    targets: Any,
    outputs_a: Any,
    outputs_b: Any,
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    metric: str = "accuracy",
    names: tuple[str, str] = ("a", "b"),
    outputs: Sequence[str] = (),
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Compare two models on the same examples by one metric, which must suit the targets.

    The interval is a paired bootstrap: the same resample for both models, by group where there are groups. Where the
    metric is the share of examples that are right, McNemar's exact test says how likely a split of the discordant
    examples at least as uneven is if both models are equally good; it takes examples as independent, so with groups
    the verdict rests on the interval alone. `real` needs an interval without 0 and, where that test applies, a p value
    below 1 - level as well.

    `names` are those of the models, `outputs` those of the targets, to name their unit.

    Raises:
        UnknownName: there is no such metric.
    """
    chosen = metric_named(metric)
    groups = chosen.drawn(targets, groups)
    of_a, of_b = (chosen.of_weights(targets, one) for one in (outputs_a, outputs_b))
    width = chosen.range[1] - chosen.range[0]
    both = Statistic(
        of_weights=lambda weights: of_a(weights) - of_b(weights), bounds=(-width, width), undefined=chosen.undefined
    )
    times = 2 * num_resamples_for(len(targets), chosen.columns(outputs_a))
    found = bootstrap({"d": both}, len(targets), groups=groups, num_resamples=times, level=level, seed=seed)
    difference = found["d"]

    only_a, only_b, p_value = None, None, None
    right_a, right_b = (chosen.right(targets, one) if chosen.right else None for one in (outputs_a, outputs_b))
    if right_a is not None and right_b is not None:
        only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        p_value = mcnemar(only_a, only_b)
    drawn = units(len(targets), groups)
    by_chance = p_value if chosen.interval == "wilson" and not drawn.grouped else None
    excludes_zero = difference.low is not None and difference.high is not None and difference.low * difference.high > 0
    if drawn.grouped and drawn.num < MIN_GROUPS:
        outcome: Literal["real", "not resolved", "too few groups"] = "too few groups"
    else:
        outcome = "real" if excludes_zero and (by_chance is None or by_chance < 1 - level) else "not resolved"

    size = f"{chosen.title} {difference.told(signed=True)}" + chosen.unit(outputs)
    if by_chance is not None:
        size += f", McNemar p = {_short(by_chance)}"
    if outcome == "too few groups":
        verdict = f"Undecided: {too_few(drawn.num)}. {size}."
    elif outcome == "real":
        ahead = names[0] if (difference.value > 0) == chosen.higher_is_better else names[1]
        verdict = f"Real: {ahead} is better. {size}."
    elif _same(outputs_a, outputs_b):
        verdict = f"No difference: {names[0]} and {names[1]} predict the same."
    elif isnan(difference.value):
        verdict = f"Undecided: {chosen.title} is {difference.method}."
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


def difference(one: Sample, other: Sample, *, metric: str = "accuracy", level: float = 0.95, seed: int = 0) -> Measured:
    """How much worse a model does on `other` than on `one`, two separate sets, in the metric's own unit.

    For accuracy that of `one` less that of `other`, for an error the other way round: above 0 where `other` is worse.
    A share of examples has Newcombe's interval (1998, method 10) from the two Wilson intervals; anything else, and
    with groups a share too, the bootstrap (by group, a group that occurs in both sets counting as two).

    Raises:
        UnknownName: there is no such metric.
    """
    chosen, samples = metric_named(metric), (one, other)
    drawn = [units(len(part.targets), chosen.drawn(part.targets, part.groups)) for part in samples]
    if chosen.interval == "wilson" and not any(part.grouped for part in drawn):
        return _newcombe(chosen, one, other, level)
    n, m = len(one.targets), len(other.targets)
    of_one, of_other = (chosen.of_weights(part.targets, part.outputs) for part in samples)
    sign = 1.0 if chosen.higher_is_better else -1.0

    def of_weights(weights: Float[np.ndarray, "b u"]) -> Float[np.ndarray, " b"]:
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may hold nothing of one set
            result: Float[np.ndarray, " b"] = sign * (of_one(weights[:, :n]) - of_other(weights[:, n:]))
        return result

    width = chosen.range[1] - chosen.range[0]
    fell = Statistic(of_weights=of_weights, bounds=(-width, width), undefined=chosen.undefined)
    fewest = min((part.num for part in drawn if part.grouped), default=MIN_GROUPS)
    if fewest < MIN_GROUPS:
        return Measured(value=float(of_weights(np.ones((1, n + m)))[0]), level=level, method=too_few(fewest))
    groups = np.concatenate([drawn[0].of_example, drawn[0].num + drawn[1].of_example])
    times = num_resamples_for(n + m, chosen.columns(one.outputs))
    return bootstrap({"fall": fell}, n + m, groups=groups, num_resamples=times, level=level, seed=seed)["fall"]


def _newcombe(metric: Metric, one: Sample, other: Sample, level: float) -> Measured:
    share, other_share = (metric.compute(part.targets, part.outputs) for part in (one, other))
    low, high = wilson(share * len(one.targets), len(one.targets), level)
    other_low, other_high = wilson(other_share * len(other.targets), len(other.targets), level)
    fall = share - other_share
    return Measured(
        value=fall,
        low=fall - sqrt((share - low) ** 2 + (other_high - other_share) ** 2),
        high=fall + sqrt((high - share) ** 2 + (other_share - other_low) ** 2),
        level=level,
        method="newcombe",
    )


def _same(outputs_a: Any, outputs_b: Any) -> bool:
    if isinstance(outputs_a, np.ndarray) and outputs_a.dtype != object:
        return np.array_equal(outputs_a, outputs_b)
    return bool(to_json(list(outputs_a)) == to_json(list(outputs_b)))


def _short(p_value: float) -> str:
    return f"{p_value:.2g}" if p_value >= 1e-4 else "under 0.0001"
