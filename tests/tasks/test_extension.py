"""New rows beside fixed ones: the optimum of the stated objective, found by others in other ways."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from regraft.tasks.linear import Solution, solve
from regraft.tasks.losses import Softmax, default_grid
from regraft.tasks.rows import outputs_of


def drawn(rows: int, width: int, old: int, new: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features around a mean for each class, fixed logits of the old classes, targets."""
    random = np.random.default_rng(seed)
    targets = np.arange(rows) % (old + new)
    means = random.normal(size=(old + new, width))
    features = (means[targets] + random.normal(size=(rows, width)) * 1.5 + 3).astype(np.float32)
    return features, (features @ random.normal(size=(width, old)) / width).astype(np.float32), targets


def solve_rows(
    features: np.ndarray,
    fixed: np.ndarray,
    targets: np.ndarray,
    *,
    num_new: int,
    fold_of: np.ndarray | None,
    c: float = 0.0,
    weights: np.ndarray | None = None,
) -> Solution:
    return solve(Softmax(targets, num_new, fixed, weights=weights), features, fold_of=fold_of, c=c)


def logits(head: Solution, features: np.ndarray) -> np.ndarray:
    return outputs_of(features, head.weight, head.bias)


def objective(
    x: np.ndarray, features: np.ndarray, fixed: np.ndarray, targets: np.ndarray, c: float, weights: np.ndarray
) -> float:
    """Mean weighted log loss plus the penalty, written down once more, of rows on standardised features."""
    width = features.shape[1]
    mean = np.average(features, axis=0, weights=weights)
    spread = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights))
    rows = x.reshape(-1, width + 1)
    logits = np.concatenate([fixed, ((features - mean) / spread) @ rows[:, :width].T + rows[:, width]], axis=1)
    highest = logits.max(axis=1)
    losses = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1)) - logits[np.arange(len(targets)), targets]
    return float(np.average(losses, weights=weights) + (rows[:, :width] ** 2).sum() / (2 * c * weights.sum()))


@pytest.mark.parametrize(("rows", "width", "new"), [(40, 6, 1), (90, 5, 2), (12, 20, 1)])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_the_rows_are_the_minimum_that_scipy_finds(rows: int, width: int, new: int, c: float) -> None:
    features, fixed, targets = drawn(rows, width, 3, new)
    weights = np.random.default_rng(1).uniform(0.5, 2, rows)
    wide = features.astype(np.float64)
    found = solve_rows(features, fixed, targets, num_new=new, fold_of=None, c=c, weights=weights)
    given = (wide, fixed.astype(np.float64), targets, c, weights)
    best = minimize(objective, np.zeros(new * (width + 1)), args=given, method="BFGS", options={"gtol": 1e-8})
    mean = np.average(wide, axis=0, weights=weights)
    spread = np.sqrt(np.average((wide - mean) ** 2, axis=0, weights=weights))
    mine = np.concatenate([found.weight * spread, (found.bias + found.weight @ mean)[:, None]], axis=1)
    assert found.facts["converged"]
    assert objective(mine.ravel(), *given) == pytest.approx(best.fun, rel=1e-6)
    np.testing.assert_allclose(mine, best.x.reshape(new, -1), rtol=1e-2, atol=2e-3)


def test_beside_one_class_fixed_at_nought_it_is_sklearns_logistic_regression() -> None:
    features, _, targets = drawn(60, 4, 1, 1)
    found = solve_rows(features, np.zeros((60, 1), dtype=np.float32), targets, num_new=1, fold_of=None, c=0.3)
    scaler = StandardScaler().fit(features)
    theirs = LogisticRegression(C=0.3, tol=1e-8).fit(scaler.transform(features), targets)
    expected = theirs.decision_function(scaler.transform(features))
    np.testing.assert_allclose(logits(found, features)[:, 0], expected, rtol=1e-3, atol=1e-3)


def test_an_example_of_weight_two_counts_as_two_examples() -> None:
    features, fixed, targets = drawn(40, 6, 2, 1)
    weights = np.where(np.arange(40) < 10, 2.0, 1.0)
    twice = np.concatenate([np.arange(40), np.arange(10)])
    one = solve_rows(features, fixed, targets, num_new=1, fold_of=None, c=0.1, weights=weights)
    other = solve_rows(features[twice], fixed[twice], targets[twice], num_new=1, fold_of=None, c=0.1)
    np.testing.assert_allclose(logits(one, features), logits(other, features), rtol=1e-3, atol=1e-3)


def test_the_strength_of_the_penalty_has_the_smallest_held_out_loss() -> None:
    features, fixed, targets = drawn(80, 30, 3, 1, seed=4)
    fold_of = np.arange(80) // 4 % 5
    losses = {}
    for c in default_grid(30):
        held_out = np.empty(80)
        for fold in range(5):
            held = fold_of == fold
            rows = solve_rows(features[~held], fixed[~held], targets[~held], num_new=1, fold_of=None, c=c)
            told = np.concatenate([fixed[held], logits(rows, features[held])], axis=1).astype(np.float64)
            told -= np.log(np.exp(told).sum(axis=1, keepdims=True))
            held_out[held] = -told[np.arange(held.sum()), targets[held]]
        losses[c] = held_out.mean()
    found = solve_rows(features, fixed, targets, num_new=1, fold_of=fold_of)
    assert found.facts["c"] == min(losses, key=losses.__getitem__)
    again = solve_rows(features, fixed, targets, num_new=1, fold_of=None, c=found.facts["c"])
    np.testing.assert_allclose(found.weight, again.weight, rtol=1e-3, atol=1e-5)


def test_a_feature_that_never_changes_gets_no_weight() -> None:
    features, fixed, targets = drawn(40, 6, 2, 1)
    features[:, 2] = 5.0
    assert solve_rows(features, fixed, targets, num_new=1, fold_of=None, c=1.0).weight[0, 2] == 0.0
