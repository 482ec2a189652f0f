"""Metrics of regression, and what a report shows by target.

Targets and outputs are `Float "n c"`, a column per target. With several targets a metric is the unweighted mean over
them, each in its own unit, as in scikit-learn; if the units differ, look at each target.

Letters in shapes: n examples, c targets, b resamples, s statistics.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import Figures, Metric, Reference, Tested, main_metric, metrics_for
from regraft.contracts.metric import metric as metric_named
from regraft.contracts.page import Block, Context, Table
from regraft.evaluation.differences import PairedDifference, compare
from regraft.evaluation.intervals import Statistic, bootstrap, num_resamples_for, statistic
from regraft.evaluation.metrics._common import columns, mean_of
from regraft.identity import derive_seed
from regraft.values import Measured, shown
from regraft.words import listed

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the residuals to report."""
MAX_POINTS = 500
"""Maximum number of examples to plot (our choice)."""


@dataclass(frozen=True, kw_only=True)
class TargetScores:
    """Results of one target; all except R² in the target's own unit."""

    name: str
    """Name of the target."""
    actual: tuple[float, float]
    """Mean and standard deviation of the actual values, for comparison with the errors."""
    metrics: Mapping[str, Measured]
    """Regression metrics of this target."""
    bias: Measured
    """Mean of predicted minus actual: positive if predictions are too high."""
    residuals: Mapping[str, float]
    """Quantiles of predicted minus actual, by share: `0.05` …"""
    points: tuple[tuple[float, float], ...]
    """Actual and predicted values of up to 500 examples, sampled at random if there are more."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Results of a constant prediction."""

    outputs: tuple[float, ...]
    """The constant: a number per target."""
    metrics: Mapping[str, Measured]
    """Its metrics on the same examples."""
    gain: PairedDifference
    """Difference of the main metric between the model and this prediction."""


@dataclass(frozen=True, kw_only=True)
class ValueFigures(Figures):
    """Results by target, and a constant baseline."""

    per_target: tuple[TargetScores, ...]
    """Results of every target."""
    baseline: Baseline | None = None
    """Results of predicting the training medians, if known."""

    def blocks(self, of: Context) -> Iterator[Block]:
        """Return the section on errors by target."""
        keys = tuple(self.per_target[0].metrics)
        rows = [
            (
                one.name,
                f"{shown(one.actual[0])} ± {shown(one.actual[1])}",
                *(one.metrics[key].told() for key in keys),
                one.bias.told(signed=True),
            )
            for one in self.per_target
        ]
        errors = [
            (
                one.name,
                *(
                    shown(off, signed=True, scale=max(map(abs, one.residuals.values())))
                    for off in one.residuals.values()
                ),
            )
            for one in self.per_target
        ]
        names = ", ".join(one.name for one in self.per_target)
        titles = (metric_named(key).title for key in keys)
        shares = (f"{float(share):.0%}" for share in self.per_target[0].residuals)
        yield Block(
            "Errors by target",
            (
                f"All figures except R² are in the target's unit ({names}).",
                Table(("Target", "actual, mean ± standard deviation", *titles, "predicted - actual"), rows),
                "Quantiles of the error (predicted - actual: above 0 if too high):",
                Table(("Target", *shares), errors),
            ),
            ("predicted", "residuals"),
        )

    def guess(self, of: Context) -> str:
        """Return the score of the training medians."""
        if self.baseline is None:
            return ""
        return f"Always predicting {self._medians()} would score {shown(self.baseline.metrics[of.main_metric].value)}."

    def reference(self) -> Reference | None:
        """Return the baseline of training medians."""
        if self.baseline is None:
            return None
        said = f"Against always predicting {self._medians()} on the same examples: {self.baseline.gain.verdict}"
        return Reference(title="training median", metrics=self.baseline.metrics, verdict=said)

    def _medians(self) -> str:
        """`the training median, 529,000,`."""
        assert self.baseline is not None
        told = [shown(one) for one in self.baseline.outputs]
        return f"the training {'median' if len(told) == 1 else 'medians'}, {listed(told)},"


def figures_of_values(tested: Tested) -> ValueFigures:
    """Compute results by target, and the model's gain over predicting the training medians."""
    asked, baseline = (tested.targets, tested.outputs, tested.names), None
    if tested.trained_on is not None:
        baseline = baseline_of(*asked, np.median(tested.trained_on, axis=0), **tested.how)
    note = (
        f"The figures are unweighted means over {', '.join(tested.names)}, each in its own unit; if the units differ, "
        "use the figures per target."
    )
    return ValueFigures(
        per_target=target_scores(*asked, **tested.how),
        baseline=baseline,
        notes=(note,) if len(tested.names) > 1 else (),
    )


