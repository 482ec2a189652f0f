"""A classification problem in folds, prepared so that any training part of it is solved again and again cheaply.

A part is everything outside some of the folds. Its standardisation is taken on its own rows alone, so nothing of the
folds left out reaches its solution (a direct form's axes steer the minimiser only, see `_forms`).

The objective is the mean weighted log loss plus half l times the sum of the squared weights on the standardised
features, biases free, with l = 1 / (C S) and S the sum of the part's row weights: scikit-learn's
`LogisticRegression(C=C)`. With two classes scikit-learn has one weight vector w where we have two, -w/2 and w/2 at the
optimum, so there l is doubled and the probabilities agree. A class without a row in the part gets zero weights and
the bias that half an example would earn (our choice: its probability is small, and never 0).

The minimiser works in coordinates in which the loss curves about equally: along an axis of variance v, class k has the
second derivative q v + l, q the mean of p (1 - p) (our choice; q from the previous solution on a path).

Shapes: r rows, m rows asked for, d features, c classes, a coordinates, s classes present.
"""

from collections.abc import Collection
from copy import copy
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.tasks._forms import SAMPLE_ROWS, Axes, Direct, Form, Projected, leading_axes
from regraft.tasks._lbfgs import minimise
from regraft.tasks.rows import Blocks, RowSource, Scaling, moments

MAX_PROJECTED = 1024
"""Rows up to which projecting pays; beyond, the eigenvectors cost more than they save (measured)."""
MIN_CURVATURE = 1e-6
"""Least mean p (1 - p) of a class that the scales take; less would make steps of any length."""


@dataclass(frozen=True, kw_only=True)
class Solved:
    """The optimum of a part, in the coordinates of its form."""

    weight: Float[np.ndarray, "c a"]
    """Weights; zero rows for classes without a row in the part."""
    bias: Float[np.ndarray, " c"]
    """Biases; they sum to zero over the classes present."""
    curvature: Float[np.ndarray, " c"]
    """Mean of p (1 - p) of each class over the part's rows."""
    converged: bool
    """Whether the gradient became as small as asked."""
    iterations: int
    """Steps of the minimiser."""


