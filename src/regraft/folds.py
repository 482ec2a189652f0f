"""Seeded, stratified folds and hold-out splits that never divide a group; and near copies, found by perceptual hashes,
which must not be divided either.

Letters in shapes: n examples, g groups, c classes, k parts (folds, or the two sides of a split), u distinct hashes, m
pairs.

Every group is assigned to the part where it leaves the classes most evenly distributed. The unevenness of part f and
class c is (count in f)² / (capacity of f × count in all²); its sum over both is minimal if every part has its share of
every class. Groups of several examples are placed first, largest first, in an order shuffled by the seed; single
examples then fill the remaining capacity, so that without groups the stratification is exact. The greedy order is that
of scikit-learn's StratifiedGroupKFold; the measure is our choice (for single examples it is Webster's method of
apportionment). Uses numpy only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from heapq import heapify, heapreplace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8, UInt64

from regraft.errors import BadData, BadRequest
from regraft.identity import derive_seed

MAX_BITS = 20
"""Maximum number of differing bits, of 256, between hashes of near-duplicates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Folds:
    """Assignment of examples to test folds."""

    of_example: Int[np.ndarray, " n"]
    """Fold of every example, in [0, num_folds); -1 if the example trains in every fold and is never tested."""
    num_folds: int
    """Number of folds, none of them empty; 0 if nothing can be tested."""
    note: str = ""
    """How the folds differ from those requested, in a sentence or two; empty if they do not."""


