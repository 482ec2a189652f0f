"""The ridge solver against scikit-learn's, and the choice of its penalty against a search by hand."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Reference
from sklearn.preprocessing import StandardScaler

from regraft.errors import BadData
from regraft.tasks import rows
from regraft.tasks.linear import cross_validate, solve
from regraft.tasks.losses import Squares


def examples(rows: int, width: int, outputs: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of unequal spreads far from zero, and numbers that depend on some of them."""
    random = np.random.default_rng(seed)
    features = random.normal(3, 1, (rows, width)) * np.geomspace(0.5, 4, width)
    targets = features[:, :4] @ random.normal(size=(4, outputs)) + random.normal(0, 2, (rows, outputs)) + 7
    return features, targets


def reference(
    features: np.ndarray, targets: np.ndarray, alpha: float, asked: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    scaler = StandardScaler().fit(features, sample_weight=weights)
    model = Reference(alpha=alpha, solver="svd", tol=1e-12)
    model.fit(scaler.transform(features), targets, sample_weight=weights)
    return model.predict(scaler.transform(asked)).reshape(len(asked), -1)


class Stored:
    """Rows that only come in slices, as from a file."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape = array, array.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._array[rows]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(20, 60), (90, 12), (40, 40)], ids=["wide", "tall", "square"])
@pytest.mark.parametrize("penalty", [0.01, 3.0, 500.0])
def test_it_is_scikit_learns_ridge_on_standardised_features(
    shape: tuple[int, int], penalty: float, weighted: bool
) -> None:
    features, targets = examples(*shape)
    asked, _ = examples(9, shape[1], seed=1)
    weights = np.random.default_rng(2).uniform(0.2, 3, shape[0]) if weighted else None
    found = solve(Squares(targets, weights=weights), features, fold_of=None, c=1 / penalty)
    expected = reference(features, targets, penalty, asked, weights)
    # The head is told in float32, which alone moves outputs by some 1e-7 of themselves.
    np.testing.assert_allclose(asked @ found.weight.T + found.bias, expected, rtol=1e-6, atol=1e-6)
    assert found.out_of_fold is None


def test_rows_that_are_read_in_slices_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = examples(200, 12)
    fold_of = np.arange(200) % 4
    held = solve(Squares(targets), features, fold_of=fold_of, grid=[0.1, 1.0])
    monkeypatch.setattr(rows, "STREAM_ABOVE", 0)
    read = solve(Squares(targets), Stored(features), fold_of=fold_of, grid=[0.1, 1.0])
    np.testing.assert_allclose(read.weight, held.weight, rtol=1e-12)
    assert held.out_of_fold is not None
    assert read.out_of_fold is not None
    np.testing.assert_allclose(read.out_of_fold, held.out_of_fold, rtol=1e-12)


def test_the_penalty_is_that_of_smallest_squared_error_on_examples_left_out() -> None:
    features, targets = examples(60, 30, outputs=1)
    fold_of, grid = np.arange(60) % 5, [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    found = solve(Squares(targets), features, fold_of=fold_of, grid=grid)
    errors, told = {}, {}
    for c in grid:
        told[c] = np.zeros_like(targets)
        for fold in range(5):
            out = fold_of == fold
            told[c][out] = reference(features[~out], targets[~out], 1 / c, features[out])
        errors[c] = float(((told[c] - targets) ** 2).mean())
    assert found.facts["c"] == min(errors, key=errors.__getitem__)
    assert [one["squared_error"] for one in found.facts["tried"]] == pytest.approx([errors[c] for c in grid], rel=1e-9)
    assert found.out_of_fold is not None
    np.testing.assert_allclose(found.out_of_fold, told[found.facts["c"]], rtol=0, atol=1e-6)


def test_the_views_of_an_example_share_its_weight_and_only_plain_ones_are_scored() -> None:
    features, targets = examples(30, 50, outputs=1)
    shifted = features + 0.3
    both = np.stack([features, shifted], axis=1).reshape(60, 50)
    fold_of = np.arange(30) % 3
    found = solve(Squares(targets), both, num_views=2, fold_of=fold_of, grid=[0.01])
    expected = np.zeros_like(targets)
    for fold in range(3):
        inside = np.repeat(fold_of != fold, 2)
        learned, weights = both[inside], np.full(inside.sum(), 0.5)
        out = fold_of == fold
        expected[out] = reference(learned, np.repeat(targets, 2, axis=0)[inside], 100.0, features[out], weights)
    assert found.out_of_fold is not None
    np.testing.assert_allclose(found.out_of_fold, expected, rtol=0, atol=1e-6)


def test_a_repeat_judges_every_example_by_a_penalty_chosen_without_it() -> None:
    features, targets = examples(40, 20, outputs=1)
    fold_of, grid = np.arange(40) % 4, [1e-3, 1e-1, 10.0]
    found = list(cross_validate(Squares(targets), features, fold_of_repeats=[fold_of], grid=grid, max_seconds=60.0))
    assert [one.fold for one in found] == [0, 1, 2, 3]
    for one in found:
        inside = fold_of != one.fold
        inner = np.unique(fold_of[inside], return_inverse=True)[1]
        chosen = solve(Squares(targets[inside]), features[inside], fold_of=inner, grid=grid)
        assert one.c == chosen.facts["c"]
        np.testing.assert_allclose(one.logits, features[~inside] @ chosen.weight.T + chosen.bias, rtol=1e-5, atol=1e-5)


def test_no_repeat_begins_that_would_not_end_in_time() -> None:
    features, targets = examples(20, 10)
    folds = [np.arange(20) % 4] * 3
    found = list(cross_validate(Squares(targets), features, fold_of_repeats=folds, grid=[1.0], max_seconds=0.0))
    assert [one.repeat for one in found] == [0] * 4


def test_a_feature_that_is_not_finite_is_refused() -> None:
    features, targets = examples(20, 10)
    features[3, 4] = np.nan
    with pytest.raises(BadData, match="row 3"):
        solve(Squares(targets), features, fold_of=None, c=1.0)