class Part:
    """The rows outside some folds, ready to be solved for any C."""

    def __init__(
        self,
        form: Form,
        scaling: Scaling,
        *,
        targets: Int[np.ndarray, " r"],
        row_weights: Float[np.ndarray, " r"],
        class_weights: Float[np.ndarray, " c"],
    ) -> None:
        """`targets` and `row_weights` of all rows; `class_weights` sums the part's, by class."""
        self._form, self._scaling = form, scaling
        self._num_classes = len(class_weights)
        self._present = np.flatnonzero(class_weights > 0)
        self._total = float(class_weights.sum())
        self._share = class_weights[self._present] / self._total
        compact = np.zeros(self._num_classes, dtype=np.int64)
        compact[self._present] = np.arange(len(self._present))
        self._targets = compact[targets]
        self._row_weights = row_weights / self._total

    def solve(self, c: float, *, start: Solved | None = None, tolerance: float, max_iterations: int) -> Solved:
        """The optimum at inverse penalty `c`, from `start` or from the class shares.

        `tolerance` bounds the gradient's norm in the scaled coordinates: half its square is about the excess of the
        objective in nats, and it is about the root mean square change left in the logits.
        """
        classes = len(self._present)
        if classes < 2:
            return self._spread(np.zeros((classes, self._form.size)), np.zeros(classes), np.zeros(classes), True, 0)
        if start is None:
            weight, bias = np.zeros((classes, self._form.size)), np.log(self._share)
            curvature = self._share * (1 - self._share)
        else:
            weight, bias = start.weight[self._present], start.bias[self._present]
            curvature = start.curvature[self._present]
        penalty = (2.0 if classes == 2 else 1.0) / (c * self._total)
        scales = _Scales(self._form.axes, np.maximum(curvature * classes / (classes - 1), MIN_CURVATURE), penalty)
        objective = _Objective(self._form, self._targets, self._row_weights, scales, penalty)
        found = minimise(
            objective,
            objective.pack(weight, bias),
            max_iterations=max_iterations,
            gradient_tolerance=tolerance,
            noise=self._form.noise,
        )
        weight, bias = objective.unpack(found.x)
        return self._spread(weight, bias - bias.mean(), objective.curvature, found.converged, found.iterations)

    def _spread(
        self,
        weight: Float[np.ndarray, "s a"],
        bias: Float[np.ndarray, " s"],
        curvature: Float[np.ndarray, " s"],
        converged: bool,
        iterations: int,
    ) -> Solved:
        """The solution of the classes present, among all classes."""
        top = float(bias.max(initial=-np.inf))
        together = top + float(np.log(np.exp(bias - top).sum()))
        all_bias = np.full(self._num_classes, together + np.log(0.5 / (self._total + 0.5)))
        all_weight, all_curvature = np.zeros((self._num_classes, weight.shape[1])), np.zeros(self._num_classes)
        all_weight[self._present], all_bias[self._present], all_curvature[self._present] = weight, bias, curvature
        return Solved(
            weight=all_weight, bias=all_bias, curvature=all_curvature, converged=converged, iterations=iterations
        )

    def logits(self, solved: Solved, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m c"]:
        """Logits of any rows, inside the part or not."""
        return self._form.logits(solved.weight, solved.bias, rows)

    def head(self, solved: Solved) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
        """Weights and biases on the features as they are given, the standardisation folded in."""
        weight = self._form.to_standard(solved.weight) * self._scaling.inverse
        return weight, solved.bias - weight @ self._scaling.mean

    def start(self, weight: Float[np.ndarray, "c d"], bias: Float[np.ndarray, " c"]) -> Solved:
        """A head on the features as they are given, as a point to start from."""
        inner = self._form.from_standard(weight * self._scaling.spread())
        inner_bias = bias + weight @ self._scaling.mean
        loss = self._form.loss(inner[self._present], inner_bias[self._present], self._targets, self._row_weights)
        curvature = np.zeros(self._num_classes)
        curvature[self._present] = loss.curvature
        return Solved(weight=inner, bias=inner_bias, curvature=curvature, converged=False, iterations=0)


class _Objective:
    """The penalised mean loss of scaled coordinates: the weights' scaled ones, then the biases'."""

    curvature: Float[np.ndarray, " s"]
    """Mean p (1 - p) of each class at the latest point."""

    def __init__(
        self,
        form: Form,
        targets: Int[np.ndarray, " r"],
        row_weights: Float[np.ndarray, " r"],
        scales: "_Scales",
        penalty: float,
    ) -> None:
        self._form, self._targets, self._row_weights = form, targets, row_weights
        self._scales, self._penalty = scales, penalty

    def __call__(self, x: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        weight, bias = self.unpack(x)
        loss = self._form.loss(weight, bias, self._targets, self._row_weights)
        self.curvature = loss.curvature
        gradient = self._scales.apply(loss.weight + self._penalty * weight)
        value = loss.value + 0.5 * self._penalty * float(np.vdot(weight, weight))
        return value, np.concatenate([gradient.ravel(), loss.bias * self._scales.bias])

    def pack(self, weight: Float[np.ndarray, "s a"], bias: Float[np.ndarray, " s"]) -> Float[np.ndarray, " p"]:
        return np.concatenate([self._scales.undo(weight).ravel(), bias / self._scales.bias])

    def unpack(self, x: Float[np.ndarray, " p"]) -> tuple[Float[np.ndarray, "s a"], Float[np.ndarray, " s"]]:
        classes = len(self._scales.bias)
        return self._scales.apply(x[:-classes].reshape(classes, -1)), x[-classes:] * self._scales.bias


class _Scales:
    """The symmetric matrix (one per class) that turns scaled coordinates into weights."""

    def __init__(self, axes: Axes, curvature: Float[np.ndarray, " s"], penalty: float) -> None:
        self._basis = axes.basis
        self._along = 1.0 / np.sqrt(curvature[:, None] * axes.variance + penalty)
        self._rest = 1.0 / np.sqrt(curvature[:, None] * axes.rest + penalty)
        self.bias = 1.0 / np.sqrt(curvature)

    def apply(self, x: Float[np.ndarray, "s a"]) -> Float[np.ndarray, "s a"]:
        return self._times(x, self._along, self._rest)

    def undo(self, x: Float[np.ndarray, "s a"]) -> Float[np.ndarray, "s a"]:
        return self._times(x, 1.0 / self._along, 1.0 / self._rest)

    def _times(
        self, x: Float[np.ndarray, "s a"], along: Float[np.ndarray, "s k"], rest: Float[np.ndarray, "s 1"]
    ) -> Float[np.ndarray, "s a"]:
        changed: Float[np.ndarray, "s a"]
        if self._basis is None:  # noqa: SIM108 - the formula wants a line of its own
            changed = x * along
        else:
            changed = rest * x + ((x @ self._basis) * (along - rest)) @ self._basis.T
        return changed


class Problem:
    """Rows, targets and folds, with what all training parts share computed once."""

    def __init__(
        self,
        features: RowSource,
        targets: Int[np.ndarray, " r"],
        *,
        row_weights: Float[np.ndarray, " r"],
        fold_of_row: Int[np.ndarray, " r"],
        num_folds: int,
        num_classes: int,
        spread_floor: float,
        stream_above: int,
    ) -> None:
        rows, width = features.shape
        self._row_weights, self._fold_of_row = row_weights, fold_of_row
        self._spread_floor, self._forms = spread_floor, dict[frozenset[int], tuple[Form, Scaling]]()
        self._moments = moments(features, row_weights, fold_of_row, num_folds)
        self.aim(targets, num_folds, num_classes)
        self._held: Float[np.ndarray, "r d"] | None = None
        if rows <= min(width, MAX_PROJECTED) and 4 * rows * width <= stream_above:
            self._held = np.array(features[0:rows], dtype=np.float64)
        else:
            self._common = self._moments.scaling(floor=spread_floor)
            self._blocks = Blocks(features, self._common, fold_of_row, stream_above=stream_above)
            self._axes = leading_axes(self._blocks.sample(SAMPLE_ROWS))

    def aim(self, targets: Int[np.ndarray, " r"], num_folds: int, num_classes: int) -> None:
        """Take these targets instead; solutions of parts that were made before are of no use any more."""
        self._targets, self._class_weights = targets, np.zeros((num_folds, num_classes))
        np.add.at(self._class_weights, (self._fold_of_row, targets), self._row_weights)

    def retargeted(self, targets: Int[np.ndarray, " r"]) -> "Problem":
        """The same rows with other targets, of as many classes; what is known of the rows is shared between the two."""
        other = copy(self)
        other.aim(targets, *self._class_weights.shape)
        return other

    def part(self, without: Collection[int] = ()) -> Part:
        """The rows outside the folds `without`."""
        left_out = frozenset(without)
        if left_out not in self._forms:
            self._forms[left_out] = self._form(without)
        form, scaling = self._forms[left_out]
        kept = [fold for fold in range(len(self._class_weights)) if fold not in left_out]
        return Part(
            form,
            scaling,
            targets=self._targets,
            row_weights=self._row_weights,
            class_weights=self._class_weights[kept].sum(axis=0),
        )

    def _form(self, without: Collection[int]) -> tuple[Form, Scaling]:
        scaling = self._moments.scaling(without, floor=self._spread_floor)
        form: Form
        if self._held is not None:
            inside = np.flatnonzero(~np.isin(self._fold_of_row, list(without)) & (self._row_weights > 0))
            form = Projected(self._held, scaling, inside)
        else:
            form = Direct(self._blocks, self._common, scaling, without, self._axes)
        return form, scaling
