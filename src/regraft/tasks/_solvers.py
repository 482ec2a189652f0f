"""Linear heads on one training split (a part): the rows outside some folds, in coordinates in which the head is solved.

A part is standardised with the statistics of its own rows, so nothing from the folds left out affects its solution.

* `Spanned`, for few rows: under an L2 penalty the optimal weights lie in the span of the standardised rows (the
  representer theorem), so the rows are rotated once into the principal axes of that span, found from the eigenvectors
  of their Gram matrix. Exact up to rounding in float64.
* `Part`, for more rows: the features themselves, block by block. The leading principal axes of an even sample of all
  rows precondition the minimiser; they affect its path, not the minimum.

Shapes: r rows, m selected rows, d features, a coordinates, k axes or folds, c outputs.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.tasks import rows as _rows
from regraft.tasks.lbfgs import minimise
from regraft.tasks.losses import Head, Sigmoid, Slopes, Softmax, Squares
from regraft.tasks.rows import Rows

MAX_AXES = 192
"""Number of leading axes used by a direct part (our choice, measured)."""
AXES_ROWS = 512
"""Number of rows from which they are computed (our choice)."""
SAMPLE_ROWS = 2048
"""Number of rows from which the variance along each axis is estimated (our choice)."""
RANK = 1e-12
"""Eigenvalues of a Gram matrix below this fraction of the largest are treated as rounding errors."""
MAX_ITERATIONS = 1000
"""Maximum number of iterations of a solve, after which it counts as not converged."""
MIN_CURVATURE = 1e-6
"""Lower bound on a class's mean p (1 - p) in the scaling; smaller values would allow arbitrarily long steps."""

