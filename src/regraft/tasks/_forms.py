"""Two forms of one training part: coordinates in which a linear head on its standardised rows is solved.

* `Projected`, for no more rows than features: under an L2 penalty the best weights lie in the span of the standardised
  rows (the representer theorem), so the rows are written once in that span's principal axes, at most as many as rows,
  found from the eigenvectors of their Gram matrix. Exact up to rounding in float64.
* `Direct`, for more rows: the features themselves, block by block. Its axes are the leading ones of an even sample
  of all rows by a randomised range finder (Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithm 4.4).

The axes tell the minimiser how fast the loss curves in which direction. They steer its path, not the minimum it
ends in, so a direct part may share those of all rows with the other parts.

Shapes: r rows, t rows of the part, m rows asked for, d features, c classes, a coordinates, k axes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from regraft.tasks._softmax import Loss, softmax_loss
from regraft.tasks.rows import Blocks, Scaling

MAX_AXES = 192
"""Leading axes of a direct form; all of them where there are no more features than this (our choice, measured)."""
SAMPLE_ROWS = 2048
"""Rows from which these axes are estimated (our choice)."""
RANK = 1e-12
"""Eigenvalues of a Gram matrix below this share of the largest are rounding."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Orthogonal directions in a form's coordinates, and the rows' variance along each."""

    basis: Float[np.ndarray, "a k"] | None
    """Columns are directions; None where the coordinates themselves are the axes."""
    variance: Float[np.ndarray, " k"]
    """Mean square of the rows along each."""
    rest: float
    """Mean square of the rows along a direction outside the basis."""


