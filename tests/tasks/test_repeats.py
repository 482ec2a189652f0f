"""Repeated cross-validation: nothing of a fold reaches its logits or its C."""

import numpy as np
import pytest

from regraft.tasks import linear
from regraft.tasks.linear import FoldLogits, cross_validate, solve
from regraft.tasks.losses import Softmax, log_losses
from regraft.tasks.rows import outputs_of

NUM_FOLDS = 4


def make(num_examples: int = 80, width: int = 120) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Features, targets and the folds of three repeats."""
    random = np.random.default_rng(5)
    targets = np.arange(num_examples) % 2
    centres = random.standard_normal((2, width)) * (np.arange(width) < 8)
    features = (random.standard_normal((num_examples, width)) + centres[targets]).astype(np.float32)
    return features, targets, [random.permutation(num_examples) % NUM_FOLDS for _ in range(3)]


def run(features: np.ndarray, targets: np.ndarray, repeats: list[np.ndarray], **settings: object) -> list[FoldLogits]:
    settings = {"max_seconds": 60.0, **settings}
    return list(cross_validate(Softmax(targets, 2), features, fold_of_repeats=repeats, **settings))


def fitted(features: np.ndarray, targets: np.ndarray, c: float, asked: np.ndarray) -> np.ndarray:
    """Logits of a head at one penalty."""
    head = solve(Softmax(targets, 2), features, fold_of=None, c=c)
    return outputs_of(asked, head.weight, head.bias)


def test_every_example_is_held_out_once_a_repeat() -> None:
    features, targets, repeats = make()
    results = run(features, targets, repeats)
    assert [(result.repeat, result.fold) for result in results] == [(r, f) for r in range(3) for f in range(NUM_FOLDS)]
    for repeat in range(3):
        held_out = np.concatenate([result.examples for result in results if result.repeat == repeat])
        assert np.array_equal(np.sort(held_out), np.arange(80))
    assert all(
        np.array_equal(result.examples, np.flatnonzero(repeats[result.repeat] == result.fold)) for result in results
    )


@pytest.mark.parametrize("width", [120, 10])
def test_the_logits_are_those_of_a_head_fitted_without_the_fold(width: int) -> None:
    features, targets, repeats = make(width=width)
    for result in run(features, targets, repeats[:1]):
        inside = np.setdiff1d(np.arange(80), result.examples)
        expected = fitted(features[inside], targets[inside], result.c, features[result.examples])
        np.testing.assert_allclose(result.logits, expected, rtol=0, atol=2e-2)


def test_the_inner_choice_is_the_full_nested_cross_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "TOLERANCE", 1e-5)
    features, targets, (fold_of, *_) = make()
    grid = [1e-3, 1e-2, 1e-1, 1.0]
    for result in run(features, targets, [fold_of], grid=grid):
        losses = []
        for c in grid:
            total = 0.0
            for inner in set(range(NUM_FOLDS)) - {result.fold}:
                inside, scored = (fold_of != inner) & (fold_of != result.fold), fold_of == inner
                total += log_losses(
                    fitted(features[inside], targets[inside], c, features[scored]), targets[scored]
                ).sum()
            losses.append(total)
        assert result.c == grid[int(np.argmin(losses))]


def test_labels_and_features_of_a_fold_reach_neither_its_c_nor_its_head() -> None:
    features, targets, repeats = make()
    before = run(features, targets, repeats[:1])[1]
    targets[before.examples] = 1 - targets[before.examples]
    features[before.examples] += 100
    after = run(features, targets, repeats[:1])[1]
    assert after.c == before.c
    inside = np.setdiff1d(np.arange(80), after.examples)
    expected = fitted(features[inside], targets[inside], after.c, features[after.examples])
    np.testing.assert_allclose(after.logits, expected, rtol=3e-3, atol=1e-2)


def test_the_first_repeat_is_finished_and_no_further_one_begun_when_time_is_short() -> None:
    features, targets, repeats = make()
    results = run(features, targets, repeats, max_seconds=0.0)
    assert [result.repeat for result in results] == [0] * NUM_FOLDS


def test_results_come_as_they_are_ready() -> None:
    features, targets, repeats = make()
    asked: list[int] = []

    def folds():
        for number, fold_of in enumerate(repeats):
            asked.append(number)
            yield fold_of

    results = cross_validate(Softmax(targets, 2), features, fold_of_repeats=folds(), max_seconds=60.0)
    next(results)
    assert asked == [0]


def test_two_folds_take_the_middle_of_the_grid() -> None:
    features, targets, _ = make()
    results = run(features, targets, [np.arange(80) // 2 % 2], grid=[0.01, 0.1, 1.0])
    assert [result.c for result in results] == [0.1, 0.1]


def test_views_give_one_row_of_logits_an_example() -> None:
    features, targets, repeats = make()
    results = run(np.stack([features, features + 0.1], axis=1).reshape(160, -1), targets, repeats[:1], num_views=2)
    assert sum(len(result.logits) for result in results) == 80


def test_the_same_folds_give_the_same_bits() -> None:
    features, targets, repeats = make()
    first, second = run(features, targets, repeats[:1]), run(features, targets, repeats[:1])
    assert all(np.array_equal(one.logits, other.logits) for one, other in zip(first, second, strict=True))


def test_examples_of_no_fold_train_in_every_fold_and_are_tested_in_none() -> None:
    features, targets, (fold_of, *_) = make()
    always = np.arange(80) >= 70
    fold_of = np.where(always, -1, fold_of)
    results = run(features, targets, [fold_of])
    assert np.array_equal(np.sort(np.concatenate([result.examples for result in results])), np.arange(70))
    for result in results:
        inside = np.setdiff1d(np.arange(80), result.examples)
        expected = fitted(features[inside], targets[inside], result.c, features[result.examples])
        np.testing.assert_allclose(result.logits, expected, rtol=0, atol=2e-2)
    solved = solve(Softmax(targets, 2), features, fold_of=fold_of)
    assert solved.out_of_fold is not None
    assert np.array_equal(np.isnan(solved.out_of_fold).all(axis=1), always)
    assert solved.facts["tried"][0]["examples"] == 70
