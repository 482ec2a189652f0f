"""The choice of C, against scikit-learn's cross-validation and its own rules."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from regraft.tasks import linear, rows
from regraft.tasks.linear import Solution, solve
from regraft.tasks.losses import STEP, Softmax, default_grid
from regraft.tasks.rows import outputs_of


def choose(features, targets, *, num_classes, fold_of, grid=None, weights=None, num_views=1) -> Solution:
    """The head at the best penalty over the folds."""
    loss = Softmax(targets, num_classes, weights=weights)
    return solve(loss, features, num_views=num_views, fold_of=fold_of, grid=grid)


def fit(features, targets, *, num_classes, c, weights=None) -> Solution:
    """The head at one penalty."""
    return solve(Softmax(targets, num_classes, weights=weights), features, fold_of=None, c=c)


def logits(head: Solution, features: np.ndarray) -> np.ndarray:
    return outputs_of(features, head.weight, head.bias)


def make(
    num_examples: int, width: int, num_classes: int, apart: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, targets and five even folds."""
    random = np.random.default_rng(3)
    targets = np.arange(num_examples) % num_classes
    centres = apart * random.standard_normal((num_classes, width)) * (np.arange(width) < 20)
    features = random.standard_normal((num_examples, width)) + centres[targets] + random.uniform(0, 3, width)
    return features.astype(np.float32), targets, random.permutation(num_examples) % 5


@pytest.mark.parametrize(("num_examples", "width", "num_classes"), [(100, 250, 2), (100, 250, 3), (400, 30, 3)])
def test_log_losses_and_logits_are_those_of_scikit_learn_fold_by_fold(
    num_examples: int, width: int, num_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "TOLERANCE", 1e-5)
    features, targets, fold_of = make(num_examples, width, num_classes)
    grid = [1e-3, 1e-2, 1e-1]
    choice = choose(features, targets, num_classes=num_classes, fold_of=fold_of, grid=grid)
    expected = {}
    for c in grid:
        logs = np.empty((num_examples, num_classes))
        for fold in range(5):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=c, tol=1e-8, max_iter=5000))
            model.fit(features[fold_of != fold].astype(np.float64), targets[fold_of != fold])
            logs[fold_of == fold] = model.predict_log_proba(features[fold_of == fold].astype(np.float64))
        expected[c] = logs
    for tried in choice.facts["tried"]:
        if tried["c"] in expected:
            logs = expected[tried["c"]]
            assert tried["log_loss"] == pytest.approx(-logs[np.arange(num_examples), targets].mean(), abs=1e-5)
            assert tried["examples"] == num_examples
    if choice.facts["c"] in expected:
        np.testing.assert_allclose(
            log_softmax(choice.out_of_fold, axis=1), expected[choice.facts["c"]], rtol=0, atol=2e-3
        )
    assert {tried["c"] for tried in choice.facts["tried"]} >= {1e-3, 1e-2}


def test_the_smallest_log_loss_is_chosen() -> None:
    features, targets, fold_of = make(150, 60, 3)
    choice = choose(features, targets, num_classes=3, fold_of=fold_of)
    assert choice.facts["c"] == min(choice.facts["tried"], key=lambda tried: tried["log_loss"])["c"]
    assert [tried["c"] for tried in choice.facts["tried"]] == sorted(tried["c"] for tried in choice.facts["tried"])
    losses = -log_softmax(choice.out_of_fold.astype(np.float64), axis=1)[np.arange(150), targets]
    assert losses.mean() == pytest.approx(min(tried["log_loss"] for tried in choice.facts["tried"]), rel=2e-3)
    assert not choice.facts["at_edge"]


def test_a_tested_fold_has_no_say_in_its_logits() -> None:
    features, targets, fold_of = make(90, 200, 3)
    alone = choose(features, targets, num_classes=3, fold_of=fold_of, grid=[0.01])
    changed, relabelled = features.copy(), targets.copy()
    changed[fold_of == 2] *= 50
    relabelled[fold_of == 2] = 0
    other = choose(changed, relabelled, num_classes=3, fold_of=fold_of, grid=[0.01])
    mine = fold_of == 2
    head = fit(features[~mine], targets[~mine], num_classes=3, c=0.01)
    np.testing.assert_allclose(other.out_of_fold[mine], logits(head, changed[mine]), rtol=1e-3, atol=2e-3)
    assert not np.allclose(other.out_of_fold[~mine], alone.out_of_fold[~mine], atol=0.1)