@runtime_checkable
class Form(Protocol):
    """What a solver needs of a training part."""

    size: int
    """Number of coordinates."""
    axes: Axes
    """How the rows spread."""
    noise: float
    """Absolute error of a mean loss from the precision of the products."""

    def loss(
        self,
        weight: Float[np.ndarray, "c a"],
        bias: Float[np.ndarray, " c"],
        targets: Int[np.ndarray, " r"],
        row_weights: Float[np.ndarray, " r"],
    ) -> Loss:
        """The weighted log loss over the part's rows."""

    def logits(
        self, weight: Float[np.ndarray, "c a"], bias: Float[np.ndarray, " c"], rows: Int[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m c"]:
        """Logits of any rows, inside the part or not."""

    def to_standard(self, weight: Float[np.ndarray, "c a"]) -> Float[np.ndarray, "c d"]:
        """Weights on the standardised features."""

    def from_standard(self, weight: Float[np.ndarray, "c d"]) -> Float[np.ndarray, "c a"]:
        """The nearest weights that the coordinates can express."""


class Projected:
    """Rows in the principal axes of the part's own rows."""

    noise = 0.0

    def __init__(self, features: Float[np.ndarray, "r d"], scaling: Scaling, inside: Int[np.ndarray, " t"]) -> None:
        """`features` in float64, all rows; `scaling` and the axes from the rows `inside` alone."""
        self._features, self._scaling, self._inside = features, scaling, inside
        rows = (features - scaling.mean) * scaling.inverse
        gram = rows @ rows.T
        eigenvalues, vectors = np.linalg.eigh(gram[np.ix_(inside, inside)])
        kept = eigenvalues > RANK * max(float(eigenvalues[-1]), 1e-300)
        lengths = np.sqrt(eigenvalues[kept])
        self._to_axes = vectors[:, kept] / lengths
        self._rows = gram[:, inside] @ self._to_axes
        self._inner = vectors[:, kept] * lengths
        self.size = int(kept.sum())
        self.axes = Axes(basis=None, variance=eigenvalues[kept] / len(inside), rest=0.0)

    def loss(
        self,
        weight: Float[np.ndarray, "c a"],
        bias: Float[np.ndarray, " c"],
        targets: Int[np.ndarray, " r"],
        row_weights: Float[np.ndarray, " r"],
    ) -> Loss:
        """The weighted log loss over the part's rows."""
        return softmax_loss([(self._inside, self._inner)], weight, bias, targets, row_weights)

    def logits(
        self, weight: Float[np.ndarray, "c a"], bias: Float[np.ndarray, " c"], rows: Int[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m c"]:
        """Logits of any rows, inside the part or not."""
        logits: Float[np.ndarray, "m c"] = self._rows[rows] @ weight.T + bias
        return logits

    def to_standard(self, weight: Float[np.ndarray, "c a"]) -> Float[np.ndarray, "c d"]:
        """Weights on the standardised features."""
        standard: Float[np.ndarray, "c d"] = (weight @ self._to_axes.T) @ self._standardised()
        return standard

    def from_standard(self, weight: Float[np.ndarray, "c d"]) -> Float[np.ndarray, "c a"]:
        """The nearest weights that the coordinates can express."""
        inner: Float[np.ndarray, "c a"] = (weight @ self._standardised().T) @ self._to_axes
        return inner

    def _standardised(self) -> Float[np.ndarray, "t d"]:
        rows: Float[np.ndarray, "t d"] = (self._features[self._inside] - self._scaling.mean) * self._scaling.inverse
        return rows


class Direct:
    """The features themselves, standardised for the part on top of the common standardisation of the blocks."""

    def __init__(self, blocks: Blocks, common: Scaling, scaling: Scaling, without: Collection[int], axes: Axes) -> None:
        self._blocks, self._without = blocks, frozenset(without)
        self.size, self.axes, self.noise = blocks.width, axes, blocks.noise
        self._inverse = scaling.inverse * common.spread()
        self._mean = (scaling.mean - common.mean) * common.inverse

    def loss(
        self,
        weight: Float[np.ndarray, "c a"],
        bias: Float[np.ndarray, " c"],
        targets: Int[np.ndarray, " r"],
        row_weights: Float[np.ndarray, " r"],
    ) -> Loss:
        """The weighted log loss over the part's rows."""
        folded, shifted = self._fold(weight, bias)
        loss = softmax_loss(self._blocks(self._without), folded, shifted, targets, row_weights)
        gradient = (loss.weight - np.outer(loss.bias, self._mean)) * self._inverse
        return Loss(loss.value, gradient, loss.bias, loss.curvature)

    def logits(
        self, weight: Float[np.ndarray, "c a"], bias: Float[np.ndarray, " c"], rows: Int[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m c"]:
        """Logits of any rows, inside the part or not."""
        folded, shifted = self._fold(weight, bias)
        return self._blocks.logits(folded, shifted, rows)

    def to_standard(self, weight: Float[np.ndarray, "c a"]) -> Float[np.ndarray, "c d"]:
        """Weights on the standardised features."""
        return weight

    def from_standard(self, weight: Float[np.ndarray, "c d"]) -> Float[np.ndarray, "c a"]:
        """The nearest weights that the coordinates can express."""
        return weight

    def _fold(
        self, weight: Float[np.ndarray, "c d"], bias: Float[np.ndarray, " c"]
    ) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
        folded = weight * self._inverse
        return folded, bias - folded @ self._mean


def leading_axes(sample: Float[np.ndarray, "m d"]) -> Axes:
    """The directions in which standardised rows spread most, from a sample of them; deterministic."""
    rows, width = sample.shape
    if width <= MAX_AXES:
        variance, basis = np.linalg.eigh(sample.T @ sample / rows)
        return Axes(basis=basis.astype(np.float64), variance=np.maximum(variance, 0.0), rest=0.0)
    count = min(MAX_AXES, rows)
    probe = np.random.default_rng(0).standard_normal((width, count)).astype(sample.dtype)
    span = probe
    for _ in range(2):
        span, _ = np.linalg.qr(sample.T @ (sample @ span))
    small = sample @ span
    variance, turn = np.linalg.eigh((small.T @ small).astype(np.float64) / rows)
    variance = np.maximum(variance, 0.0)
    left = float(np.square(sample, dtype=np.float64).sum()) / rows - float(variance.sum())
    return Axes(basis=span.astype(np.float64) @ turn, variance=variance, rest=max(left, 0.0) / (width - count))