def target_scores(
    targets: Float[np.ndarray, "n c"],
    values: Float[np.ndarray, "n c"],
    names: Sequence[str],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> tuple[TargetScores, ...]:
    """Compute the results of every target, with all intervals from the same resamples."""
    metrics = metrics_for("regression")
    residuals = values.astype(np.float64) - targets
    statistics: dict[str, Statistic] = {}
    for at in range(len(names)):
        column = slice(at, at + 1)
        for name, metric in metrics.items():
            statistics[f"{name} {at}"] = statistic(metric, targets[:, column], values[:, column])
        statistics[f"bias {at}"] = _mean_of(residuals[:, at])
    times = num_resamples_for(len(targets), len(names))
    measured = bootstrap(statistics, len(targets), groups=groups, num_resamples=times, seed=seed)
    kept = _kept(len(targets), seed)
    return tuple(
        TargetScores(
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
    seed: int = 0,
) -> Baseline:
    """Compute the results of predicting `constant`, and the model's gain over it by the main metric."""
    always = np.broadcast_to(constant.astype(np.float64), values.shape)
    statistics = {name: statistic(metric, targets, always) for name, metric in metrics_for("regression").items()}
    times = num_resamples_for(len(targets), len(names))
    return Baseline(
        outputs=tuple(constant.tolist()),
        metrics=bootstrap(statistics, len(targets), groups=groups, num_resamples=times, seed=seed),
        gain=compare(
            targets, values, always, groups=groups, metric=main_metric("regression").name, outputs=names,
            names=("the model", "constant prediction"), seed=seed,
        ),
    )  # fmt: skip


def _mean_of(values: Float[np.ndarray, " n"]) -> Statistic:
    return Statistic(of_weights=lambda weights: (weights @ values) / weights.sum(axis=1))


def _kept(num_examples: int, seed: int) -> np.ndarray:
    if num_examples <= MAX_POINTS:
        return np.arange(num_examples)
    random = np.random.default_rng(derive_seed(seed, "points"))
    return np.sort(random.choice(num_examples, MAX_POINTS, replace=False))


def distances(targets: Float[np.ndarray, "n c"], values: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " n"]:
    """Absolute error, averaged over targets."""
    return np.abs(values - targets).mean(axis=1)


def squared_distances(targets: Float[np.ndarray, "n c"], values: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " n"]:
    """Squared error, mean over the features."""
    return ((values - targets) ** 2).mean(axis=1)


def squared_errors(targets: Float[np.ndarray, "n c"], values: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c+1"]:
    """Squared error of each target, and a 1 to count."""
    return np.column_stack([(values - targets) ** 2, np.ones(len(targets))])


def root_mean_square(sums: Float[np.ndarray, "b s"]) -> Float[np.ndarray, " b"]:
    """Root mean squared error, averaged over targets; sensitive to large errors."""
    return np.sqrt(sums[:, :-1] / sums[:, -1:]).mean(axis=1)


def squares(targets: Float[np.ndarray, "n c"], values: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n s"]:
    """Squared error, target and squared target (of targets moved to their middle), of each column; and a 1 to count."""
    centred = targets - (targets.max(axis=0) + targets.min(axis=0)) / 2  # exactly 0 where nothing varies
    return np.column_stack([(values - targets) ** 2, centred, centred**2, np.ones(len(targets))])


def explained(sums: Float[np.ndarray, "b s"]) -> Float[np.ndarray, " b"]:
    """Coefficient of determination R²: share of the targets' variance explained by the predictions.

    1 at best, 0 for predicting the targets' mean, negative without bound for worse. nan if the targets are constant
    (scikit-learn returns 0 or 1 there).
    """
    errors, centred, centred_squares = np.split(sums[:, :-1], 3, axis=1)
    total = centred_squares - centred**2 / sums[:, -1:]
    varies = total > 1e-12 * centred_squares
    return np.where(varies, 1 - errors / np.where(varies, total, 1.0), np.nan).mean(axis=1)


def median_distance(
    targets: Float[np.ndarray, "n c"], values: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Median absolute error; robust to a few large errors."""
    medians = [_weighted_median(column, weights) for column in np.abs(values - targets).T]
    return np.mean(medians, axis=0)


def _weighted_median(values: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    """The median of copies: between the two middle values where the weights fall into equal halves."""
    order = np.argsort(values, kind="stable")
    through = np.cumsum(np.take(weights, order, axis=1), axis=1)
    half, last = through[:, -1:] / 2, len(values) - 1
    lower, upper = ((below).sum(axis=1) for below in (through < half, through <= half))
    result: Float[np.ndarray, " b"] = (
        values[order[np.minimum(lower, last)]] + values[order[np.minimum(upper, last)]]
    ) / 2
    return result


_metric = partial(
    Metric,
    higher_is_better=False,
    range=(0.0, float("inf")),
    kinds=frozenset({"regression"}),
    columns=columns,
    in_unit_of_target=True,
)

NAMES = ("feature_distance", "mae", "median_absolute_error", "r2", "rmse")
_EVERY = (
    _metric(
        name="feature_distance", title="Squared distance from the teacher's features (0: all seen, 1: none)",
        kinds=frozenset({"features"}), main=frozenset({"features"}), in_unit_of_target=False,
        **mean_of(squared_distances),
    ),
    _metric(
        name="mae", title="Mean absolute error", main=frozenset({"regression"}), figures=figures_of_values,
        **mean_of(distances),
    ),
    _metric(name="median_absolute_error", title="Median absolute error", of_sample=median_distance),
    _metric(
        name="r2", title="R²", higher_is_better=True, range=(float("-inf"), 1.0), statistics=squares, value=explained,
        in_unit_of_target=False, undefined="the targets are constant",
    ),
    _metric(name="rmse", title="Root mean squared error", statistics=squared_errors, value=root_mean_square),
)  # fmt: skip
ENTRIES = {one.name: one for one in _EVERY}
