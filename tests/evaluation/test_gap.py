"""The overfitting gap."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from regraft.evaluation.gap import Part, difference, overfitting_gap


def _part(right: int, n: int) -> Part:
    return _answers(np.arange(n) < right)


def _answers(right: np.ndarray, groups: np.ndarray | None = None) -> Part:
    """Two classes, all examples of the second; right where told."""
    return Part(targets=np.ones(len(right), dtype=np.int64), outputs=np.eye(2)[right.astype(int)], groups=groups)


def test_the_interval_is_newcombes_published_example() -> None:
    # Newcombe 1998, Table II, method 10.
    for (a, n), (b, m), low, high in [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)]:
        found = difference(_part(a, n), _part(b, m))
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
        assert found.value == pytest.approx(a / n - b / m)
        assert found.method == "newcombe"


def test_every_part_has_its_accuracy_and_every_step_its_fall() -> None:
    found = overfitting_gap({"train": _part(99, 100), "val": _part(80, 100), "test": _part(78, 100)})
    assert {name: one.value for name, one in found.by_part.items()} == {"train": 0.99, "val": 0.8, "test": 0.78}
    assert list(found.falls) == ["train - val", "val - test"]
    assert found.falls["train - val"].low is not None
    assert found.falls["train - val"].low > 0
    assert found.falls["val - test"].low is not None
    assert found.falls["val - test"].low < 0


def test_groups_are_resampled_whole_and_too_few_give_no_interval() -> None:
    rng = np.random.default_rng(0)
    trouble = rng.random(40) < 0.3
    groups = np.repeat(np.arange(40), 5)
    right = ~np.repeat(trouble, 5)
    one, other = _answers(right, groups), _answers(rng.random(200) < 0.9)
    grouped, plain = difference(one, other), difference(_answers(right), other)
    assert grouped.method == "bootstrap by group"
    assert grouped.value == plain.value
    assert grouped.high is not None
    assert grouped.low is not None
    assert plain.high is not None
    assert plain.low is not None
    assert grouped.high - grouped.low > 1.5 * (plain.high - plain.low)
    few = difference(_answers(right, groups // 10), other)
    assert (few.low, few.method) == (None, "too few groups (4 < 10)")


def test_an_error_that_grows_is_a_fall_as_a_share_that_shrinks_is() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(100, 20, (80, 1))
    learned = Part(targets=targets, outputs=targets + rng.normal(0, 1, (80, 1)))
    new = Part(targets=targets, outputs=targets + rng.normal(0, 5, (80, 1)))
    errors = [np.abs(part.outputs - part.targets).mean() for part in (learned, new)]
    found = difference(learned, new, metric="mae")
    assert found.value == pytest.approx(errors[1] - errors[0])
    assert found.low is not None
    assert found.low > 0
    explained = difference(learned, new, metric="r2")
    assert explained.value == pytest.approx(r2_score(targets, learned.outputs) - r2_score(targets, new.outputs))
    assert explained.low is not None
    assert explained.low > 0


def test_the_interval_of_a_gap_in_error_is_that_of_a_difference_of_two_means() -> None:
    rng = np.random.default_rng(1)
    parts = []
    for n, spread in ((300, 1.0), (200, 2.0)):
        targets = rng.normal(size=(n, 1))
        parts.append(Part(targets=targets, outputs=targets + rng.normal(0, spread, (n, 1))))
    found = difference(parts[0], parts[1], metric="mae")
    errors = [np.abs(part.outputs - part.targets)[:, 0] for part in parts]
    known = stats.ttest_ind(errors[1], errors[0], equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.1 * (known.high - known.low))
    assert found.method == "bootstrap"
