"""Targets of a regression one by one, and against always the same prediction."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from answers import sample
from regraft.evaluation.metrics.values import MAX_POINTS, QUANTILES, baseline_of, target_scores

NAMES = ("price", "area")


def test_every_target_has_the_figures_that_scikit_learn_gives_it_alone() -> None:
    targets, values = sample("regression", num_outputs=2)
    for at, found in enumerate(target_scores(targets, values, NAMES)):
        actual, given = targets[:, at], values[:, at]
        known = {
            "mae": reference.mean_absolute_error(actual, given),
            "rmse": reference.root_mean_squared_error(actual, given),
            "r2": reference.r2_score(actual, given),
            "median_absolute_error": reference.median_absolute_error(actual, given),
        }
        assert {name: one.value for name, one in found.metrics.items()} == pytest.approx(known)
        assert found.actual == pytest.approx((actual.mean(), actual.std()))
        assert found.bias.value == pytest.approx((given - actual).mean())
        assert list(found.residuals.values()) == pytest.approx(np.quantile(given - actual, QUANTILES).tolist())
        assert found.points == tuple(zip(actual.tolist(), given.tolist(), strict=True))
        for one in (*found.metrics.values(), found.bias):
            assert one.low is not None
            assert one.high is not None
            assert one.low < one.value < one.high


def test_the_interval_of_a_bias_is_that_of_a_mean() -> None:
    targets, values = sample("regression", n=300, num_outputs=1)
    found = target_scores(targets, values, ["price"])[0].bias
    off = (values - targets)[:, 0]
    low, high = stats.t.interval(0.95, 299, loc=off.mean(), scale=stats.sem(off))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.08 * (high - low))


def test_a_plot_has_no_more_points_than_one_can_see() -> None:
    targets, values = sample("regression", n=2 * MAX_POINTS, num_outputs=1)
    points = target_scores(targets, values, ["price"])[0].points
    assert len(points) == MAX_POINTS
    assert set(points) <= set(zip(targets[:, 0].tolist(), values[:, 0].tolist(), strict=True))


def test_what_is_gained_on_a_constant_prediction_is_the_difference_of_the_errors() -> None:
    targets, values = sample("regression", num_outputs=2)
    medians = np.median(targets, axis=0)
    found = baseline_of(targets, values, NAMES, medians)
    always = np.broadcast_to(medians, values.shape)
    assert found.outputs == tuple(medians)
    assert found.metrics["mae"].value == pytest.approx(reference.mean_absolute_error(targets, always))
    assert found.metrics["r2"].value == pytest.approx(reference.r2_score(targets, always))
    expected = reference.mean_absolute_error(targets, values) - found.metrics["mae"].value
    assert found.gain.difference.value == pytest.approx(expected)
    assert found.gain.verdict.startswith("Real: the model is better. Mean absolute error -")
    assert found.gain.verdict.endswith("in the units of price and area.")
