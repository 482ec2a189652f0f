"""A training part: the rows outside some folds, in coordinates in which a linear head on them is solved.

A part's standardisation is taken on its own rows alone, so nothing of the folds left out reaches its solution.

* `Spanned`, for few rows: under an L2 penalty the best weights lie in the span of the standardised rows (the
  representer theorem), so the rows are rotated once into the principal axes of that span, found from the eigenvectors
  of their Gram matrix. Exact up to rounding in float64.
* `Direct`, for more rows: the features themselves, block by block. The leading principal axes of an even sample of all
  rows tell the minimiser how fast the loss curves in which direction; they steer its path, not the minimum.

Shapes: r rows, m rows asked for, d features, a coordinates, k axes, c outputs.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.tasks import rows as _rows
from regraft.tasks.rows import Rows

MAX_AXES = 192
"""Leading axes that a direct part knows (our choice, measured)."""
AXES_ROWS = 512
"""Rows that these are taken from (our choice)."""
SAMPLE_ROWS = 2048
"""Rows from which the variance along each is estimated (our choice)."""
RANK = 1e-12
"""Eigenvalues of a Gram matrix below this share of the largest are rounding."""
MIN_CURVATURE = 1e-6
"""Smallest mean p (1 - p) of a class that the scales take; less would make steps of any length."""

Slopes = Callable[
    [Float[np.ndarray, "c b"], Int[np.ndarray, " b"]], tuple[float, Float[np.ndarray, "c b"], Float[np.ndarray, " c"]]
]
"""(logits of some rows, which rows) -> their loss, its derivatives by the logits, the curvature of each output."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Orthogonal directions in a part's coordinates, and the mean square of the rows along each."""

    basis: Float[np.ndarray, "a k"] | None
    """Columns are directions; None where the coordinates themselves are the axes."""
    variance: Float[np.ndarray, " k"]
    """Mean square of the rows along each."""
    rest: float
    """Mean square of the rows along a direction outside the basis."""