Sums = list[tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d c"]]]
"""Sums over the rows of each fold, for `Ridge`."""
Weight = Float[np.ndarray, "c a"]
Bias = Float[np.ndarray, " c"]
Link = Callable[[Float[np.ndarray, "c b"], Int[np.ndarray, " b"]], Slopes]
"""(logits of some rows, row indices) -> their loss, its derivatives by the logits, the curvature of each output."""
Gradients = tuple[float, Weight, Bias, Bias]
"""A loss, its gradients with respect to weights and biases, and the curvature of each output."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Orthogonal directions in a part's coordinates, and the mean square of the rows along each."""

    basis: Float[np.ndarray, "a k"] | None
    """Directions, as columns; None if the coordinates themselves are the axes."""
    variance: Float[np.ndarray, " k"]
    """Mean square of the rows along each."""
    rest: float
    """Mean square of the rows along a direction outside the basis."""


def leading_axes(rows: Rows) -> Axes:
    """Return the leading principal axes of the standardised rows, from a sample of them; deterministic."""
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
    """The rows outside some folds. This class is for many rows; its coordinates are the standardised features."""

    def __init__(self, rows: Rows, without: Collection[int], axes: Axes | None) -> None:
        self.rows = rows
        self.inside = ~np.isin(rows.fold_of, list(without)) & (rows.weights > 0)
        self.total = float(rows.weights[self.inside].sum())
        self._scaling = rows.moments.scaling(without, floor=_rows.SPREAD_FLOOR)
        self.mean = (self._scaling.mean - rows.common.mean) * rows.common.inverse
        self.inverse = self._scaling.inverse * rows.common.deviation()
        self.size, self.noise, self._axes = rows.width, rows.noise, axes

    def loss(self, link: Link, weight: Weight, bias: Bias) -> Gradients:
        """Return the loss over the part's rows."""
        folded = weight * self.inverse
        blocks, shifted = self.rows.blocks(self.inside), bias - folded @ self.mean
        value, by_weight, by_bias, curvature = _pass(blocks, link, folded, shifted, self.rows.dtype)
        return value, (by_weight - np.outer(by_bias, self.mean)) * self.inverse, by_bias, curvature

    def outputs(self, weight: Weight, bias: Bias, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m c"]:
        """Return outputs for any rows, inside or outside the part."""
        folded = weight * self.inverse
        return self.rows.product(folded, rows) + (bias - folded @ self.mean)

    def head(self, weight: Weight, bias: Bias) -> tuple[Float[np.ndarray, "c d"], Bias]:
        """Return weights and biases for the features as stored, with the standardisation folded in."""
        folded = self._on_features(weight) * self._scaling.inverse
        return folded, bias - folded @ self._scaling.mean

    def _on_features(self, weight: Weight) -> Float[np.ndarray, "c d"]:
        return weight

    def scales(self, curvature: Float[np.ndarray, " c"], penalty: float) -> "Scales":
        """Return the change of coordinates after which the penalised loss has similar curvature in all directions."""
        assert self._axes is not None
        return Scales(self._axes, np.maximum(curvature, MIN_CURVATURE), penalty)


class Spanned(Part):
    """A part with few rows, in the principal axes of its own rows."""

    def __init__(self, rows: Rows, without: Collection[int]) -> None:
        super().__init__(rows, without, None)
        self._root = np.sqrt(rows.weights[self.inside])[:, None]
        weighted = self._weighted()
        self.squares, vectors = np.linalg.eigh(weighted @ weighted.T)
        kept = self.squares > RANK * max(float(self.squares[-1]), 1e-300)
        self.squares, vectors = self.squares[kept], vectors[:, kept]
        lengths = np.sqrt(self.squares)
        self._to_axes = vectors / lengths
        # The part's own coordinates follow from the eigenvectors; only left-out rows need a product with the rows.
        self._index, self.own = np.flatnonzero(self.inside), vectors * lengths / self._root
        self._coordinates = np.empty((len(self.inside), len(lengths)))
        self._coordinates[self.inside] = self.own
        self._coordinates[~self.inside] = self._standardised(~self.inside) @ weighted.T @ self._to_axes
        self.size = len(self.squares)
        self._axes = Axes(basis=None, variance=self.squares / self.total, rest=0.0)

    def loss(self, link: Link, weight: Weight, bias: Bias) -> Gradients:
        """Return the loss over the part's rows."""
        return _pass([(self._index, self.own)], link, weight, bias, self.own.dtype)

    def outputs(self, weight: Weight, bias: Bias, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m c"]:
        """Return outputs for any rows, inside or outside the part."""
        return self._coordinates[rows] @ weight.T + bias

    def _on_features(self, weight: Weight) -> Float[np.ndarray, "c d"]:
        return (weight @ self._to_axes.T) @ self._weighted()

    def _weighted(self) -> Float[np.ndarray, "m d"]:
        """Return the part's rows times the roots of their weights; recomputed on each call, since many parts may exist
        at once."""
        rows = self._standardised(self.inside)
        rows *= self._root
        return rows

    def _standardised(self, which: Bool[np.ndarray, " r"]) -> Float[np.ndarray, "m d"]:
        rows: Float[np.ndarray, "m d"] = self.rows.held[which]
        rows -= self.mean
        rows *= self.inverse
        return rows


def _pass(
    blocks: Iterable[tuple[Int[np.ndarray, " b"], Float[np.ndarray, "b a"]]],
    link: Link,
    weight: Weight,
    bias: Bias,
    dtype: np.dtype,
) -> Gradients:
    """Sum over blocks of rows, with products in the rows' dtype and sums in float64."""
    value, by_weight, by_bias, curvature = 0.0, np.zeros(weight.shape), np.zeros(len(bias)), np.zeros(len(bias))
    cast_weight, cast_bias = weight.astype(dtype, copy=False), bias.astype(dtype)[:, None]
    for index, rows in blocks:
        logits = cast_weight @ rows.T
        logits += cast_bias
        more, towards, curved = link(logits, index)
        value += more
        by_weight += towards @ rows
        by_bias += towards.sum(axis=1, dtype=np.float64)
        curvature += curved
    return value, by_weight, by_bias, curvature


class Scales:
    """The symmetric matrix (one per output) that maps scaled coordinates to weights.

    Along an axis of variance v, the loss of an output of curvature q has second derivative q v + penalty.
    """

    def __init__(self, axes: Axes, curvature: Float[np.ndarray, " c"], penalty: float) -> None:
        self._basis = axes.basis
        self._along = 1.0 / np.sqrt(curvature[:, None] * axes.variance + penalty)
        self._rest = 1.0 / np.sqrt(curvature[:, None] * axes.rest + penalty)
        self.bias = 1.0 / np.sqrt(curvature)

    def apply(self, x: Weight, power: int = 1) -> Weight:
        """Map scaled coordinates to weights, or a gradient by weights to one by scaled coordinates; with power -1,
        weights to scaled coordinates."""
        along, rest = self._along**power, self._rest**power
        return x * along if self._basis is None else rest * x + ((x @ self._basis) * (along - rest)) @ self._basis.T


class Logistic:
    """Heads that minimise the penalised log loss; each solve is warm-started from the previous one.

    The objective is the mean weighted log loss plus l / 2 times the sum of squared weights on the standardised
    features, with unpenalised biases, l = 1 / (C S) and S the sum of the part's row weights: scikit-learn's
    `LogisticRegression(C=C)`.
    """

    def __init__(self, part: Part, loss: Softmax | Sigmoid) -> None:
        self.part, self.link = part, loss.link(part.inside, part.rows.weights)
        self.bias, self.curvature = self.link.bias, self.link.curvature
        self.weight = np.zeros((len(self.bias), part.size))
        self.facts: dict[str, bool | int] = {}

    def start_from(self, other: "Solver") -> None:
        """Warm-start from the latest solution of another part with the same coordinates."""
        if isinstance(other, Logistic) and np.array_equal(other.link.present, self.link.present):
            self.weight, self.bias, self.curvature = other.weight, other.bias, other.curvature

    def head(self, c: float, tolerance: float) -> Head:
        """Return the head at one value of c.

        `tolerance` bounds the norm of the gradient in coordinates with similar curvature: half its square is about the
        excess of the objective in nats, and the norm is about the root mean square change remaining in the logits.
        """
        part, link = self.part, self.link
        penalty, count = link.strength / (c * part.total), len(self.bias)
        scales = part.scales(self.curvature * link.boost, penalty)

        def unpacked(x: Float[np.ndarray, " x"]) -> Head:
            return scales.apply(x[: x.size - count].reshape(count, part.size)), x[x.size - count :] * scales.bias

        def objective(x: Float[np.ndarray, " x"]) -> tuple[float, Float[np.ndarray, " x"]]:
            weight, bias = unpacked(x)
            value, by_weight, by_bias, self.curvature = part.loss(link, weight, bias)
            slope = scales.apply(by_weight + penalty * weight)
            return value + 0.5 * penalty * float(np.vdot(weight, weight)), np.append(slope, by_bias * scales.bias)

        found = minimise(
            objective,
            np.append(scales.apply(self.weight, -1), self.bias / scales.bias),
            max_iterations=MAX_ITERATIONS,
            gradient_tolerance=tolerance,
            noise=part.noise,
        )
        self.weight, self.bias = unpacked(found.x)
        self.facts = {"converged": found.converged, "iterations": found.iterations}
        return link.spread(self.weight, self.bias)


class Ridge:
    """Heads that minimise the penalised squared error, in closed form for any number of penalties at once.

    The objective is the weighted sum of squared errors plus 1 / c times the sum of squared weights on the standardised
    features, with unpenalised biases: scikit-learn's `Ridge(alpha=1 / c)`. One eigendecomposition serves all penalties
    (Hastie, Tibshirani and Friedman 2009, section 3.4.1): of the rows' Gram matrix if there are few, otherwise of the
    features' scatter matrix.
    """

    def __init__(self, part: Part, loss: Squares, sums: Sums) -> None:
        """`sums` are required unless there are few rows."""
        weights, targets = part.rows.weights[part.inside], loss.targets[part.inside]
        self.part, self.facts = part, dict[str, bool | int]()
        self._middle = weights @ targets / part.total
        if isinstance(part, Spanned):
            self._squares, self._basis = part.squares, None
            self._along = part.own.T @ ((targets - self._middle) * weights[:, None])
        else:
            kept = [sums[fold] for fold in np.unique(part.rows.fold_of[part.inside])]
            scatter, towards = (np.sum(of_folds, axis=0) for of_folds in zip(*kept, strict=True))
            scatter -= part.total * np.outer(part.mean, part.mean)
            towards -= part.total * np.outer(part.mean, self._middle)
            self._squares, self._basis = np.linalg.eigh(scatter * np.outer(part.inverse, part.inverse))
            self._along = self._basis.T @ (towards * part.inverse[:, None])

    def head(self, c: float, tolerance: float) -> Head:
        """Return the head at one value of c."""
        weight = self._along / (np.maximum(self._squares, 0.0)[:, None] + 1 / c)
        return (weight if self._basis is None else self._basis @ weight).T, self._middle


def fold_sums(rows: Rows, loss: Squares, num_folds: int) -> Sums:
    """Return for each fold the weighted sums of feature times feature and of feature times target."""
    sums = []
    for fold in range(num_folds):
        scatter, towards = np.zeros((rows.width, rows.width)), np.zeros((rows.width, loss.num_outputs))
        for index, block in rows.blocks(rows.fold_of == fold):
            weighted = block * rows.weights[index, None]
            scatter += weighted.T @ block
            towards += weighted.T @ loss.targets[index]
        sums.append((scatter, towards))
    return sums


Solver = Logistic | Ridge
