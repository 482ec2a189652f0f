"""Metrics of verification: how well the cosine similarity of two embeddings separates pairs of one identity from
others.

Pairs are given by the data, or all pairs of the examples (`tasks/pairs.py` samples some if there are too many). The
bootstrap resamples identities: a pair within one identity is weighted by how often that is drawn, a pair of two by the
product of both.

Letters: n examples, p pairs, b resamples, f folds.

Source: Huang et al. 2007, Labeled Faces in the Wild (the accuracy by folds); Grother et al., NISTIR
8280 (true accept rate at a false accept rate).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.contracts.metric import Figures, Metric, Tested
from regraft.contracts.page import Block, Context, Table
from regraft.tasks.pairs import MIN_FALSE, Roc, accepted_at, all_pairs, auroc_of, equal_error, roc
from regraft.tasks.verification import RATES

AT_ONCE = 1 << 22
"""Maximum number of weights of pairs in memory at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """The pairs of some examples."""

    left: Int[np.ndarray, " p"]
    right: Int[np.ndarray, " p"]
    same: Bool[np.ndarray, " p"]
    fold: Int[np.ndarray, " p"] | None
    """The fold of each given pair; None if all pairs are used."""


def identities(targets: Any) -> Int[np.ndarray, " n"]:
    """Return the identity of every example."""
    return np.array([one["identity"] for one in targets], dtype=np.int64)


def pairs_of(targets: Any) -> Pairs:
    """Return the given pairs with both examples present, or all pairs if none are given."""
    of, members = identities(targets), dict[tuple[int, int], list[int]]()
    for at, one in enumerate(targets):
        for fold, number in one["pairs"].tolist():
            members.setdefault((fold, number), []).append(at)
    whole = [(fold, *some) for (fold, _), some in sorted(members.items()) if len(some) == 2]
    if members:
        fold, left, right = np.array(whole, dtype=np.int64).reshape(-1, 3).T
        return Pairs(left=left, right=right, same=of[left] == of[right], fold=fold)
    left, right = all_pairs(of)
    return Pairs(left=left, right=right, same=of[left] == of[right], fold=None)


