"""Folds and hold-outs: whole groups, even classes, the same for the same seed."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from regraft.errors import BadData, BadRequest
from regraft.folds import folds, split, teachable


def _grouped(seed: int, num_examples: int, num_groups: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, num_groups, num_examples)
    shares = rng.dirichlet(np.full(num_classes, 2.0))
    return rng.choice(num_classes, p=shares, size=num_examples), groups


def _unevenness(targets: np.ndarray, of_example: np.ndarray) -> float:
    counts = np.stack(
        [np.bincount(targets[of_example == f], minlength=targets.max() + 1) for f in np.unique(of_example)]
    )
    return float((counts / counts.sum(axis=0)).std(axis=0).mean())


@pytest.mark.parametrize("seed", range(5))
def test_without_groups_class_counts_and_sizes_differ_by_at_most_one(seed: int) -> None:
    targets = np.random.default_rng(seed).choice(4, p=[0.6, 0.2, 0.15, 0.05], size=203)
    dealt = folds(targets, None, 5, seed)
    counts = np.stack([np.bincount(targets[dealt.of_example == f], minlength=4) for f in range(5)])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1
    assert dealt.note == ""


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_ever_split_and_no_fold_is_empty(seed: int) -> None:
    targets, groups = _grouped(seed, 300, 40, 3)
    dealt = folds(targets, groups, 5, seed)
    for group in np.unique(groups):
        assert len(np.unique(dealt.of_example[groups == group])) == 1
    assert set(dealt.of_example) == set(range(dealt.num_folds))


@pytest.mark.parametrize(("num_examples", "num_groups", "num_classes"), [(300, 40, 2), (200, 25, 3), (1000, 700, 10)])
def test_grouped_folds_are_about_as_even_as_those_of_scikit_learn(
    num_examples: int, num_groups: int, num_classes: int
) -> None:
    ours, theirs = [], []
    for seed in range(8):
        targets, groups = _grouped(seed, num_examples, num_groups, num_classes)
        dealt = folds(targets, groups, 5, seed)
        of_example = np.zeros(num_examples, dtype=int)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            splitter = StratifiedGroupKFold(dealt.num_folds, shuffle=True, random_state=seed)
            for fold, (_, tested) in enumerate(splitter.split(targets, targets, groups)):
                of_example[tested] = fold
        ours.append(_unevenness(targets, dealt.of_example))
        theirs.append(_unevenness(targets, of_example))
    assert np.mean(ours) <= 1.05 * np.mean(theirs)


def test_the_seed_decides_and_nothing_else() -> None:
    targets, groups = _grouped(0, 200, 60, 3)
    first, again, other = (folds(targets, groups, 5, seed).of_example for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_names_of_groups_and_numbers_of_classes_may_be_anything() -> None:
    targets, groups = _grouped(0, 200, 60, 3)
    named = np.array([f"group {g:03d}" for g in groups])
    assert (folds(targets * 7 + 3, named, 5, 1).of_example == folds(targets, groups, 5, 1).of_example).all()


def test_a_rare_class_lowers_the_number_of_folds_and_is_named() -> None:
    targets = np.array([0] * 30 + [1] * 3)
    dealt = folds(targets, None, 5, 0)
    assert dealt.num_folds == 3
    assert dealt.note == "3 folds instead of 5: class 1 has 3 examples."
    assert [int((targets[dealt.of_example == f] == 1).sum()) for f in range(3)] == [1, 1, 1]


def lacking(outside: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.isin(inside, outside, invert=True)


def test_a_class_with_one_example_makes_no_folds_fewer_and_is_tested_in_none() -> None:
    targets = np.array([0] * 10 + [1] * 10 + [2])
    dealt = teachable(folds(targets, None, 5, 0), targets, None, lacking)
    assert dealt.num_folds == 5
    assert np.flatnonzero(dealt.of_example < 0).tolist() == [20]


def test_the_groups_that_a_class_has_alone_are_tested_in_no_fold() -> None:
    targets = np.array([0] * 12 + [1] * 12 + [2] * 4 + [0])
    groups = np.array([*range(24), *[30] * 5])  # the one group of class 2 holds an example of class 0 as well
    dealt = teachable(folds(targets, groups, 4, 0), targets, groups, lacking)
    assert np.flatnonzero(dealt.of_example < 0).tolist() == [24, 25, 26, 27, 28]
    assert set(dealt.of_example[:24]) == set(range(dealt.num_folds))
    for fold in range(dealt.num_folds):
        assert set(targets[dealt.of_example == fold]) <= set(targets[dealt.of_example != fold])


@pytest.mark.parametrize("others", [0, 9])
def test_where_fewer_than_two_classes_could_be_tested_nothing_is(others: int) -> None:
    targets = np.array([0] * 6 + [1] * (6 + others))
    groups = np.array([0] * 6 + [1] * 6 + [*range(2, 2 + others)])
    dealt = teachable(folds(targets, groups, 3, 0), targets, groups, lacking)
    assert (dealt.num_folds, set(dealt.of_example)) == (0, {-1})


def test_a_rare_class_is_counted_in_groups_where_there_are_groups() -> None:
    targets, groups = np.array([0] * 30 + [1] * 8), np.array([*range(30), *[100] * 4, *[101] * 4])
    dealt = folds(targets, groups, 5, 0)
    assert dealt.num_folds == 2
    assert "class 1 has 2 groups" in dealt.note


@pytest.mark.parametrize("seed", range(5))
def test_a_hold_out_has_its_share_of_every_class(seed: int) -> None:
    targets = np.random.default_rng(seed).choice(3, p=[0.7, 0.2, 0.1], size=500)
    held = split(targets, None, 0.2, seed)
    counts = np.bincount(targets)
    assert (np.abs(np.bincount(targets[held]) - 0.2 * counts) <= 0.5).all()


@pytest.mark.parametrize("seed", range(10))
def test_a_hold_out_keeps_groups_whole_and_classes_on_both_sides(seed: int) -> None:
    targets, groups = _grouped(seed, 120, 24, 3)
    held = split(targets, groups, 0.2, seed)
    assert not set(groups[held]) & set(groups[~held])
    assert set(targets[held]) == set(targets[~held]) == set(targets)
    assert abs(held.mean() - 0.2) < 0.06


def test_a_class_of_two_is_on_both_sides_of_a_hold_out() -> None:
    targets = np.array([0] * 50 + [1] * 2 + [2])
    held = split(targets, None, 0.1, 0)
    assert targets[held].tolist().count(1) == 1
    assert targets[held].tolist().count(0) == 5


def test_two_large_groups_are_put_on_different_sides() -> None:
    targets, groups = np.tile([0, 1], 10), np.repeat([0, 1], 10)
    held = split(targets, groups, 0.2, 0)
    assert held.sum() == 10


def test_one_group_cannot_be_divided() -> None:
    with pytest.raises(BadData, match="There is 1 group to split; at least 2 are required"):
        folds(np.array([0, 1, 0]), np.array(["a", "a", "a"]), 5, 0)
    with pytest.raises(BadData, match="There are 0 examples to split"):
        split(np.array([], dtype=int), None, 0.2, 0)


def test_a_share_of_everything_or_one_fold_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"must be between 0 and 1"):
        split(np.array([0, 1]), None, 1.0, 0)
    with pytest.raises(BadRequest, match="at least 2"):
        folds(np.array([0, 1]), None, 1, 0)


def test_rare_strata_make_no_folds_fewer_but_few_examples_do() -> None:
    strata = np.array([0] * 30 + [1])
    assert folds(np.append(strata, 1), None, 5, 0).num_folds == 2
    dealt = folds(strata, None, 5, 0, kept=False)
    assert (dealt.num_folds, dealt.note) == (5, "")
    few = folds(np.zeros(9, dtype=np.int64), np.arange(9) // 3, 5, 0, kept=False)
    assert (few.num_folds, few.note) == (3, "3 folds instead of 5: there are 3 groups.")
