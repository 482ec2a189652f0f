"""How much better a model does on what it was trained on than on what it was not.

Letters in shapes: n and m examples of two separate sets, u both together, b resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import Metric
from regraft.contracts.metric import metric as metric_named
from regraft.evaluation._resampling import units
from regraft.evaluation.intervals import (
    MIN_GROUPS,
    Statistic,
    bootstrap,
    measure,
    num_resamples_for,
    statistic,
    wilson,
)
from regraft.values import Measured


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What a model says of the examples of a part of the data."""

    targets: Shaped[np.ndarray, "n ..."]
    """What was right, as the metric takes it."""
    outputs: Float[np.ndarray, "n c"]
    """What the model said."""
    groups: Shaped[np.ndarray, " n"] | None = None
    """The group of each example, where there are groups."""


@dataclass(frozen=True, kw_only=True)
class OverfittingGap:
    """A metric by part of the data, and how it worsens from part to part."""

    metric: str
    """Which metric."""
    by_part: Mapping[str, Measured]
    """By name of the part, in the order given."""
    falls: Mapping[str, Measured]
    """How much worse one part is than the one before, by `train - val` and so on; above 0 where it is worse."""


def overfitting_gap(
    parts: Mapping[str, Part], *, metric: str = "accuracy", level: float = 0.95, seed: int = 0
) -> OverfittingGap:
    """The metric on every part (`train`, `val`, `test`, in this order) and how it worsens from each to the next.

    Raises:
        UnknownName: there is no such metric.
    """
    chosen = metric_named(metric)
    by_part = {
        name: measure(chosen, part.targets, part.outputs, groups=part.groups, level=level, seed=seed)
        for name, part in parts.items()
    }
    falls = {
        f"{one} - {other}": difference(parts[one], parts[other], metric=metric, level=level, seed=seed)
        for one, other in pairwise(parts)
    }
    return OverfittingGap(metric=metric, by_part=by_part, falls=falls)


def difference(one: Part, other: Part, *, metric: str = "accuracy", level: float = 0.95, seed: int = 0) -> Measured:
    """How much worse a model does on `other` than on `one`, two separate sets, in the metric's own unit.

    For accuracy that of `one` less that of `other`, for an error the other way round: above 0 where `other` is worse.
    A share of examples has Newcombe's interval (1998, method 10) from the two Wilson intervals; anything else, and
    with groups a share too, the bootstrap (by group, a group that occurs in both sets counting as two).

    Raises:
        UnknownName: there is no such metric.
    """
    chosen = metric_named(metric)
    drawn = [units(len(part.outputs), part.groups) for part in (one, other)]
    if chosen.interval == "wilson" and not any(part.grouped for part in drawn):
        return _newcombe(chosen, one, other, level)
    n, m = len(one.outputs), len(other.outputs)
    of_one, of_other = (statistic(chosen, part.targets, part.outputs).of_weights for part in (one, other))
    sign = 1.0 if chosen.higher_is_better else -1.0

    def of_weights(weights: Float[np.ndarray, "b u"]) -> Float[np.ndarray, " b"]:
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may hold nothing of one set
            result: Float[np.ndarray, " b"] = sign * (of_one(weights[:, :n]) - of_other(weights[:, n:]))
        return result

    width = chosen.range[1] - chosen.range[0]
    fell = Statistic(of_weights=of_weights, bounds=(-width, width), undefined=chosen.undefined)
    fewest = min((part.num for part in drawn if part.grouped), default=MIN_GROUPS)
    if fewest < MIN_GROUPS:
        value = float(of_weights(np.ones((1, n + m)))[0])
        return Measured(value=value, level=level, method=f"too few groups ({fewest} < {MIN_GROUPS})")
    groups = np.concatenate([drawn[0].of_example, drawn[0].num + drawn[1].of_example])
    num_resamples = num_resamples_for(np.concatenate([one.outputs, other.outputs]))
    return bootstrap({"fall": fell}, n + m, groups=groups, num_resamples=num_resamples, level=level, seed=seed)["fall"]


def _newcombe(metric: Metric, one: Part, other: Part, level: float) -> Measured:
    share, other_share = (metric.compute(part.targets, part.outputs) for part in (one, other))
    low, high = wilson(share * len(one.outputs), len(one.outputs), level)
    other_low, other_high = wilson(other_share * len(other.outputs), len(other.outputs), level)
    fall = share - other_share
    return Measured(
        value=fall,
        low=fall - sqrt((share - low) ** 2 + (other_high - other_share) ** 2),
        high=fall + sqrt((high - share) ** 2 + (other_share - other_low) ** 2),
        level=level,
        method="newcombe",
    )