def test_an_edge_is_extended_but_not_for_ever() -> None:
    features, targets, fold_of = make(100, 40, 2, apart=3.0)
    choice = choose(features, targets, num_classes=2, fold_of=fold_of, grid=[1e-6, 1e-5])
    assert max(tried["c"] for tried in choice.facts["tried"]) == pytest.approx(1e-5 * STEP**2)
    assert choice.facts["at_edge"]
    noise = np.random.default_rng(0).permutation(targets)
    strong = choose(features, noise, num_classes=2, fold_of=fold_of, grid=[10.0, 30.0])
    assert min(tried["c"] for tried in strong.facts["tried"]) == pytest.approx(10.0 / STEP**2)


def test_a_single_value_is_measured_and_not_extended() -> None:
    features, targets, fold_of = make(60, 10, 2)
    choice = choose(features, targets, num_classes=2, fold_of=fold_of, grid=[0.5])
    assert [tried["c"] for tried in choice.facts["tried"]] == [0.5]
    assert not choice.facts["at_edge"]


def test_only_plain_views_are_scored_and_all_are_learned_from() -> None:
    features, targets, fold_of = make(80, 30, 2)
    random = np.random.default_rng(0)
    others = features[:, None] + random.standard_normal((80, 2, 30))
    stacked = np.concatenate([features[:, None], others], axis=1).astype(np.float32).reshape(240, 30)
    choice = choose(stacked, targets, num_classes=2, fold_of=fold_of, grid=[0.1], num_views=3)
    assert choice.out_of_fold.shape == (80, 2)
    for fold in range(5):
        rows = np.flatnonzero(np.repeat(fold_of != fold, 3))
        weights = np.full(len(rows), 1 / 3)
        head = fit(stacked[rows], np.repeat(targets, 3)[rows], num_classes=2, c=0.1, weights=weights)
        held_out = fold_of == fold
        np.testing.assert_allclose(choice.out_of_fold[held_out], logits(head, features[held_out]), rtol=0, atol=5e-3)


def test_weightless_examples_change_neither_the_choice_nor_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "TOLERANCE", 1e-5)
    features, targets, fold_of = make(120, 40, 3)
    weights = np.ones(120)
    weights[::7] = 0
    kept = weights > 0
    weighted = choose(features, targets, num_classes=3, fold_of=fold_of, weights=weights)
    without = choose(features[kept], targets[kept], num_classes=3, fold_of=fold_of[kept])
    assert weighted.facts["c"] == without.facts["c"]
    for one, other in zip(weighted.facts["tried"], without.facts["tried"], strict=True):
        assert one["log_loss"] == pytest.approx(other["log_loss"], abs=1e-5)


def test_many_examples_search_on_some_folds_and_still_get_logits_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets, fold_of = make(1500, 20, 3)
    full = choose(features, targets, num_classes=3, fold_of=fold_of, grid=[0.03])
    monkeypatch.setattr(linear, "ENOUGH_EXAMPLES", 400)
    some = choose(features, targets, num_classes=3, fold_of=fold_of, grid=[0.03])
    assert some.facts["tried"][0]["examples"] == 600
    assert full.facts["tried"][0]["examples"] == 1500
    np.testing.assert_allclose(some.out_of_fold, full.out_of_fold, rtol=0, atol=2e-2)


def test_streamed_features_give_the_same_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets, fold_of = make(1200, 40, 3)
    held = choose(features, targets, num_classes=3, fold_of=fold_of)
    monkeypatch.setattr(rows, "STREAM_ABOVE", 0)
    streamed = choose(features, targets, num_classes=3, fold_of=fold_of)
    assert held.facts["c"] == streamed.facts["c"]
    np.testing.assert_allclose(held.out_of_fold, streamed.out_of_fold, rtol=0, atol=1e-2)


def test_a_class_that_a_fold_never_trained_on_gives_finite_losses() -> None:
    features, targets, fold_of = make(60, 100, 2)
    targets[0] = 2
    choice = choose(features, targets, num_classes=3, fold_of=fold_of)
    assert np.isfinite([tried["log_loss"] for tried in choice.facts["tried"]]).all()
    assert np.isfinite(choice.out_of_fold).all()


def test_the_default_grid_has_ten_values_for_any_width() -> None:
    assert len(default_grid(64)) == 10
    np.testing.assert_allclose(np.array(default_grid(64)) * 64, np.array(default_grid(4096)) * 4096)
