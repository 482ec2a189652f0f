"""The overfitting gap."""

import numpy as np
import pytest

from regraft.evaluation.gap import Part, difference, overfitting_gap


def _part(right: int, n: int) -> Part:
    return Part(right=np.arange(n) < right)


def test_the_interval_is_newcombes_published_example() -> None:
    # Newcombe 1998, Table II, method 10.
    for (a, n), (b, m), low, high in [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)]:
        found = difference(_part(a, n), _part(b, m))
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
        assert found.value == pytest.approx(a / n - b / m)
        assert found.method == "newcombe"


def test_every_part_has_its_accuracy_and_every_step_its_fall() -> None:
    found = overfitting_gap({"train": _part(99, 100), "val": _part(80, 100), "test": _part(78, 100)})
    assert {name: one.value for name, one in found.accuracy.items()} == {"train": 0.99, "val": 0.8, "test": 0.78}
    assert list(found.falls) == ["train - val", "val - test"]
    assert found.falls["train - val"].low is not None
    assert found.falls["train - val"].low > 0
    assert found.falls["val - test"].low is not None
    assert found.falls["val - test"].low < 0


def test_groups_are_resampled_whole_and_too_few_give_no_interval() -> None:
    rng = np.random.default_rng(0)
    trouble = rng.random(40) < 0.3
    groups = np.repeat(np.arange(40), 5)
    one = Part(right=~np.repeat(trouble, 5), groups=groups)
    other = Part(right=rng.random(200) < 0.9)
    grouped, plain = difference(one, other), difference(Part(right=one.right), other)
    assert grouped.method == "bootstrap by group"
    assert grouped.value == plain.value
    assert grouped.high is not None
    assert grouped.low is not None
    assert plain.high is not None
    assert plain.low is not None
    assert grouped.high - grouped.low > 1.5 * (plain.high - plain.low)
    few = difference(Part(right=one.right, groups=groups // 10), other)
    assert (few.low, few.method) == (None, "too few groups (4 < 10)")
