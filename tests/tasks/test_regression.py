"""Numbers: scale, logarithm, units."""

import numpy as np
import pytest
import torch

from regraft.errors import BadData
from regraft.tasks.linear import solve
from regraft.tasks.regression import task

PRICES = np.array([[100.0], [1000.0], [10.0], [40.0]])


def test_goals_have_mean_0_and_spread_1_and_outputs_bring_the_unit_back() -> None:
    asked = task(["price"]).prepared(PRICES)
    goals = asked.encoded(PRICES, {})
    assert goals.dtype == np.float32
    assert goals.mean() == pytest.approx(0, abs=1e-6)
    assert goals.std() == pytest.approx(1)
    np.testing.assert_allclose(asked.outputs(goals), PRICES, rtol=1e-5)


def test_with_the_logarithm_equal_factors_are_equal_steps() -> None:
    asked = task(["price"], {"transform": "log"}).prepared(PRICES)
    goals = asked.encoded(PRICES, {})
    assert goals[1] - goals[0] == pytest.approx(goals[0] - goals[2])
    np.testing.assert_allclose(asked.outputs(goals), PRICES, rtol=1e-5)
    assert np.isfinite(asked.outputs(np.array([[1e6]], dtype=np.float32))).all()


def test_the_same_number_everywhere_is_refused_by_name() -> None:
    with pytest.raises(BadData, match="height is the same for all 4 training examples"):
        task(["width", "height"]).prepared(np.hstack([PRICES, np.full((4, 1), 0.1)]))


def test_numbers_are_written_with_six_digits_and_a_semicolon() -> None:
    assert task(["a", "b"]).decode(np.array([[1234567.0, 0.5], [2.0, -1e-9]])) == ["1.23457e+06;0.5", "2;-1e-09"]


def test_the_objective_is_torchs_mean_squared_error_of_standardised_numbers() -> None:
    asked = task(["price"]).prepared(PRICES)
    logits = torch.randn(4, 1, generator=torch.Generator().manual_seed(0))
    loss = asked.objective(PRICES, balanced=False, smoothing=0.0)(logits, torch.from_numpy(asked.encoded(PRICES, {})))
    standard = (PRICES - PRICES.mean()) / PRICES.std()
    assert loss.item() == pytest.approx(float(((logits.numpy() - standard) ** 2).mean()), rel=1e-6)


def test_the_unit_of_a_number_changes_nothing_but_the_unit() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 6)).astype(np.float32)
    metres = features[:, :1].astype(np.float64) * 2 + 3 + random.normal(0, 0.1, (40, 1))
    folds = np.arange(40) % 4
    said = []
    for unit in (1.0, 1000.0):
        asked = task(["length"]).prepared(metres * unit)
        found = solve(asked.solved_loss(metres * unit), features, fold_of=folds)
        said.append(asked.outputs(features @ found.weight.T + found.bias) / unit)
    np.testing.assert_allclose(said[1], said[0], rtol=1e-5)


def test_the_score_to_watch_is_the_mean_absolute_error_in_the_users_unit() -> None:
    asked = task(["price"]).prepared(PRICES)
    expected = np.abs(PRICES - PRICES.mean()).mean()
    assert asked.scores(np.zeros((4, 1), dtype=np.float32), PRICES)["mae"] == pytest.approx(expected)
