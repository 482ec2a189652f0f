"""Heads of one training split, for one strength of the penalty after another.

Shapes: r rows, p values of c, m rows asked for, d features, a coordinates, c outputs, k folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.tasks._losses import Head, Sigmoid, Softmax, Squares
from regraft.tasks._part import Part, Spanned
from regraft.tasks.lbfgs import minimise
from regraft.tasks.rows import Rows

Sums = list[tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d c"]]]
MAX_ITERATIONS = 1000
"""Steps after which a solve is given up, not converged."""


@dataclass(frozen=True, eq=False)
class Heads:
    """A head for each of several values of c, in the coordinates of a part."""

    weight: Float[np.ndarray, "p c a"]
    bias: Float[np.ndarray, "p c"]


class Logistic:
    """Heads of smallest penalised log loss; each solution starts from the one before.

    The objective is the mean weighted log loss plus half l times the sum of the squared weights on the standardised
    features, biases free, with l = 1 / (C S) and S the sum of the part's row weights: scikit-learn's
    `LogisticRegression(C=C)`.
    """

    at_once = 1
    """Values of c that a call of `heads` takes."""

    def __init__(self, part: Part, loss: Softmax | Sigmoid) -> None:
        self.part, self.link = part, loss.link(part.inside, part.rows.weights)
        self.bias, self.curvature = self.link.bias, self.link.curvature
        self.weight = np.zeros((len(self.bias), part.size))
        self.facts: dict[str, bool | int] = {}

    def start_from(self, other: "Solver") -> None:
        """Start from the latest solution of another part, whose coordinates are the same."""
        if isinstance(other, Logistic) and np.array_equal(other.link.present, self.link.present):
            self.weight, self.bias, self.curvature = other.weight, other.bias, other.curvature

    def heads(self, values: Sequence[float], tolerance: float) -> Heads:
        """The head at the one value of c.

        `tolerance` bounds the gradient's norm in coordinates in which the loss curves about equally: half its square is
        about the excess of the objective in nats, and it is about the root mean square change left in the logits.
        """
        (c,), part, link = values, self.part, self.link
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
        weight, bias = link.spread(self.weight, self.bias)
        return Heads(weight[None], bias[None])


class Ridge:
    """Heads of smallest penalised squared error, in closed form for any number of penalties at once.

    The objective is the sum of weight times squared error plus 1 / c times the sum of the squared weights on the
    standardised features, biases free: scikit-learn's `Ridge(alpha=1 / c)`. One eigendecomposition serves every penalty
    (Hastie, Tibshirani and Friedman 2009, section 3.4.1): of the rows' Gram matrix where they are few, else of the
    features' scatter matrix.
    """

    at_once = 1000
    """Values of c that a call of `heads` takes."""

    def __init__(self, part: Part, loss: Squares, sums: Sums) -> None:
        """`sums` are needed unless the rows are few."""
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

    def heads(self, values: Sequence[float], tolerance: float) -> Heads:
        """A head for each value of c."""
        penalties = 1 / np.asarray(values)
        weight = self._along / (np.maximum(self._squares, 0.0)[None, :, None] + penalties[:, None, None])
        if self._basis is not None:
            weight = self._basis @ weight
        return Heads(weight.transpose(0, 2, 1), np.tile(self._middle, (len(values), 1)))


def fold_sums(rows: Rows, loss: Squares, num_folds: int) -> Sums:
    """Of the rows of each fold: weight times feature times feature, and weight times feature times target."""
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


def outputs_of(solver: Solver, heads: Heads, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "p m c"]:
    """What every head puts out for some rows."""
    count, outputs = heads.bias.shape
    weight = heads.weight.reshape(count * outputs, heads.weight.shape[2])
    found = solver.part.outputs(weight, heads.bias.reshape(count * outputs), rows)
    return found.reshape(len(rows), count, outputs).transpose(1, 0, 2)
