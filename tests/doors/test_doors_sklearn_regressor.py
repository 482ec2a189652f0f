"""`RegraftRegressor`: transfer learning as a regressor of scikit-learn."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import regraft
from regraft.errors import BadData
from regraft.tasks.rows import SPREAD_FLOOR

TINY = "googlenet:tiny@random"


def regressor(**settings: object) -> "regraft.RegraftRegressor":
    return regraft.RegraftRegressor(TINY, input_px=32, threads=1, **settings)


@pytest.fixture(scope="module")
def shades() -> tuple[np.ndarray, np.ndarray]:
    """Noisy images, and how bright they are."""
    random = np.random.default_rng(0)
    level = random.uniform(30, 220, 60)
    x = (level[:, None, None] + random.normal(0, 10, (60, 32, 32))).clip(0, 255).astype(np.uint8)
    return x, level * 1000.0


@pytest.mark.slow
@parametrize_with_checks([regraft.RegraftRegressor(TINY, input_px=32, threads=1)])
def test_every_check_of_scikit_learn_is_passed_without_exception(estimator: object, check: Callable[..., None]) -> None:
    check(estimator)


def test_numbers_come_back_in_their_own_unit(shades: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = shades
    assert cross_val_score(regressor(), x, y, cv=KFold(3)).mean() > 0.9
    assert np.abs(regressor().fit(x[:40], y[:40]).predict(x[40:]) - y[40:]).mean() < 20_000


def test_a_probe_is_the_ridge_regression_of_scikit_learn_on_the_same_features(
    shades: tuple[np.ndarray, np.ndarray],
) -> None:
    x, y = shades
    features = regraft.Features(TINY, input_px=32, threads=1).fit_transform(x).astype(np.float64)
    model = regressor(options={"c": 0.01}).fit(x, y)
    features = features[:, features.std(axis=0) > 0]
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.maximum(spread, SPREAD_FLOOR * np.median(spread))
    expected = Ridge(alpha=1 / 0.01).fit(scaled, y).predict(scaled)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4)


@pytest.mark.parametrize("strategy", ["probe", "partial"])
def test_several_numbers_at_once_survive_pickling_and_saving(
    shades: tuple[np.ndarray, np.ndarray], strategy: str, tmp_path: Path
) -> None:
    x, y = shades
    both = np.stack([y, -y / 7], axis=1)
    options = {} if strategy == "probe" else {"epochs": 1, "min_steps": 2}
    model = regressor(strategy=strategy, options=options).fit(x, both)
    said = model.predict(x)
    assert said.shape == both.shape
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(x), said)  # noqa: S301 - our own
    model.save(tmp_path / "model")
    values = [list(one.values.values()) for one in regraft.load(tmp_path / "model").predict(list(x[:5]))]
    np.testing.assert_allclose(values, said[:5], rtol=1e-5)


def test_numbers_that_are_all_the_same_are_refused(shades: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(BadData, match="nothing to learn"):
        regressor().fit(shades[0], np.ones(len(shades[1])))
