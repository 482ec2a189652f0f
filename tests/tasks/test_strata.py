"""Strata of numbers and tags."""

import numpy as np

from regraft.tasks.multilabel import by_rarest
from regraft.tasks.regression import by_rank


def test_bins_of_numbers_hold_like_many_in_order() -> None:
    numbers = np.random.default_rng(0).lognormal(size=(205, 1))
    bins = by_rank(numbers)
    assert set(np.bincount(bins)) == {20, 21}
    order = np.argsort(numbers[:, 0])
    assert (np.diff(bins[order]) >= 0).all()


def test_few_examples_make_few_bins() -> None:
    assert by_rank(np.arange(35.0)[:, None]).max() == 2
    assert by_rank(np.arange(4.0)[:, None]).tolist() == [0] * 4


def test_several_numbers_count_alike_whatever_their_unit() -> None:
    random = np.random.default_rng(1)
    numbers = random.normal(size=(200, 2))
    np.testing.assert_array_equal(by_rank(numbers), by_rank(numbers * [1.0, 1e6]))


def test_an_example_belongs_to_its_rarest_tag() -> None:
    targets = np.zeros((100, 3))
    targets[:60, 0] = 1
    targets[40:70, 1] = 1
    targets[50:62, 2] = 1
    strata = by_rarest(targets)
    assert (strata[50:62] == 2).all()
    assert (strata[40:50] == 1).all()
    assert (strata[:40] == 0).all()
    assert (strata[70:] == 3).all()


def test_a_tag_of_under_ten_examples_is_no_stratum_of_its_own() -> None:
    targets = np.zeros((40, 2))
    targets[:4, 0] = 1
    targets[:20, 1] = 1
    assert set(by_rarest(targets)[:4].tolist()) == {2}