def folds(
    targets: Int[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"] | None = None,
    num_folds: int = 5,
    seed: int = 0,
    *,
    kept: bool = True,
) -> Folds:
    """Assign the examples to folds of similar size and class distribution; a group stays in one fold.

    Without groups, the counts of a class in any two folds differ by at most one, and so do the sizes of the folds. If a
    class of at least two examples (or groups) has fewer than `num_folds`, there are as many folds as it has, and `note`
    says so. If `kept` is false, `targets` are not classes that every training split needs, but strata to distribute
    evenly; then only the number of examples (or groups) limits the number of folds. A fold's training split may still
    lack a class; `teachable` takes care of that.

    Raises:
        BadRequest: `num_folds` is below 2.
        BadData: fewer than two examples, or fewer than two groups.
    """
    if num_folds < 2:
        raise BadRequest(
            f"The number of folds is {num_folds}; it must be at least 2.", fix="set the number of folds to 2 or more."
        )
    table = _Table(targets, groups)
    several = np.where(table.groups_per_class > 1, table.groups_per_class, num_folds)
    rarest = int(several.min()) if kept else table.num_groups
    used, note = max(2, min(num_folds, rarest)), ""
    if used < num_folds:
        few = f"class {table.classes[int(several.argmin())]} has" if kept else "there are"
        note = f"{used} folds instead of {num_folds}: {few} {_counted(rarest, table.unit)}."
    part = _deal(table, np.full(used, 1 / used), np.random.default_rng(derive_seed(seed, "folds")))
    return Folds(of_example=part[table.group_of], num_folds=used, note=note)


def teachable(
    dealt: Folds,
    targets: Shaped[np.ndarray, "n ..."],
    groups: Shaped[np.ndarray, " n"] | None,
    untaught: Callable[[np.ndarray, np.ndarray], Bool[np.ndarray, " _"]],
) -> Folds:
    """Return the same folds without test examples that the training examples of their fold cannot teach.

    `untaught(targets outside a fold, targets inside it)` returns a mask of those inside that show something none
    outside shows: a class, a label, a second value. Their groups train in every fold and are never tested. If the
    remaining test examples are all alike, nothing is tested.
    """
    of_example = dealt.of_example.copy()
    for fold in range(dealt.num_folds):
        inside = np.flatnonzero(of_example == fold)
        odd = inside[untaught(np.delete(targets, inside, axis=0), targets[inside])]
        of_example[odd if groups is None else np.isin(groups, groups[odd])] = -1
    tested = of_example >= 0
    if tested.all():
        return dealt
    left, renumbered = np.unique(of_example[tested], return_inverse=True)
    if len(left) < 2 or (targets[tested] == targets[tested][:1]).all():
        return Folds(of_example=np.full_like(of_example, -1), num_folds=0, note=dealt.note)
    of_example[tested] = renumbered
    return replace(dealt, of_example=of_example, num_folds=len(left))


def split(
    targets: Int[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"] | None, share: float, seed: int
) -> Bool[np.ndarray, " n"]:
    """Return a mask of the held-out examples: about `share` of every class, with no group on both sides.

    Every class with at least two examples (or groups) is on both sides, if groups that contain several classes allow
    it; a class with only one is placed where it fits.

    Raises:
        BadRequest: `share` is not between 0 and 1.
        BadData: fewer than two examples, or fewer than two groups.
    """
    if not 0 < share < 1:
        raise BadRequest(f"The held-out share is {share}; it must be between 0 and 1.", fix="use 0.2, for example.")
    table = _Table(targets, groups)
    part = _deal(table, np.array([1 - share, share]), np.random.default_rng(derive_seed(seed, "split")))
    _repair(table, part)
    return part[table.group_of] == 1


class _Table:
    """The examples as integer codes of class and group, and counts derived from them."""

    def __init__(self, targets: Int[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"] | None) -> None:
        self.classes, self.class_of = np.unique(targets, return_inverse=True)
        self.unit = "example" if groups is None else "group"
        if groups is None:
            self.group_of, self.num_groups = np.arange(len(targets)), len(targets)
        else:
            names, self.group_of = np.unique(groups, return_inverse=True)
            self.num_groups = len(names)
        if self.num_groups < 2:
            raise BadData(
                f"There {'is' if self.num_groups == 1 else 'are'} {_counted(self.num_groups, self.unit)} to split; "
                "at least 2 are required.",
                fix="add labelled data, or use finer groups.",
            )
        self.class_counts = np.bincount(self.class_of)
        pairs = np.unique(self.group_of * len(self.classes) + self.class_of)
        self.groups_per_class = np.bincount(pairs % len(self.classes), minlength=len(self.classes))

    def counts_of(self, some: Int[np.ndarray, " m"]) -> Int[np.ndarray, "m c"]:
        """Return the number of examples of every class in the groups `some`."""
        row = np.full(self.num_groups, -1)
        row[some] = np.arange(len(some))
        inside = row[self.group_of] >= 0
        return _count(row[self.group_of[inside]], self.class_of[inside], len(some), len(self.classes))


def _deal(table: _Table, capacity: Float[np.ndarray, " k"], rng: np.random.Generator) -> Int[np.ndarray, " g"]:
    """Return the part of every group; parts are filled in proportion to `capacity`."""
    sizes = np.bincount(table.group_of, minlength=table.num_groups)
    part = np.zeros(table.num_groups, dtype=np.int64)
    filled = np.zeros((len(capacity), len(table.classes)))
    turn = rng.permutation(len(capacity))

    several = rng.permutation(np.flatnonzero(sizes > 1))
    several = several[np.argsort(-sizes[several], kind="stable")]
    weight = 1 / table.class_counts.astype(float) ** 2
    for group, counts in zip(several, table.counts_of(several), strict=True):
        rise = (2 * filled * counts + counts**2) @ weight / capacity
        best = np.lexsort((turn, filled.sum(axis=1) / capacity, np.round(rise, 12)))[0]
        part[group] = best
        filled[best] += counts

    single = rng.permutation(np.flatnonzero(sizes == 1))
    class_of_group = np.zeros(table.num_groups, dtype=np.int64)
    class_of_group[table.group_of] = table.class_of
    for label in rng.permutation(len(table.classes)):
        mine = single[class_of_group[single] == label]
        part[mine] = _fill(filled, int(label), len(mine), capacity, turn)
    return part


def _fill(
    filled: Float[np.ndarray, "k c"],
    label: int,
    num_examples: int,
    capacity: Float[np.ndarray, " k"],
    turn: Int[np.ndarray, " k"],
) -> Int[np.ndarray, " m"]:
    """Return the parts of `num_examples` single examples of one class; updates `filled` in place."""
    totals = filled.sum(axis=1)

    def bid(at: int) -> tuple[float, float, int, int]:
        return (2 * filled[at, label] + 1) / capacity[at], totals[at] / capacity[at], int(turn[at]), at

    heap = [bid(at) for at in range(len(capacity))]
    heapify(heap)
    chosen = np.zeros(num_examples, dtype=np.int64)
    for position in range(num_examples):
        best = heap[0][-1]
        chosen[position] = best
        filled[best, label] += 1
        totals[best] += 1
        heapreplace(heap, bid(best))
    return chosen


def _repair(table: _Table, part: Int[np.ndarray, " g"]) -> None:
    """Move the smallest group that gives a class to the side that lacks it without taking a class from the other
    side."""
    for label in np.flatnonzero(table.groups_per_class > 1):
        counts = _count(part[table.group_of], table.class_of, 2, len(table.classes))
        for side in np.flatnonzero(counts[:, label] == 0):
            candidates = np.unique(table.group_of[table.class_of == label])
            inside = table.counts_of(candidates)
            left = counts[1 - side] - inside
            harmless = ((left > 0) | (inside == 0)).all(axis=1)
            if harmless.any():
                sizes = np.where(harmless, inside.sum(axis=1), np.iinfo(np.int64).max)
                part[candidates[sizes.argmin()]] = side


def _count(
    rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, " n"], num_rows: int, num_columns: int
) -> Int[np.ndarray, "r c"]:
    return np.bincount(rows * num_columns + columns, minlength=num_rows * num_columns).reshape(num_rows, num_columns)


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def hash_pairs(hashes: UInt8[np.ndarray, "u 32"], max_bits: int) -> Iterator[Int[np.ndarray, "m 2"]]:
    """Yield all pairs of rows that differ in at most `max_bits` bits, in batches; a pair may occur more than once."""
    if len(hashes) < 2:
        return
    words = np.ascontiguousarray(hashes).view(np.uint64)
    for band in _bands(hashes, max_bits + 1):
        order = np.argsort(band, kind="stable")
        keys, ordered = band[order], words[order]
        at = np.flatnonzero(keys[1:] == keys[:-1])
        step = 1
        while len(at):
            near = np.bitwise_count(ordered[at] ^ ordered[at + step]).sum(axis=1, dtype=np.int64) <= max_bits
            if near.any():
                yield np.stack([order[at[near]], order[at[near] + step]], axis=1)
            step += 1
            at = at[at + step < len(keys)]
            at = at[keys[at + step] == keys[at]]


def _bands(hashes: UInt8[np.ndarray, "u 32"], num_bands: int) -> Iterator[UInt64[np.ndarray, " u"]]:
    """Yield the bits distributed over bands of at most 64, each band as an integer.

    The bits that vary most over the data are distributed first, so that all bands are about equally informative: images
    on a plain background share whole rows of bits.
    """
    bits = np.unpackbits(hashes, axis=1)
    share = bits.mean(axis=0)
    by_variety = np.argsort(-(share * (1 - share)), kind="stable")
    for band in range(num_bands):
        chosen = bits[:, by_variety[band::num_bands]].astype(np.uint64)
        yield (chosen << np.arange(chosen.shape[1], dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
