"""Repair of a given split: no copies, groups, or contents with two labels across the new one.

The test examples stay the same, so that metrics remain comparable; training examples that share something with them are
removed. Only if that would cost a fifth of the training examples, or a class, are all splits drawn again.

Letters: n examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

from regraft.auditing.neighbours import cropped_pairs
from regraft.contracts.audit import SessionView
from regraft.data.splits import MIN_FOR_TEST, union
from regraft.folds import split
from regraft.identity import derive_seed

MAX_LOSS = 0.2
"""Maximum share of the training examples to remove before all splits are drawn again. Our choice."""
TEST_SHARE = 0.2
ORDER = ("train", "val", "test")
"""An example in several splits is kept in the last of these."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mended:
    """A repaired split."""

    splits: Shaped[np.ndarray, " n"]
    """train, val or test; empty if cross-validation is the better choice."""
    kept: Bool[np.ndarray, " n"]
    """Whether the example is kept."""
    sets: Int[np.ndarray, " n"]
    """Integer for every example, equal for copies and groups that must stay together."""
    left_out: Mapping[str, Int[np.ndarray, " _"]]
    """Positions of the removed examples, by reason."""
    redrawn: bool
    """Whether all splits were drawn again."""


def mended(view: SessionView) -> Mended:
    """Return the repaired split of these examples."""
    num = len(view.examples)
    labels = np.unique([one.label for one in view.examples], return_inverse=True)[1]
    odd = np.zeros(num, dtype=bool)
    if view.task.needs_labels:
        odd[view.same[labels != labels[view.same]]] = True
        odd = odd[view.same]
    kept = view.usable & ~odd
    left_out = {"cannot be read": np.flatnonzero(~view.usable), "has two labels": np.flatnonzero(odd)}
    here = np.arange(num)
    pairs = [np.stack([view.same, here], axis=1), view.near, cropped_pairs(view)]
    if view.groups is not None:
        _, first, code = np.unique(view.groups, return_index=True, return_inverse=True)
        pairs.append(np.stack([first[code], here], axis=1))
    sets = union(num, np.concatenate(pairs))
    splits = view.splits.copy()
    if not (view.splits != "").any():
        if view.task.exclusive and int(kept.sum()) >= MIN_FOR_TEST:
            splits = _drawn(view, kept, sets, {"test": TEST_SHARE})
        return Mended(splits=splits, kept=kept, sets=sets, left_out=left_out, redrawn=False)
    rank = np.array([ORDER.index(name) if name in ORDER else 0 for name in splits.tolist()])
    highest = np.zeros(num, dtype=np.int64)
    np.maximum.at(highest, sets[kept], rank[kept])
    lower = kept & (rank < highest[sets])
    train = kept & (rank == 0)
    lost_class = view.task.exclusive and len(np.setdiff1d(labels[train], labels[train & ~lower]))
    if lower[train].sum() > MAX_LOSS * train.sum() or lost_class:
        shares = {name: float((splits[kept] == name).mean()) for name in ORDER[:0:-1] if (splits[kept] == name).any()}
        splits = _drawn(view, kept, sets, shares)
        return Mended(splits=splits, kept=kept, sets=sets, left_out=left_out, redrawn=True)
    left_out["is also in another split, or has a near copy or its group there"] = np.flatnonzero(lower)
    return Mended(splits=splits, kept=kept & ~lower, sets=sets, left_out=left_out, redrawn=False)


def _drawn(
    view: SessionView, kept: Bool[np.ndarray, " n"], sets: Int[np.ndarray, " n"], shares: Mapping[str, float]
) -> Shaped[np.ndarray, " n"]:
    """Draw splits with these shares of all examples, keeping sets together; the rest is for training."""
    splits = np.full(len(kept), "train", dtype="U5")
    strata, taken = view.task.strata(view.targets), 0.0
    for name, share in shares.items():
        left = np.flatnonzero(kept & (splits == "train"))
        held = split(strata[left], sets[left], share / (1 - taken), derive_seed(view.seed, "mended", name))
        splits[left[held]], taken = name, taken + share
    return splits