def leading_axes(rows: Rows) -> Axes:
    """The directions in which standardised rows vary most, from a sample of them; deterministic."""
    sample = rows.sample(SAMPLE_ROWS)
    if rows.width <= MAX_AXES:
        variance, basis = np.linalg.eigh((sample.T @ sample).astype(np.float64) / len(sample))
        return Axes(basis=basis, variance=np.maximum(variance, 0.0), rest=0.0)
    few = sample[:: max(1, len(sample) // AXES_ROWS)]
    squares, vectors = np.linalg.eigh(few @ few.T)
    kept = slice(-MAX_AXES, None)
    basis = few.T @ (vectors[:, kept] / np.sqrt(np.maximum(squares[kept], RANK * squares[-1])))
    variance = np.square(sample @ basis, dtype=np.float64).mean(axis=0)
    rest = float(np.square(sample, dtype=np.float64).sum()) / len(sample) - float(variance.sum())
    return Axes(basis=basis.astype(np.float64), variance=variance, rest=max(rest, 0.0) / (rows.width - len(variance)))


class Part:
    """The rows outside some folds; this class for many rows, whose coordinates are the standardised features."""

    def __init__(self, rows: Rows, without: Collection[int], axes: Axes | None) -> None:
        self.rows = rows
        self.inside = ~np.isin(rows.fold_of, list(without)) & (rows.weights > 0)
        self.total = float(rows.weights[self.inside].sum())
        self._scaling = rows.moments.scaling(without, floor=_rows.SPREAD_FLOOR)
        self.mean = (self._scaling.mean - rows.common.mean) * rows.common.inverse
        self.inverse = self._scaling.inverse * rows.common.spread()
        self.size, self.noise, self._axes = rows.width, rows.noise, axes

    def loss(
        self, slopes: Slopes, weight: Float[np.ndarray, "c a"], bias: Float[np.ndarray, " c"]
    ) -> tuple[float, Float[np.ndarray, "c a"], Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
        """The loss over the part's rows, its gradients by weights and biases, and the curvature of each output."""
        folded = weight * self.inverse
        blocks, shifted = self.rows.blocks(self.inside), bias - folded @ self.mean
        value, by_weight, by_bias, curvature = _pass(blocks, slopes, folded, shifted, self.rows.dtype)
        return value, (by_weight - np.outer(by_bias, self.mean)) * self.inverse, by_bias, curvature

    def outputs(
        self, weight: Float[np.ndarray, "c a"], bias: Float[np.ndarray, " c"], rows: Int[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m c"]:
        """Outputs for any rows, inside the part or not."""
        folded = weight * self.inverse
        outputs: Float[np.ndarray, "m c"] = self.rows.product(folded, rows) + (bias - folded @ self.mean)
        return outputs

    def head(
        self, weight: Float[np.ndarray, "c a"], bias: Float[np.ndarray, " c"]
    ) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
        """Weights and biases on the features as they are stored, the standardisation folded in."""
        folded = self._on_features(weight) * self._scaling.inverse
        return folded, bias - folded @ self._scaling.mean

    def _on_features(self, weight: Float[np.ndarray, "c a"]) -> Float[np.ndarray, "c d"]:
        return weight

    def scales(self, curvature: Float[np.ndarray, " c"], penalty: float) -> "Scales":
        """The change of coordinates after which the penalised loss curves about equally in all of them."""
        assert self._axes is not None
        return Scales(self._axes, np.maximum(curvature, MIN_CURVATURE), penalty)


class Spanned(Part):
    """Few rows, in the principal axes of the part's own."""

    def __init__(self, rows: Rows, without: Collection[int]) -> None:
        super().__init__(rows, without, None)
        standard, root = self._standardised(), np.sqrt(rows.weights[self.inside])[:, None]
        weighted = standard[self.inside] * root
        self.squares, vectors = np.linalg.eigh(weighted @ weighted.T)
        kept = self.squares > RANK * max(float(self.squares[-1]), 1e-300)
        self.squares, vectors = self.squares[kept], vectors[:, kept]
        lengths = np.sqrt(self.squares)
        self._to_axes = vectors / lengths
        # The rows' own coordinates follow from the eigenvectors; only those left out cost a product with the rows.
        self._index, self.own = np.flatnonzero(self.inside), vectors * lengths / root
        self._coordinates = np.empty((len(standard), len(lengths)))
        self._coordinates[self.inside] = self.own
        self._coordinates[~self.inside] = standard[~self.inside] @ weighted.T @ self._to_axes
        self.size = len(self.squares)
        self._axes = Axes(basis=None, variance=self.squares / self.total, rest=0.0)

    def loss(
        self, slopes: Slopes, weight: Float[np.ndarray, "c a"], bias: Float[np.ndarray, " c"]
    ) -> tuple[float, Float[np.ndarray, "c a"], Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
        """The loss over the part's rows, its gradients by weights and biases, and the curvature of each output."""
        return _pass([(self._index, self.own)], slopes, weight, bias, self.own.dtype)

    def outputs(
        self, weight: Float[np.ndarray, "c a"], bias: Float[np.ndarray, " c"], rows: Int[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m c"]:
        """Outputs for any rows, inside the part or not."""
        outputs: Float[np.ndarray, "m c"] = self._coordinates[rows] @ weight.T + bias
        return outputs

    def _on_features(self, weight: Float[np.ndarray, "c a"]) -> Float[np.ndarray, "c d"]:
        by_row = (weight @ self._to_axes.T) * np.sqrt(self.rows.weights[self.inside])
        features: Float[np.ndarray, "c d"] = by_row @ self._standardised()[self.inside]
        return features

    def _standardised(self) -> Float[np.ndarray, "r d"]:
        """All rows, computed again when asked: many parts may live at once."""
        standard: Float[np.ndarray, "r d"] = (self.rows.held - self.mean) * self.inverse
        return standard


def _pass(
    blocks: Iterable[tuple[Int[np.ndarray, " b"], Float[np.ndarray, "b a"]]],
    slopes: Slopes,
    weight: Float[np.ndarray, "c a"],
    bias: Float[np.ndarray, " c"],
    dtype: np.dtype,
) -> tuple[float, Float[np.ndarray, "c a"], Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Loss, gradients and curvature over blocks of rows; products in the rows' dtype, sums in float64."""
    value, by_weight, by_bias, curvature = 0.0, np.zeros(weight.shape), np.zeros(len(bias)), np.zeros(len(bias))
    cast_weight, cast_bias = weight.astype(dtype, copy=False), bias.astype(dtype)[:, None]
    for index, rows in blocks:
        logits = cast_weight @ rows.T
        logits += cast_bias
        more, towards, curved = slopes(logits, index)
        value += more
        by_weight += towards @ rows
        by_bias += towards.sum(axis=1, dtype=np.float64)
        curvature += curved
    return value, by_weight, by_bias, curvature


class Scales:
    """The symmetric matrix (one per output) that turns scaled coordinates into weights.

    Along an axis of variance v the loss of an output of curvature q has the second derivative q v + penalty.
    """

    def __init__(self, axes: Axes, curvature: Float[np.ndarray, " c"], penalty: float) -> None:
        self._basis = axes.basis
        self._along = 1.0 / np.sqrt(curvature[:, None] * axes.variance + penalty)
        self._rest = 1.0 / np.sqrt(curvature[:, None] * axes.rest + penalty)
        self.bias = 1.0 / np.sqrt(curvature)

    def apply(self, x: Float[np.ndarray, "c a"]) -> Float[np.ndarray, "c a"]:
        """Scaled coordinates as weights, or a gradient by weights as one by scaled coordinates."""
        return self._times(x, self._along, self._rest)

    def undo(self, x: Float[np.ndarray, "c a"]) -> Float[np.ndarray, "c a"]:
        """Weights as scaled coordinates."""
        return self._times(x, 1.0 / self._along, 1.0 / self._rest)

    def _times(
        self, x: Float[np.ndarray, "c a"], along: Float[np.ndarray, "c k"], rest: Float[np.ndarray, "c 1"]
    ) -> Float[np.ndarray, "c a"]:
        changed: Float[np.ndarray, "c a"] = (
            x * along if self._basis is None else rest * x + ((x @ self._basis) * (along - rest)) @ self._basis.T
        )
        return changed