def _by_rows(
    targets: Any,
    outputs: Any,
    weights: Float[np.ndarray, "b n"],
    of: Callable[[Pairs, np.ndarray, np.ndarray], np.ndarray],
) -> Float[np.ndarray, " b"]:
    """Apply a function to the pairs, their cosines and their weights, a few resamples at a time."""
    pairs = pairs_of(targets)
    alike = (outputs[pairs.left] * outputs[pairs.right]).sum(axis=1)
    found, step = np.full(len(weights), np.nan), max(1, AT_ONCE // max(1, len(alike)))
    if pairs.same.all() or not pairs.same.any():
        return found
    for first in range(0, len(weights), step):
        rows = weights[first : first + step]
        each = np.where(pairs.same, rows[:, pairs.left], rows[:, pairs.left] * rows[:, pairs.right])
        found[first : first + step] = of(pairs, alike, each)
    return found


def of_curve(
    targets: Any, outputs: Any, weights: Float[np.ndarray, "b n"], value: Callable[[Roc], np.ndarray]
) -> Float[np.ndarray, " b"]:
    """Return a value derived from the ROC curve."""
    return _by_rows(targets, outputs, weights, lambda pairs, alike, each: value(roc(alike, pairs.same, each)))


def accepted(targets: Any, outputs: Any, weights: Float[np.ndarray, "b n"], limit: float) -> Float[np.ndarray, " b"]:
    """Return the true accept rate at a false accept rate; nan with fewer than 10 / limit pairs of two identities."""
    if int((~pairs_of(targets).same).sum()) < MIN_FALSE / limit:
        return np.full(len(weights), np.nan)
    return of_curve(targets, outputs, weights, partial(accepted_at, limit=limit))


def fold_accuracy(targets: Any, outputs: Any, weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    """Return the mean accuracy over folds of pairs, each at the best threshold of the other folds; nan if no pairs
    are given."""
    return _by_rows(targets, outputs, weights, _accuracy)


def _accuracy(pairs: Pairs, alike: np.ndarray, each: Float[np.ndarray, "b p"]) -> Float[np.ndarray, " b"]:
    if pairs.fold is None or len(names := np.unique(pairs.fold)) < 2:
        return np.full(len(each), np.nan)
    right, total = [], []
    for name in names:
        own = each * (pairs.fold == name)
        curve = roc(alike, pairs.same, own)
        accepted, refused = curve.true, curve.false[:, -1:] - curve.false
        right.append(accepted + refused)
        total.append(own.sum(axis=1))
    by_fold, sizes = np.stack(right), np.stack(total)
    best = (by_fold.sum(axis=0) - by_fold).argmax(axis=2)
    hits = np.take_along_axis(by_fold, best[..., None], axis=2)[..., 0]
    shares = np.divide(hits, sizes, out=np.full_like(hits, np.nan), where=sizes > 0)
    return np.nanmean(shares, axis=0)


@dataclass(frozen=True, kw_only=True)
class PairFigures(Figures):
    """The evaluated pairs."""

    same: int = 0
    """Number of pairs of the same identity."""
    different: int = 0
    """Number of pairs of different identities."""
    identities: int = 0
    """Number of identities."""
    given: bool = False
    """Whether the pairs are given by the data."""

    def blocks(self, of: Context) -> Iterator[Block]:
        """Return their numbers."""
        rows = [("of one identity", f"{self.same:,}"), ("of two", f"{self.different:,}")]
        which = "the pairs given in the data" if self.given else "all pairs of the examples, or a sample of them"
        text = (
            f"Evaluated on {which}, of {self.identities:,} identities not seen in training. Intervals come from "
            "resampling identities."
        )
        yield Block("Pairs", (text, Table(("Pairs", "number"), rows)))


def figures_of_pairs(tested: Tested) -> PairFigures:
    """Return the numbers of pairs, and the metrics that they are too few for."""
    pairs = pairs_of(tested.targets)
    different = int((~pairs.same).sum())
    refused = [rate for rate in RATES if different < MIN_FALSE / rate]
    few = (
        f"No true accepts at a false accept rate of {refused[0]:g}: {different:,} pairs of different identities; "
        f"{MIN_FALSE / refused[0]:,.0f} are needed."
        if refused
        else ""
    )
    return PairFigures(
        same=int(pairs.same.sum()), different=different, identities=len(np.unique(identities(tested.targets))),
        given=pairs.fold is not None, notes=(few,) if few else (),
    )  # fmt: skip


def _columns(outputs: Any) -> int:
    """Return the approximate number of pairs per example."""
    return 1 + min(len(outputs), 400) // 2


_metric = partial(
    Metric,
    higher_is_better=True,
    range=(0.0, 1.0),
    kinds=frozenset({"verification"}),
    identities=identities,
    columns=_columns,
    undefined="needs pairs of the same identity and of different ones",
)
KINDS = ("verification",)
NAMES = ("eer", "pair_accuracy", "pair_auroc", "tar_at_far_0.1", "tar_at_far_0.01", "tar_at_far_0.001")
ENTRIES = {
    "pair_auroc": _metric(
        name="pair_auroc",
        title="AUROC of pairs",
        of_sample=partial(of_curve, value=auroc_of),
        main=frozenset({"verification"}),
        figures=figures_of_pairs,
    ),
    "eer": _metric(
        name="eer",
        title="Equal error rate of pairs",
        higher_is_better=False,
        of_sample=partial(of_curve, value=equal_error),
    ),
    "pair_accuracy": _metric(
        name="pair_accuracy",
        title="Accuracy on the given pairs, at thresholds from the other folds",
        of_sample=fold_accuracy,
        undefined="the data do not define folds of pairs",
    ),
} | {
    f"tar_at_far_{rate:g}": _metric(
        name=f"tar_at_far_{rate:g}",
        title=f"True accepts at a false accept rate of {rate:g}",
        of_sample=partial(accepted, limit=rate),
        undefined=f"fewer than {MIN_FALSE / rate:,.0f} pairs of different identities",
    )
    for rate in RATES
}
