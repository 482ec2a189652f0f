"""Labels: one logistic regression each, against scikit-learn's, and the penalty they share."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from regraft.tasks.linear import cross_validate, solve
from regraft.tasks.losses import Sigmoid, binary_log_losses
from regraft.tasks.multilabel import multilabel as task
from regraft.tasks.multilabel import ordinal as ranked


def examples(rows: int, width: int, labels: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.normal(2, 1, (rows, width)) * np.geomspace(0.5, 2, width)
    chance = features @ random.normal(size=(width, labels)) / np.sqrt(width) - 1
    chance -= np.quantile(chance, np.linspace(0.4, 0.8, labels), axis=0).diagonal()
    return features, (chance + random.logistic(0, 0.3, (rows, labels)) > 0).astype(np.float32)


def reference(features: np.ndarray, targets: np.ndarray, c: float, asked: np.ndarray) -> np.ndarray:
    scaler = StandardScaler().fit(features)
    columns = []
    for column in targets.T:
        model = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(scaler.transform(features), column)
        columns.append(model.predict_proba(scaler.transform(asked))[:, 1])
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("shape", [(40, 60), (200, 12)], ids=["wide", "tall"])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_every_label_is_scikit_learns_logistic_regression(shape: tuple[int, int], c: float) -> None:
    features, targets = examples(*shape)
    found = solve(Sigmoid(targets), features, fold_of=None, c=c)
    asked, _ = examples(9, shape[1], seed=1)
    said = 1 / (1 + np.exp(-(asked @ found.weight.T + found.bias)))
    np.testing.assert_allclose(said, reference(features, targets, c, asked), rtol=0, atol=1e-4)
    assert found.facts["converged"]


def test_the_penalty_is_that_of_smallest_log_loss_on_average_of_labels() -> None:
    features, targets = examples(80, 30)
    fold_of, grid = np.arange(80) % 4, [1e-3, 1e-2, 1e-1]
    found = solve(Sigmoid(targets), features, fold_of=fold_of, grid=grid)
    losses, told = {}, {}
    for c in grid:
        told[c] = np.zeros(targets.shape)
        for fold in range(4):
            out = fold_of == fold
            told[c][out] = reference(features[~out], targets[~out], c, features[out])
        losses[c] = log_loss(targets.ravel(), told[c].ravel())
    assert found.facts["c"] == min(losses, key=losses.__getitem__)
    for tried in found.facts["tried"]:
        assert tried["log_loss"] == pytest.approx(losses[tried["c"]], rel=1e-3)
    assert found.out_of_fold is not None
    np.testing.assert_allclose(1 / (1 + np.exp(-found.out_of_fold)), told[found.facts["c"]], rtol=0, atol=1e-3)


def test_a_repeat_chooses_the_penalty_without_the_fold_it_judges() -> None:
    features, targets = examples(60, 12)
    fold_of, grid = np.arange(60) % 3, [1e-3, 1e-2, 1e-1, 1.0]
    found = list(cross_validate(Sigmoid(targets), features, fold_of_repeats=[fold_of], grid=grid, max_seconds=60.0))
    for one in found:
        inside = fold_of != one.fold
        inner = np.unique(fold_of[inside], return_inverse=True)[1]
        assert one.c == solve(Sigmoid(targets[inside]), features[inside], fold_of=inner, grid=grid).facts["c"]


def test_a_label_that_no_training_example_has_is_held_unlikely() -> None:
    features, targets = examples(40, 10)
    targets[:, 1] = 0
    found = solve(Sigmoid(targets), features, fold_of=np.arange(40) % 4, grid=[0.1])
    said = task(["a", "b", "c"]).outputs((features @ found.weight.T + found.bias).astype(np.float32))
    np.testing.assert_array_equal(found.weight[1], 0)
    assert (said[:, 1] < 0.02).all()
    assert (said[:, 1] > 0).all()


def test_the_loss_of_a_label_is_scikit_learns_log_loss() -> None:
    logits, targets = np.array([[2.0, -1.0], [0.5, 30.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    chance = 1 / (1 + np.exp(-logits))
    expected = log_loss(targets.ravel(), chance.ravel())
    assert binary_log_losses(logits, targets).mean() == pytest.approx(expected, rel=1e-9)


def test_ranks_that_contradict_each_other_still_give_probabilities() -> None:
    asked = ranked(["low", "middle", "high", "top"])
    above = np.array([[0.7, 0.2, 0.4]])
    logits = np.log(above / (1 - above))
    np.testing.assert_allclose(asked.outputs(logits), [[0.3, 0.5, 0.0, 0.2]], atol=1e-12)


def test_the_goals_of_a_rank_say_which_ranks_it_is_above() -> None:
    asked = ranked(["low", "middle", "high"])
    np.testing.assert_array_equal(asked.encoded(np.array([0, 1, 2]), {}), [[0, 0], [1, 0], [1, 1]])
