"""Predicted numbers: how far each is off, which way, and against answering the same number always.

Letters in shapes: n examples, c numbers, b resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import main_metric, metrics_for
from regraft.evaluation._numeric import weighted_mean
from regraft.evaluation.intervals import Statistic, bootstrap, num_resamples_for, statistic
from regraft.evaluation.paired import PairedDifference, compare
from regraft.identity import derive_seed
from regraft.values import Measured

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Where the residuals are told."""
MAX_POINTS = 500
"""So many examples are kept one by one, to be drawn (our choice)."""


@dataclass(frozen=True, kw_only=True)
class NumberScores:
    """How one number fares; everything but R² in the number's own unit."""

    name: str
    """What the number is called."""
    actual: tuple[float, float]
    """Mean and standard deviation of the targets: what the errors are to be seen against."""
    metrics: Mapping[str, Measured]
    """The metrics of a regression, of this number alone."""
    bias: Measured
    """Mean of predicted less actual: above 0 where predictions are too high."""
    residuals: Mapping[str, float]
    """Quantiles of predicted less actual, by share: `0.05` …"""
    points: tuple[tuple[float, float], ...]
    """Actual and predicted of up to 500 examples, drawn at random where there are more."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What the same answer for every example would score."""

    outputs: tuple[float, ...]
    """The answer: a number per output."""
    metrics: Mapping[str, Measured]
    """Its metrics on the same examples."""
    gain: PairedDifference
    """The model less this answer, by the main metric."""


def number_scores(
    targets: Float[np.ndarray, "n c"],
    values: Float[np.ndarray, "n c"],
    names: Sequence[str],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[NumberScores, ...]:
    """Every number on its own, all intervals from the same resamples."""
    metrics = metrics_for("regression")
    residuals = values.astype(np.float64) - targets
    statistics: dict[str, Statistic] = {}
    for at in range(len(names)):
        column = slice(at, at + 1)
        for name, metric in metrics.items():
            statistics[f"{name} {at}"] = statistic(metric, targets[:, column], values[:, column])
        statistics[f"bias {at}"] = _mean_of(residuals[:, at])
    measured = bootstrap(
        statistics, len(targets), groups=groups, num_resamples=num_resamples_for(values), level=level, seed=seed
    )
    kept = _kept(len(targets), seed)
    return tuple(
        NumberScores(
            name=name,
            actual=(float(targets[:, at].mean()), float(targets[:, at].std())),
            metrics={key: measured[f"{key} {at}"] for key in metrics},
            bias=measured[f"bias {at}"],
            residuals={f"{share:g}": float(np.quantile(residuals[:, at], share)) for share in QUANTILES},
            points=tuple(zip(targets[kept, at].tolist(), values[kept, at].tolist(), strict=True)),
        )
        for at, name in enumerate(names)
    )


def baseline_of(
    targets: Float[np.ndarray, "n c"],
    values: Float[np.ndarray, "n c"],
    names: Sequence[str],
    constant: Float[np.ndarray, " c"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Baseline:
    """What always answering `constant` scores, and what the model gains on it by the main metric."""
    always = np.broadcast_to(constant.astype(np.float64), values.shape)
    statistics = {name: statistic(metric, targets, always) for name, metric in metrics_for("regression").items()}
    return Baseline(
        outputs=tuple(constant.tolist()),
        metrics=bootstrap(
            statistics, len(targets), groups=groups, num_resamples=num_resamples_for(values), level=level, seed=seed
        ),
        gain=compare(
            targets, values, always, groups=groups, metric=main_metric("regression").name, outputs=names,
            names=("the model", "always the same answer"), level=level, seed=seed,
        ),
    )  # fmt: skip


def _mean_of(values: Float[np.ndarray, " n"]) -> Statistic:
    return Statistic(of_weights=lambda weights: weighted_mean(values, weights))


def _kept(num_examples: int, seed: int) -> np.ndarray:
    if num_examples <= MAX_POINTS:
        return np.arange(num_examples)
    random = np.random.default_rng(derive_seed(seed, "points"))
    return np.sort(random.choice(num_examples, MAX_POINTS, replace=False))
