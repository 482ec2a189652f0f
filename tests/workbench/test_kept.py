"""The check that a model still knows its old classes."""

import numpy as np
import pytest

from regraft.errors import BadData
from regraft.evaluation.intervals import wilson
from regraft.workbench._kept import Kept, check_kept, kept


def asked(called_new: int, groups: np.ndarray | None = None) -> Kept:
    """40 examples of two classes, all right before; then so many are called a third class."""
    targets = np.arange(40) % 2
    before = np.eye(2)[targets] * 0.8 + 0.1
    after = np.pad(before, ((0, 0), (0, 1)))
    after[:called_new] = [0.1, 0.1, 0.8]
    return kept(targets, before, after, old_classes=("a", "b", "c"), standing="of the test", groups=groups, seed=0)


def test_what_was_lost_and_what_is_called_new_is_counted() -> None:
    found = asked(6)
    assert (found.before, found.after, found.num_called_new) == (1.0, 34 / 40, 6)
    assert found.change.value == pytest.approx(-6 / 40)
    assert found.lost == pytest.approx(6 / 40)
    assert (found.called_new.low, found.called_new.high) == wilson(6.0, 40, 0.95)
    assert found.change.low is not None
    assert found.change.high is not None
    assert found.change.low < -6 / 40 < found.change.high < 0
    assert found.missing == ("c",)


def test_nothing_lost_is_accepted_at_a_limit_of_nought() -> None:
    check_kept(asked(0), ("new",), 0.0)


def test_a_loss_at_the_limit_is_accepted_and_one_beyond_it_refused_with_the_way_out() -> None:
    check_kept(asked(4), ("new",), 0.1)
    with pytest.raises(BadData, match=r"With new added, .* from 1\.000 to 0\.850 .*6 of them.*Nothing") as caught:
        check_kept(asked(6), ("new",), 0.1)
    assert "--max-loss 0.15" in caught.value.fix


def test_a_model_that_got_better_on_old_examples_lost_nothing() -> None:
    targets = np.zeros(10, dtype=np.int64)
    before, after = np.tile([0.4, 0.6], (10, 1)), np.tile([0.5, 0.3, 0.2], (10, 1))
    found = kept(targets, before, after, old_classes=("a", "b"), standing="", groups=None, seed=0)
    assert (found.before, found.after, found.lost) == (0.0, 1.0, 0.0)


def test_intervals_are_by_group_where_there_are_groups() -> None:
    assert asked(6, groups=np.arange(40) // 2).change.method == "bootstrap by group"
