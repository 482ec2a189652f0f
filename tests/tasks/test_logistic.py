"""The head, against scikit-learn's on the same standardised features."""

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from regraft.errors import BadData
from regraft.tasks import linear, rows
from regraft.tasks.linear import Solution, solve
from regraft.tasks.losses import Softmax, sigmoid_slopes, softmax_slopes
from regraft.tasks.rows import SPREAD_FLOOR, outputs_of


def make(
    num_examples: int, width: int, num_classes: int, seed: int = 0, apart: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features with spreads over a factor of a few and means unlike zero."""
    random = np.random.default_rng(seed)
    targets = random.permutation(np.arange(num_examples) % num_classes)
    mixing = random.standard_normal((width, width)) / np.sqrt(width) + np.eye(width)
    centres = apart * random.standard_normal((num_classes, width))
    hidden = (random.standard_normal((num_examples, width)) + centres[targets]) @ mixing
    return (hidden * random.uniform(0.5, 2, width) + random.uniform(0, 5, width)).astype(np.float32), targets


def reference(features: np.ndarray, targets: np.ndarray, c: float, weights: np.ndarray | None = None) -> np.ndarray:
    """scikit-learn's probabilities on the same rows."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, tol=1e-8, max_iter=20_000))
    given = (
        {}
        if weights is None
        else dict.fromkeys(["standardscaler__sample_weight", "logisticregression__sample_weight"], weights)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(features.astype(np.float64), targets, **given)
    return model.predict_proba(features.astype(np.float64))


def fit(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    num_classes: int,
    c: float,
    weights: np.ndarray | None = None,
    num_views: int = 1,
) -> Solution:
    """The head at one penalty."""
    return solve(Softmax(targets, num_classes, weights=weights), features, num_views=num_views, fold_of=None, c=c)


def logits(head: Solution, features: np.ndarray) -> np.ndarray:
    return outputs_of(features, head.weight, head.bias)


def probabilities(head: Solution, features: np.ndarray) -> np.ndarray:
    return softmax(logits(head, features).astype(np.float64), axis=1)


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize(
    ("num_examples", "width", "c"),
    [(n, d, c) for n, d in [(60, 150), (300, 20)] for c in [1e-4, 1e-2, 1.0, 100.0]]
    + [(2500, 500, c) for c in [1e-4, 1e-2, 1.0]],
)
def test_it_is_scikit_learns_optimum(num_examples: int, width: int, c: float, num_classes: int) -> None:
    features, targets = make(num_examples, width, num_classes)
    head = fit(features, targets, num_classes=num_classes, c=c)
    assert head.facts["converged"]
    np.testing.assert_allclose(probabilities(head, features), reference(features, targets, c), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("num_examples", "width"), [(60, 150), (300, 20)])
def test_sample_weights_are_scikit_learns(num_examples: int, width: int) -> None:
    features, targets = make(num_examples, width, 3)
    weights = np.random.default_rng(1).uniform(0, 3, num_examples)
    weights[:5] = 0
    head = fit(features, targets, num_classes=3, c=0.1, weights=weights)
    expected = reference(features, targets, 0.1, weights)
    np.testing.assert_allclose(probabilities(head, features), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("width", [5, 200])
def test_a_weight_of_two_is_the_row_twice(width: int) -> None:
    features, targets = make(90, width, 3)
    weights = np.where(np.arange(90) < 30, 2.0, 1.0)
    weighted = fit(features, targets, num_classes=3, c=0.1, weights=weights)
    repeated = np.concatenate([np.arange(90), np.arange(30)])
    twice = fit(features[repeated], targets[repeated], num_classes=3, c=0.1)
    np.testing.assert_allclose(weighted.weight, twice.weight, rtol=0, atol=2e-5)


@pytest.mark.parametrize("width", [10, 300])
def test_separable_classes_converge_to_scikit_learns_optimum(width: int) -> None:
    features, targets = make(120, width, 2, apart=4.0)
    head = fit(features, targets, num_classes=2, c=1000.0)
    assert head.facts["converged"]
    expected = reference(features, targets, 1000.0)
    assert expected[np.arange(120), targets].min() > 0.9
    np.testing.assert_allclose(probabilities(head, features), expected, rtol=0, atol=1e-4)


def test_the_two_class_head_is_symmetric_with_half_of_scikit_learns_weights_on_each_side() -> None:
    features, targets = make(200, 10, 2)
    head = fit(features, targets, num_classes=2, c=0.3)
    scaler = StandardScaler().fit(features.astype(np.float64))
    model = LogisticRegression(C=0.3, tol=1e-10).fit(scaler.transform(features.astype(np.float64)), targets)
    np.testing.assert_allclose(head.weight[1] * scaler.scale_, model.coef_[0] / 2, rtol=0, atol=1e-4)
    np.testing.assert_allclose(head.weight[0], -head.weight[1], rtol=0, atol=1e-5)


def test_slopes_are_the_derivatives_and_curvatures_sum_p_times_1_minus_p() -> None:
    random = np.random.default_rng(0)
    shares, yes = random.uniform(0, 1, 30), random.integers(0, 2, (3, 30)).astype(np.float64)
    for slopes, truth in ((softmax_slopes, random.integers(0, 3, 30)), (sigmoid_slopes, yes)):

        def value(x, slopes=slopes, truth=truth):
            return slopes(x.reshape(3, 30).copy(), truth, shares)[0]

        def derivative(x, slopes=slopes, truth=truth):
            return slopes(x.reshape(3, 30).copy(), truth, shares)[1].ravel()

        x = 3 * random.standard_normal(90)
        assert check_grad(value, derivative, x) < 1e-5
        chance = softmax(x.reshape(3, 30), axis=0) if slopes is softmax_slopes else expit(x.reshape(3, 30))
        curvature = slopes(x.reshape(3, 30).copy(), truth, shares)[2]
        np.testing.assert_allclose(curvature, (chance * (1 - chance)) @ shares, rtol=1e-9)


def test_the_solution_has_no_slope_left() -> None:
    features, targets = make(80, 200, 4)
    head = fit(features, targets, num_classes=4, c=0.1)
    scaler = StandardScaler().fit(features.astype(np.float64))
    standard = scaler.transform(features.astype(np.float64))
    errors = probabilities(head, features) - np.eye(4)[targets]
    slope = 0.1 * errors.T @ standard + head.weight * scaler.scale_
    assert np.abs(slope).max() < 1e-3 * np.abs(0.1 * np.eye(4)[targets].T @ standard).max()
    assert np.abs(errors.sum(axis=0)).max() < 1e-2


@pytest.mark.parametrize("width", [12, 300])
def test_features_that_do_not_vary_get_no_weight(width: int) -> None:
    features, targets = make(100, width, 2)
    features[:, 3], features[:, 7] = 0.1, 1e6
    head = fit(features, targets, num_classes=2, c=1.0)
    assert np.array_equal(head.weight[:, [3, 7]], np.zeros((2, 2)))
    np.testing.assert_allclose(probabilities(head, features), reference(features, targets, 1.0), rtol=0, atol=1e-4)


def test_a_nearly_silent_feature_cannot_decide_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = make(100, 30, 2)
    features[:, 0] = 0
    features[np.flatnonzero(targets == 1)[0], 0] = 1e-5
    awake = features.copy()
    awake[:, 0] = 5.0
    floored = fit(features, targets, num_classes=2, c=1.0)
    monkeypatch.setattr(rows, "SPREAD_FLOOR", 0.0)
    plain = fit(features, targets, num_classes=2, c=1.0)
    assert np.abs(logits(plain, awake) - logits(plain, features)).max() > 100
    assert np.abs(logits(floored, awake) - logits(floored, features)).max() < 1
    np.testing.assert_allclose(probabilities(plain, features), reference(features, targets, 1.0), rtol=0, atol=1e-4)


def test_the_floor_is_a_share_of_the_median_spread() -> None:
    features, targets = make(200, 15, 3)
    features[:, 0] *= 1e-3
    scaler = StandardScaler().fit(features.astype(np.float64))
    scaler.scale_ = np.maximum(scaler.scale_, SPREAD_FLOOR * np.median(scaler.scale_))
    standard = scaler.transform(features.astype(np.float64))
    model = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(standard, targets)
    head = fit(features, targets, num_classes=3, c=0.5)
    np.testing.assert_allclose(probabilities(head, features), model.predict_proba(standard), rtol=0, atol=1e-4)


@pytest.mark.parametrize("width", [4, 100])
def test_a_class_without_examples_stays_improbable_and_finite(width: int) -> None:
    features, targets = make(80, width, 3)
    seen = np.where(targets == 2, 3, targets)
    head = fit(features, seen, num_classes=5, c=0.1)
    found = probabilities(head, features)
    assert np.isfinite(head.bias).all()
    assert 0 < found[:, [2, 4]].max() < 0.05
    without = probabilities(fit(features, targets, num_classes=3, c=0.1), features)
    kept = found[:, [0, 1, 3]]
    np.testing.assert_allclose(kept / kept.sum(axis=1, keepdims=True), without, rtol=0, atol=1e-5)


def test_a_single_class_is_predicted_always() -> None:
    features, _ = make(20, 5, 2)
    head = fit(features, np.ones(20, dtype=np.int64), num_classes=2, c=1.0)
    assert (logits(head, features).argmax(axis=1) == 1).all()


def test_views_of_an_example_share_its_weight() -> None:
    features, targets = make(120, 8, 3)
    by_example = fit(features, targets[:40], num_classes=3, c=1.0, num_views=3)
    by_row = fit(features, np.repeat(targets[:40], 3), num_classes=3, c=1.0, weights=np.full(120, 1 / 3))
    assert np.array_equal(by_example.weight, by_row.weight)


def test_reading_in_blocks_gives_the_same_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = make(3000, 300, 4)
    stored = np.memmap(tmp_path / "features", dtype=np.float32, mode="w+", shape=features.shape)
    stored[:] = features
    held = fit(features, targets, num_classes=4, c=0.01)
    monkeypatch.setattr(rows, "STREAM_ABOVE", 0)
    streamed = fit(stored, targets, num_classes=4, c=0.01)
    # Both stop within the solver's tolerance of the optimum, on paths that differ with BLAS and its threads: 1.04e-6 on
    # a weight and 1.4e-5 on a logit were seen.
    np.testing.assert_allclose(streamed.weight, held.weight, rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits(streamed, stored), logits(held, features), rtol=0, atol=1e-4)


def test_few_rows_in_blocks_give_the_same_head_as_in_their_span(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = make(100, 400, 3)
    projected = fit(features, targets, num_classes=3, c=0.01)
    monkeypatch.setattr(rows, "STREAM_ABOVE", 0)
    streamed = fit(features, targets, num_classes=3, c=0.01)
    np.testing.assert_allclose(probabilities(streamed, features), probabilities(projected, features), rtol=0, atol=2e-5)


def test_a_memory_map_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "FINAL_TOLERANCE", 1e-3)
    monkeypatch.setattr(rows, "STREAM_ABOVE", 1 << 20)
    count, width = 40_000, 256
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, count)
    stored = np.memmap(tmp_path / "features", dtype=np.float16, mode="w+", shape=(count, width))
    for start in range(0, count, 5000):
        stored[start : start + 5000] = random.standard_normal((5000, width)) + 0.1 * targets[start : start + 5000, None]
    tracemalloc.start()
    head = fit(stored, targets, num_classes=2, c=1e-3)
    found = logits(head, stored)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.argmax(axis=1) == targets).mean() > 0.7
    assert peak < count * width * 2, "more memory than the float16 file has bytes"


def test_the_same_data_give_the_same_bits() -> None:
    features, targets = make(1500, 300, 3)
    heads = [fit(features, targets, num_classes=3, c=0.01) for _ in range(2)]
    assert np.array_equal(heads[0].weight, heads[1].weight)


def test_a_number_that_is_not_finite_is_named_by_its_row() -> None:
    features, targets = make(50, 10, 2)
    features[33, 4] = np.inf
    with pytest.raises(BadData, match="row 33"):
        fit(features, targets, num_classes=2, c=1.0)
