"""The head, against scikit-learn's on the same standardised features."""

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from regraft.errors import BadData
from regraft.tasks._logistic import Linear, fit
from regraft.tasks._softmax import softmax_loss
from regraft.tasks.rows import SPREAD_FLOOR, Views


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


def probabilities(head: Linear, features: np.ndarray) -> np.ndarray:
    return softmax(head.logits(features).astype(np.float64), axis=1)


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize(
    ("num_examples", "width", "c"),
    [(n, d, c) for n, d in [(60, 150), (300, 20)] for c in [1e-4, 1e-2, 1.0, 100.0]]
    + [(2500, 500, c) for c in [1e-4, 1e-2, 1.0]],
)
def test_it_is_scikit_learns_optimum(num_examples: int, width: int, c: float, num_classes: int) -> None:
    features, targets = make(num_examples, width, num_classes)
    head = fit(features, targets, num_classes=num_classes, c=c)
    assert head.converged
    np.testing.assert_allclose(probabilities(head, features), reference(features, targets, c), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("num_examples", "width"), [(60, 150), (300, 20)])
def test_sample_weights_are_scikit_learns(num_examples: int, width: int) -> None:
    features, targets = make(num_examples, width, 3)
    weights = np.random.default_rng(1).uniform(0, 3, num_examples)
    weights[:5] = 0
    head = fit(features, targets, num_classes=3, c=0.1, sample_weights=weights)
    expected = reference(features, targets, 0.1, weights)
    np.testing.assert_allclose(probabilities(head, features), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("width", [5, 200])
def test_a_weight_of_two_is_the_row_twice(width: int) -> None:
    features, targets = make(90, width, 3)
    weights = np.where(np.arange(90) < 30, 2.0, 1.0)
    weighted = fit(features, targets, num_classes=3, c=0.1, sample_weights=weights)
    repeated = np.concatenate([np.arange(90), np.arange(30)])
    twice = fit(features[repeated], targets[repeated], num_classes=3, c=0.1)
    np.testing.assert_allclose(weighted.weight, twice.weight, rtol=0, atol=2e-5)


@pytest.mark.parametrize("width", [10, 300])
def test_separable_classes_converge_to_scikit_learns_optimum(width: int) -> None:
    features, targets = make(120, width, 2, apart=4.0)
    head = fit(features, targets, num_classes=2, c=1000.0)
    assert head.converged
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


def test_the_gradient_is_the_slope() -> None:
    features, targets = make(30, 6, 3)
    rows, shares = np.arange(30), np.random.default_rng(0).uniform(0, 1, 30)
    block = [(rows, features.astype(np.float64))]

    def loss(x):
        return softmax_loss(block, x[:18].reshape(3, 6), x[18:], targets, shares)

    for seed in range(3):
        x = 0.3 * np.random.default_rng(seed).standard_normal(21)
        found = loss(x)
        slope = check_grad(lambda x: loss(x).value, lambda x: np.append(loss(x).weight.ravel(), loss(x).bias), x)
        assert slope < 1e-5 * np.linalg.norm(found.weight)


def test_the_solution_has_no_slope_left() -> None:
    features, targets = make(80, 200, 4)
    head = fit(features, targets, num_classes=4, c=0.1)
    scaler = StandardScaler().fit(features.astype(np.float64))
    standard = scaler.transform(features.astype(np.float64))
    errors = probabilities(head, features) - np.eye(4)[targets]
    slope = 0.1 * errors.T @ standard + head.weight * scaler.scale_
    assert np.abs(slope).max() < 1e-3 * np.abs(0.1 * np.eye(4)[targets].T @ standard).max()
    assert np.abs(errors.sum(axis=0)).max() < 1e-2


@pytest.mark.parametrize("width", [20, 400])
def test_a_start_saves_steps_and_changes_nothing_else(width: int) -> None:
    features, targets = make(250, width, 3)
    near = fit(features, targets, num_classes=3, c=0.08)
    cold = fit(features, targets, num_classes=3, c=0.1)
    warm = fit(features, targets, num_classes=3, c=0.1, initial=near)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(probabilities(warm, features), probabilities(cold, features), rtol=0, atol=2e-5)


@pytest.mark.parametrize("width", [12, 300])
def test_features_that_do_not_vary_get_no_weight(width: int) -> None:
    features, targets = make(100, width, 2)
    features[:, 3], features[:, 7] = 0.1, 1e6
    head = fit(features, targets, num_classes=2, c=1.0)
    assert np.array_equal(head.weight[:, [3, 7]], np.zeros((2, 2)))
    np.testing.assert_allclose(probabilities(head, features), reference(features, targets, 1.0), rtol=0, atol=1e-4)


def test_a_nearly_silent_feature_cannot_decide_alone() -> None:
    features, targets = make(100, 30, 2)
    features[:, 0] = 0
    features[np.flatnonzero(targets == 1)[0], 0] = 1e-5
    awake = features.copy()
    awake[:, 0] = 5.0
    floored = fit(features, targets, num_classes=2, c=1.0)
    plain = fit(features, targets, num_classes=2, c=1.0, spread_floor=0.0)
    assert np.abs(plain.logits(awake) - plain.logits(features)).max() > 100
    assert np.abs(floored.logits(awake) - floored.logits(features)).max() < 1
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
    assert (head.logits(features).argmax(axis=1) == 1).all()


def test_views_of_an_example_share_its_weight() -> None:
    features, targets = make(120, 8, 3)
    views = Views(example_of_row=np.repeat(np.arange(40), 3), view_of_row=np.tile(np.arange(3), 40))
    by_example = fit(features, targets[:40], num_classes=3, c=1.0, views=views)
    by_row = fit(features, np.repeat(targets[:40], 3), num_classes=3, c=1.0, sample_weights=np.full(120, 1 / 3))
    assert np.array_equal(by_example.weight, by_row.weight)


def test_reading_in_blocks_gives_the_same_head(tmp_path: Path) -> None:
    features, targets = make(3000, 300, 4)
    stored = np.memmap(tmp_path / "features", dtype=np.float32, mode="w+", shape=features.shape)
    stored[:] = features
    held = fit(features, targets, num_classes=4, c=0.01)
    streamed = fit(stored, targets, num_classes=4, c=0.01, stream_above=0)
    # Both stop within the solver's tolerance of the optimum, on paths that differ with BLAS and its threads: 1.04e-6 on
    # a weight and 1.4e-5 on a logit were seen.
    np.testing.assert_allclose(streamed.weight, held.weight, rtol=0, atol=1e-5)
    np.testing.assert_allclose(streamed.logits(stored), held.logits(features), rtol=0, atol=1e-4)


def test_few_rows_in_blocks_give_the_same_head_as_projected() -> None:
    features, targets = make(100, 400, 3)
    projected = fit(features, targets, num_classes=3, c=0.01)
    streamed = fit(features, targets, num_classes=3, c=0.01, stream_above=0)
    np.testing.assert_allclose(probabilities(streamed, features), probabilities(projected, features), rtol=0, atol=2e-5)


def test_a_memory_map_is_never_held_whole(tmp_path: Path) -> None:
    rows, width = 40_000, 256
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, rows)
    stored = np.memmap(tmp_path / "features", dtype=np.float16, mode="w+", shape=(rows, width))
    for start in range(0, rows, 5000):
        stored[start : start + 5000] = random.standard_normal((5000, width)) + 0.1 * targets[start : start + 5000, None]
    tracemalloc.start()
    head = fit(stored, targets, num_classes=2, c=1e-3, tolerance=1e-3, stream_above=1 << 20)
    logits = head.logits(stored)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (logits.argmax(axis=1) == targets).mean() > 0.7
    assert peak < rows * width * 2, "more memory than the float16 file has bytes"


def test_the_same_data_give_the_same_bits() -> None:
    features, targets = make(1500, 300, 3)
    heads = [fit(features, targets, num_classes=3, c=0.01) for _ in range(2)]
    assert np.array_equal(heads[0].weight, heads[1].weight)


def test_a_number_that_is_not_finite_is_named_by_its_row() -> None:
    features, targets = make(50, 10, 2)
    features[33, 4] = np.inf
    with pytest.raises(BadData, match="row 33"):
        fit(features, targets, num_classes=2, c=1.0)


@pytest.mark.parametrize("wrong", [-1, 2])
def test_a_target_out_of_range_is_refused(wrong: int) -> None:
    features, targets = make(50, 10, 2)
    targets[7] = wrong
    with pytest.raises(BadData, match=str(wrong)):
        fit(features, targets, num_classes=2, c=1.0)


def test_rows_and_targets_must_be_as_many() -> None:
    features, targets = make(50, 10, 2)
    with pytest.raises(BadData, match="49"):
        fit(features, targets[:49], num_classes=2, c=1.0)
