"""Ridge regression: a linear head for numbers, in closed form for many penalties at once, in numpy.

The same optimum as scikit-learn's `make_pipeline(StandardScaler(), Ridge(alpha=1 / c))`, several outputs and sample
weights included; the one difference is the floor under the spreads (`_rows.SPREAD_FLOOR`). The objective is the sum
over the examples of weight times squared error, summed over the outputs, plus 1 / c times the sum of the squared
weights on the standardised features; biases are free.

One eigendecomposition gives the solution for every penalty (Hastie, Tibshirani and Friedman 2009, section 3.4.1): of
the Gram matrix of the rows where there are no more rows than features, else of the features' scatter matrix, which is
summed in blocks so that the rows are never held whole. Standardisation is taken on a part's own rows alone.

Shapes: r rows (an example has one per view), t rows of a part, n examples, d features, c outputs, p penalties, k folds,
m examples asked for, b rows of a block.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.tasks.rows import SPREAD_FLOOR, RowSource, Scaling, block_rows, moments

MAX_GRAM = 1024
"""Rows up to which the Gram matrix of the rows is taken, where there are no more of them than features (our choice)."""
SCORED_ROWS = 4096
"""Rows in memory at once when penalties are compared."""


@dataclass(frozen=True, kw_only=True)
class Heads:
    """A head on features as they are stored for each of several penalties, in float64."""

    weight: Float[np.ndarray, "p c d"]
    """Weights."""
    bias: Float[np.ndarray, "p c"]
    """Biases."""

    def values(self, rows: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "p m c"]:
        """What each head says of these rows."""
        result: Float[np.ndarray, "p m c"] = rows.astype(np.float64) @ self.weight.transpose(0, 2, 1)
        result += self.bias[:, None]
        return result


class Rows:
    """Rows, targets and folds, to be solved without some of the folds."""

    def __init__(
        self,
        features: RowSource,
        targets: Float[np.ndarray, "r c"],
        *,
        row_weights: Float[np.ndarray, " r"],
        fold_of_row: Int[np.ndarray, " r"],
        num_folds: int,
        spread_floor: float = SPREAD_FLOOR,
    ) -> None:
        """`BadData` where a feature is not finite."""
        self._features, self._targets, self._weights, self._fold_of_row = features, targets, row_weights, fold_of_row
        self._moments = moments(features, row_weights, fold_of_row, num_folds)
        self._floor = spread_floor
        rows, width = features.shape
        self._held = np.array(features[0:rows], dtype=np.float64) if rows <= min(width, MAX_GRAM) else None

    def heads(self, penalties: Sequence[float], without: Collection[int] = ()) -> Heads:
        """The heads of least penalised squared error on the rows outside the folds `without`.

        `penalties` > 0 are what the squared weights are multiplied by: scikit-learn's alpha.
        """
        inside = ~np.isin(self._fold_of_row, list(without)) & (self._weights > 0)
        weights, targets = self._weights[inside], self._targets[inside]
        middle = weights @ targets / weights.sum()
        scaling = self._moments.scaling(without, floor=self._floor)
        if self._held is not None:
            standard = _of_rows(self._held[inside], scaling, weights, targets - middle, penalties)
        else:
            standard = self._of_features(scaling, inside, middle, penalties)
        weight = standard * scaling.inverse
        return Heads(weight=weight, bias=middle - weight @ scaling.mean)

    def errors(
        self, heads: Heads, rows: Int[np.ndarray, " m"], weights: Float[np.ndarray, " m"]
    ) -> Float[np.ndarray, " p"]:
        """Weighted sum of the squared errors of each head on some rows."""
        total = np.zeros(len(heads.weight))
        for some in _chunks(np.arange(len(rows))):
            off = heads.values(taken(self._features, rows[some])) - self._targets[rows[some]]
            total += np.einsum("pmc,m->p", off * off, weights[some])
        return total

    def values(self, heads: Heads, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m c"]:
        """What the first of `heads` says of some rows."""
        parts = [heads.values(taken(self._features, some))[0] for some in _chunks(rows)]
        return np.concatenate(parts) if parts else np.zeros((0, self._targets.shape[1]))

    def _of_features(
        self,
        scaling: Scaling,
        inside: Bool[np.ndarray, " r"],
        middle: Float[np.ndarray, " c"],
        penalties: Sequence[float],
    ) -> Float[np.ndarray, "p c d"]:
        """The weights on standardised features, from their scatter matrix."""
        rows, width = self._features.shape
        scatter, towards = np.zeros((width, width)), np.zeros((width, len(middle)))
        size = block_rows(width)
        for start in range(0, rows, size):
            chosen = np.flatnonzero(inside[start : start + size])
            if len(chosen):
                block = np.asarray(self._features[start : start + size], dtype=np.float64)[chosen]
                block = (block - scaling.mean) * scaling.inverse
                weighted = block * self._weights[start + chosen, None]
                scatter += weighted.T @ block
                towards += weighted.T @ (self._targets[start + chosen] - middle)
        eigenvalues, vectors = np.linalg.eigh(scatter)
        along = vectors.T @ towards
        shrunk = along / (np.maximum(eigenvalues, 0.0)[None, :, None] + np.asarray(penalties)[:, None, None])
        result: Float[np.ndarray, "p c d"] = (vectors @ shrunk).transpose(0, 2, 1)
        return result


def _of_rows(
    rows: Float[np.ndarray, "t d"],
    scaling: Scaling,
    weights: Float[np.ndarray, " t"],
    centred: Float[np.ndarray, "t c"],
    penalties: Sequence[float],
) -> Float[np.ndarray, "p c d"]:
    """The weights on standardised features, from the Gram matrix of the rows."""
    root = np.sqrt(weights)[:, None]
    scaled = (rows - scaling.mean) * scaling.inverse * root
    eigenvalues, vectors = np.linalg.eigh(scaled @ scaled.T)
    along = vectors.T @ (centred * root)
    shrunk = along / (np.maximum(eigenvalues, 0.0)[None, :, None] + np.asarray(penalties)[:, None, None])
    result: Float[np.ndarray, "p c d"] = (vectors @ shrunk).transpose(0, 2, 1) @ scaled
    return result


def taken(features: RowSource, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m d"]:
    """Some rows in float64, in the order asked for, read in blocks where they are not in memory."""
    if isinstance(features, np.ndarray):
        held: Float[np.ndarray, "m d"] = features[rows].astype(np.float64)
        return held
    result = np.empty((len(rows), features.shape[1]))
    size = block_rows(features.shape[1])
    for start in range(0, features.shape[0], size):
        mine = np.flatnonzero((rows >= start) & (rows < start + size))
        if len(mine):
            result[mine] = np.asarray(features[start : start + size], dtype=np.float64)[rows[mine] - start]
    return result


def _chunks(rows: Int[np.ndarray, " m"]) -> Iterator[Int[np.ndarray, " b"]]:
    for start in range(0, len(rows), SCORED_ROWS):
        yield rows[start : start + SCORED_ROWS]
