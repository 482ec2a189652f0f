"""Rows of features in folds: their means and standard deviations, and the standardised rows, in blocks.

Shapes: r rows (one per view of an example), n examples, d features, k folds, b rows of a block.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.errors import BadData

STREAM_ABOVE = 1 << 30
"""Size of the features in bytes above which they are read in blocks on every pass (our choice: 1 GiB)."""
BLOCK_BYTES = 2 << 20
"""Size of a block of rows in float32, in bytes: small enough for a core's cache, so that the second product of a pass
still finds the block there (our choice)."""
DOUBLE_BELOW = 1 << 20
"""Maximum number of values kept in float64; larger features are kept in float32, with sums over blocks in float64."""
SPREAD_FLOOR = 0.1
"""Lower bound on the standard deviation of a feature, as a fraction of the median feature's. A unit that is inactive
for nearly all training examples has a tiny one; a new example that activates it would be thousands of standard
deviations away, and that feature alone would determine its logits. Our choice, measured on pooled activations of five
small data sets (240 examples, 4 draws): mean test log loss 0.667 without a bound, 0.541 at 0.01, 0.532 at 0.1, 0.526 at
1, 0.536 at 10; accuracies differ by half a percentage point."""
FEW_ROWS = 1024
"""Maximum number of rows for solving a part in the span of its own rows; beyond it, that costs more time (measured)."""
CONSTANT = 1e-6
"""A feature is constant over some rows if its standard deviation there is below this fraction of that over all rows."""


@runtime_checkable
class RowSource(Protocol):
    """Anything with `shape` (r, d) and slices of rows that numpy can read: an array, a memory map, a stored file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Mean and inverse standard deviation of each feature."""

    mean: Float[np.ndarray, " d"]
    """Weighted mean."""
    inverse: Float[np.ndarray, " d"]
    """Inverse of the weighted standard deviation (divisor n) or of its lower bound; 0 for constant features."""

    def deviation(self) -> Float[np.ndarray, " d"]:
        """Return the divisor of each feature; 0 for a constant feature."""
        deviation: Float[np.ndarray, " d"] = np.zeros_like(self.inverse)
        np.divide(1.0, self.inverse, out=deviation, where=self.inverse > 0)
        return deviation


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Weighted sums of the rows of each fold, computed in one pass in float64."""

    pivot: Float[np.ndarray, " d"]
    """Subtracted from every row before summing, to avoid cancellation."""
    weight: Float[np.ndarray, " k"]
    """Sum of the weights."""
    first: Float[np.ndarray, "k d"]
    """Sum of weight times feature."""
    second: Float[np.ndarray, "k d"]
    """Sum of weight times squared feature."""

    def scaling(self, without: Collection[int] = (), *, floor: float = 0.0) -> Scaling:
        """Return mean and standard deviation of the rows outside the folds `without`.

        Standard deviations are at least `floor` times that of the median feature; constant features are dropped.
        """
        kept = [fold for fold in range(len(self.weight)) if fold not in without]
        mean, variance = self._of(kept)
        _, overall = self._of(list(range(len(self.weight))))
        constant = variance <= CONSTANT**2 * overall
        deviation = np.sqrt(variance[~constant])
        inverse = np.zeros(len(mean))
        if len(deviation):
            inverse[~constant] = 1.0 / np.maximum(deviation, floor * float(np.median(deviation)))
        return Scaling(mean=mean + self.pivot, inverse=inverse)

    def _of(self, folds: list[int]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
        weight = self.weight[folds].sum()
        mean = self.first[folds].sum(axis=0) / weight
        variance = self.second[folds].sum(axis=0) / weight - mean * mean
        floor = (np.finfo(np.float64).eps * np.abs(mean + self.pivot)) ** 2
        return mean, np.where(variance <= floor, 0.0, variance)


def moments(
    features: RowSource, weights: Float[np.ndarray, " r"], fold_of_row: Int[np.ndarray, " r"], num_folds: int
) -> Moments:
    """Return the sums of each fold of `features`; raises `BadData` for the first row with a non-finite number."""
    rows, width = features.shape
    pivot = np.zeros(width)
    weight = np.bincount(fold_of_row, weights=weights, minlength=num_folds).astype(np.float64)
    first, second = np.zeros((num_folds, width)), np.zeros((num_folds, width))
    size = block_rows(width)
    for start in range(0, rows, size):
        block = np.asarray(features[start : start + size], dtype=np.float64)
        with np.errstate(invalid="ignore"):
            if not np.isfinite(block.sum()):
                _refuse(block, start)
        if start == 0:
            pivot = block.mean(axis=0)
        block = block - pivot
        taken = slice(start, start + len(block))
        share = np.zeros((num_folds, len(block)))
        share[fold_of_row[taken], np.arange(len(block))] = weights[taken]
        first += share @ block
        second += share @ np.square(block, out=block)
    return Moments(pivot=pivot, weight=weight, first=first, second=second)


def _refuse(block: Float[np.ndarray, "b d"], start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
    if len(bad):
        raise BadData(
            f"The features of row {start + int(bad[0])} contain a non-finite number.",
            fix="store the activations in float32; if they are not finite even then, leave out this example.",
        )


def block_rows(width: int) -> int:
    """Return the number of rows of a block whose float32 copy takes about `BLOCK_BYTES`."""
    return max(64, BLOCK_BYTES // (4 * max(width, 1)))


class Rows:
    """Rows standardised together, in blocks: kept in memory if they fit, otherwise read again on every pass.

    In memory, unless there are few, they are sorted by fold and no block contains two folds, so that a pass without
    some folds skips all their rows. A part of the rows has its own mean and standard deviations; callers apply the
    (small) difference to the weights.
    """

    def __init__(
        self,
        features: RowSource,
        weights: Float[np.ndarray, " r"],
        fold_of: Int[np.ndarray, " r"],
        num_folds: int,
        *,
        single: bool = True,
    ) -> None:
        """`single`: whether many rows are kept in float32, with sums over blocks in float64; otherwise all are in
        float64.

        Raises:
            BadData: a feature is not finite; the message names the row.
        """
        rows, self.width = features.shape
        self.weights, self.fold_of, self._features = weights, fold_of, features
        self.moments = moments(features, weights, fold_of, num_folds)
        self.common = self.moments.scaling(floor=SPREAD_FLOOR)
        few = rows <= min(self.width, FEW_ROWS)
        double = few or not single or rows * self.width <= DOUBLE_BELOW
        self.dtype: np.dtype[Any] = np.dtype(np.float64 if double else np.float32)
        self.noise = 0.0 if double else 2e-7
        held = self.dtype.itemsize * rows * self.width <= STREAM_ABOVE
        self.few = few and held
        sorted_by_fold = held and not few
        self._order = np.argsort(fold_of, kind="stable") if sorted_by_fold else np.arange(rows)
        place = np.argsort(self._order, kind="stable")
        size, ends = block_rows(self.width), np.cumsum(np.bincount(fold_of)).tolist() if sorted_by_fold else [rows]
        self._spans = [
            (start, min(start + size, high)) for low, high in pairwise([0, *ends]) for start in range(low, high, size)
        ]
        self.held = np.empty((rows if held else 0, self.width), dtype=self.dtype)
        for start in range(0, len(self.held), size):
            stop = min(start + size, rows)
            self.held[place[start:stop]] = self._read(start, stop)

    def blocks(self, kept: Bool[np.ndarray, " r"]) -> Iterator[tuple[Int[np.ndarray, " b"], Float[np.ndarray, "b d"]]]:
        """Yield row indices and standardised features of every block, for the rows in `kept` only."""
        for start, stop in self._spans:
            index = self._order[start:stop]
            chosen = kept[index]
            if chosen.any():
                block = self.held[start:stop] if len(self.held) else self._read(start, stop)
                yield (index, block) if chosen.all() else (index[chosen], block[chosen])

    def product(self, weight: Float[np.ndarray, "c d"], rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m c"]:
        """Return some standardised rows times weights, in float64."""
        kept, place = np.zeros(len(self.fold_of), dtype=bool), np.empty(len(self.fold_of), dtype=np.int64)
        kept[rows], place[rows] = True, np.arange(len(rows))
        result = np.empty((len(rows), len(weight)))
        cast = weight.T.astype(self.dtype)
        for index, block in self.blocks(kept):
            result[place[index]] = block @ cast
        return result

    def sample(self, count: int) -> Float[np.ndarray, "m d"]:
        """Return about `count` rows, evenly from all blocks; copied, so that no block is kept alive."""
        everyone = np.ones(len(self.fold_of), dtype=bool)
        every = max(1, len(self.fold_of) // count)
        return np.concatenate([block[::every].copy() for _, block in self.blocks(everyone)])

    def _read(self, start: int, stop: int) -> Float[np.ndarray, "b d"]:
        block = np.array(self._features[start:stop], dtype=self.dtype)
        block -= self.common.mean.astype(self.dtype)
        block *= self.common.inverse.astype(self.dtype)
        return block


def outputs_of(
    features: RowSource, weight: Float[np.ndarray, "c d"], bias: Float[np.ndarray, " c"]
) -> Float[np.ndarray, "r c"]:
    """Return a head's outputs on stored features, in float32, computed in blocks."""
    rows, width = features.shape
    outputs = np.empty((rows, len(bias)), dtype=np.float32)
    size = block_rows(width)
    for start in range(0, rows, size):
        block = np.asarray(features[start : start + size], dtype=np.float32)
        outputs[start : start + size] = block @ weight.T + bias
    return outputs
