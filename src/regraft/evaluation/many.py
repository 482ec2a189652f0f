"""Comparison of many models on the same examples: how good each is, and which differences are significant.

Among many differences some are large by chance, and the best of many models looks better than it is. All pairs of
models therefore share one margin: the largest studentised deviation of any pair over the resamples (single-step max-t;
Westfall & Young 1993, chapter 2; over all pairs as in Tukey's range test), so that with the stated probability *every*
interval covers its true difference, including those of the best model.

Models trained with several seeds are averaged over them. Resamples then draw seeds as well as examples, the same seeds
for every model, because runs with the same seed share splits and orders.

Letters in shapes: n examples, b resamples, s seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isnan
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import metric as metric_named
from regraft.evaluation.intervals import MIN_GROUPS, resampled, statistic, too_few, units
from regraft.identity import derive_seed
from regraft.values import LEVEL, Measured

NUM_RESAMPLES = 1000
"""Number of resamples, also for large samples: simultaneous intervals depend on the far tail (our choice)."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One model in a ranking."""

    name: str
    """Name of the model."""
    measured: Measured
    """The metric, averaged over seeds; the interval is for this model alone."""
    by_seed: tuple[float, ...]
    """The metric of each seed."""
    behind: Measured
    """How much worse than the best, 0 or more, with a simultaneous interval."""
    tied: bool
    """Whether that interval includes 0: not distinguishable from the best."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """A ranking of models, best first."""

    metric: str
    """Name of the metric."""
    standings: tuple[Standing, ...]
    """The models in order."""
    optimism: float
    """Selection bias of the best model's metric: the mean over resamples of the gain of the resample's winner, in the
    metric's unit, 0 or more. This is a lower bound: for equal models it is about two thirds of the true bias, because
    resamples treat the observed differences as true."""
    num_pairs: int
    """Number of pairs that the intervals cover simultaneously."""


def ranked(
    targets: Any,
    outputs: Mapping[str, Sequence[Any]],
    *,
    metric: str,
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> Ranking:
    """Rank models by one metric; `outputs` holds each model's outputs, one per seed, with as many seeds for every
    model.

    Raises:
        UnknownName: there is no such metric.
    """
    chosen = metric_named(metric)
    sign = 1.0 if chosen.higher_is_better else -1.0
    drawn = units(len(targets), chosen.drawn(targets, groups))
    each = {
        f"{name}\0{at}": statistic(chosen, targets, one)
        for name, many in outputs.items()
        for at, one in enumerate(many)
    }
    everything = np.ones((1, len(targets)))
    values = {name: float(one.of_weights(everything)[0]) for name, one in each.items()}
    by_seed = {name: tuple(values[f"{name}\0{at}"] for at in range(len(many))) for name, many in outputs.items()}
    means = {name: float(np.mean(one)) for name, one in by_seed.items()}
    order = sorted(outputs, key=lambda name: (isnan(means[name]), -sign * means[name]))
    best, draws = order[0], dict[str, np.ndarray]()
    if drawn.grouped and drawn.num < MIN_GROUPS:
        reason, margin = too_few(drawn.num), float("nan")
    else:
        reason = ""
        draws = _means_of(resampled(each, drawn, num_resamples=NUM_RESAMPLES, seed=seed), outputs, seed)
        margin = _margin(draws, means)
    by = "bootstrap of examples" + (" and seeds" if len(next(iter(outputs.values()))) > 1 else "")

    def alone(name: str) -> Measured:
        if reason or isnan(means[name]):
            return Measured(value=means[name], method=reason or f"undefined: {chosen.undefined}")
        low, high = np.clip(np.nanquantile(draws[name], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]), *chosen.range)
        return Measured(
            value=means[name], low=float(min(low, means[name])), high=float(max(high, means[name])),
            method=by,
        )  # fmt: skip

    def behind(name: str) -> Measured:
        value = sign * (means[best] - means[name])
        if reason or isnan(value):
            return Measured(value=value, method=reason or f"undefined: {chosen.undefined}")
        half = margin * float(np.nanstd(draws[best] - draws[name]))
        return Measured(value=value, low=value - half, high=value + half, method=f"{by}, all pairs")

    standings = []
    for name in order:
        gap = behind(name)
        real = gap.low is not None and gap.low > 0
        standings.append(Standing(name=name, measured=alone(name), by_seed=by_seed[name], behind=gap, tied=not real))
    return Ranking(
        metric=metric, standings=tuple(standings), optimism=_optimism(draws, means, sign),
        num_pairs=len(outputs) * (len(outputs) - 1) // 2,
    )  # fmt: skip


def _means_of(
    draws: Mapping[str, Float[np.ndarray, " b"]], outputs: Mapping[str, Sequence[Any]], seed: int
) -> dict[str, Float[np.ndarray, " b"]]:
    """Return the mean over resampled seeds, for each model and resample."""
    num_seeds, num = len(next(iter(outputs.values()))), len(next(iter(draws.values())))
    rng = np.random.default_rng(derive_seed(seed, "seeds"))
    shares = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num) / num_seeds
    if num_seeds > 1:  # drawing s seeds out of s shows (s - 1) / s of the variance that the mean of s seeds has
        shares = 1 / num_seeds + (shares - 1 / num_seeds) * (num_seeds / (num_seeds - 1)) ** 0.5
    return {
        name: np.sum(shares.T * np.stack([draws[f"{name}\0{at}"] for at in range(num_seeds)]), axis=0)
        for name in outputs
    }


def _margin(draws: Mapping[str, Float[np.ndarray, " b"]], means: Mapping[str, float]) -> float:
    """Return the half-width of every pair's interval, in its own standard deviations."""
    largest = np.zeros(len(next(iter(draws.values()))))
    for one, other in combinations(draws, 2):
        differences = draws[one] - draws[other]
        wide = np.nanstd(differences)
        if wide > 0:  # else both predict the same, and nothing is uncertain
            largest = np.fmax(largest, np.abs(differences - (means[one] - means[other])) / wide)
    return float(np.quantile(largest, LEVEL))


def _optimism(draws: Mapping[str, Float[np.ndarray, " b"]], means: Mapping[str, float], sign: float) -> float:
    """Return the mean over resamples of the winner's metric in the resample minus its metric on all examples."""
    known = [name for name in draws if not isnan(means[name])]
    if len(known) < 2:
        return 0.0
    table, whole = sign * np.stack([draws[name] for name in known]), sign * np.array([means[name] for name in known])
    table = table[:, ~np.isnan(table).any(axis=0)]
    winners = table.argmax(axis=0)
    return max(0.0, float(np.mean(table.max(axis=0) - whole[winners]))) if table.size else 0.0
