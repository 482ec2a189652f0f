"""Rows for new classes beside those of a softmax head that stay as they are, solved to their optimum, in numpy.

An example's logits are those of the old classes, which are given and fixed, and z w + b for the new ones, z its
standardised features. What is minimised over w and b is the mean weighted log loss plus half l times the sum of the
squared weights, l = 1 / (C S) with S the sum of the weights: the objective of `_parts`, in which only some rows move.
It is convex in them. C is the one with the least cross-validated log loss.

Our choice throughout; nothing is published of it that we know. What it cannot do: the old rows were solved without the
new classes and keep their share of the plane, so where a new class resembles an old one, retraining the whole head
does better.

Shapes: n examples, m of them held out, d features, a axes, o old classes, k new classes, c = o + k classes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.tasks._lbfgs import minimise
from regraft.tasks._regularisation import CLEARLY_WORSE, default_grid
from regraft.tasks._softmax import log_losses, softmax_loss
from regraft.tasks.rows import SPREAD_FLOOR, moments

TOLERANCE = 1e-6
"""Norm of the scaled gradient at which rows count as solved."""
MAX_ITERATIONS = 1000
"""Steps after which a solve is given up, not converged."""
RANK = 1e-12
"""Variances below this share of the largest are rounding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NewRows:
    """Solved rows of a head, on features as they are given: standardisation is folded in."""

    weight: Float[np.ndarray, "k d"]
    """Weights, float32."""
    bias: Float[np.ndarray, "k"]
    """Biases, float32."""
    c: float
    """Inverse strength of the penalty."""
    converged: bool
    """Whether the solver reached its tolerance."""

    def logits(self, features: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Logits of the new classes."""
        logits: Float[np.ndarray, "m k"] = features.astype(np.float32) @ self.weight.T + self.bias
        return logits


def solve_rows(
    features: Float[np.ndarray, "n d"],
    old_logits: Float[np.ndarray, "n o"],
    targets: Int[np.ndarray, "n"],
    *,
    num_new: int,
    c: float,
    weights: Float[np.ndarray, "n"] | None = None,
) -> NewRows:
    """The rows of the `num_new` classes after the old ones, at inverse penalty `c` > 0.

    `targets` number old classes first, as the columns of `old_logits`. `weights` are the examples' own, 1 by default.

    Raises:
        BadData: features that are not finite.
    """
    weights = np.ones(len(targets)) if weights is None else weights
    scaling = moments(features, weights, np.zeros(len(targets), dtype=np.int64), 1).scaling(floor=SPREAD_FLOOR)
    basis, variance = _axes((features.astype(np.float64) - scaling.mean) * scaling.inverse)
    rows = ((features.astype(np.float64) - scaling.mean) * scaling.inverse) @ basis
    num_old, num_axes, total = old_logits.shape[1], len(variance), float(weights.sum())
    shares = np.bincount(targets, weights, num_old + num_new)[num_old:] / total
    curvature = np.maximum(shares * (1 - shares), 1e-6)
    penalty = 1 / (c * total)
    scale = 1 / np.sqrt(curvature[:, None] * variance + penalty)
    bias_scale = 1 / np.sqrt(curvature)
    # The fixed logits are features of the old classes' own, so that one function serves for loss and gradient.
    wide = np.concatenate([rows, old_logits.astype(np.float64)], axis=1)
    head = np.concatenate([np.zeros((num_old, num_axes)), np.eye(num_old)], axis=1)
    everyone = np.arange(len(targets))

    def unpack(x: Float[np.ndarray, " p"]) -> tuple[Float[np.ndarray, "k a"], Float[np.ndarray, "k"]]:
        return x[:-num_new].reshape(num_new, num_axes) * scale, x[-num_new:] * bias_scale

    def objective(x: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        weight, bias = unpack(x)
        whole = np.concatenate([head, np.pad(weight, ((0, 0), (0, num_old)))])
        loss = softmax_loss(
            [(everyone, wide)], whole, np.concatenate([np.zeros(num_old), bias]), targets, weights / total
        )
        by_weight = (loss.weight[num_old:, :num_axes] + penalty * weight) * scale
        value = loss.value + 0.5 * penalty * float(np.vdot(weight, weight))
        return value, np.concatenate([by_weight.ravel(), loss.bias[num_old:] * bias_scale])

    level = float(np.average(_log_sum(old_logits), weights=weights)) + np.log(np.maximum(shares, 1e-9))
    start = np.concatenate([np.zeros(num_new * num_axes), level / bias_scale])
    found = minimise(objective, start, max_iterations=MAX_ITERATIONS, gradient_tolerance=TOLERANCE)
    weight, bias = unpack(found.x)
    weight = (weight @ basis.T) * scaling.inverse
    return NewRows(
        weight=weight.astype(np.float32),
        bias=(bias - weight @ scaling.mean).astype(np.float32),
        c=c,
        converged=found.converged,
    )


def choose_rows(
    features: Float[np.ndarray, "n d"],
    old_logits: Float[np.ndarray, "n o"],
    targets: Int[np.ndarray, "n"],
    *,
    num_new: int,
    fold_of: Int[np.ndarray, "n"],
    weights: Float[np.ndarray, "n"] | None = None,
) -> NewRows:
    """The rows at the C of least log loss over the folds: from the strongest penalty on, until it is clearly worse."""
    weights = np.ones(len(targets)) if weights is None else weights
    best, best_loss = 0.0, np.inf
    for c in default_grid(features.shape[1]):
        losses = np.empty(len(targets))
        for fold in np.unique(fold_of):
            held = fold_of == fold
            rows = solve_rows(
                features[~held], old_logits[~held], targets[~held], num_new=num_new, c=c, weights=weights[~held]
            )
            logits = np.concatenate([old_logits[held], rows.logits(features[held])], axis=1)
            losses[held] = log_losses(logits, targets[held])
        loss = float(np.average(losses, weights=weights))
        if loss < best_loss:
            best, best_loss = c, loss
        elif loss > CLEARLY_WORSE * best_loss:
            break
    return solve_rows(features, old_logits, targets, num_new=num_new, c=best, weights=weights)


def _axes(rows: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "d a"], Float[np.ndarray, "a"]]:
    """Orthogonal directions that span the rows, and the mean square of the rows along each."""
    wide = len(rows) <= rows.shape[1]
    squares, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    kept = squares > RANK * max(float(squares[-1]), 1e-300)
    squares, vectors = squares[kept], vectors[:, kept]
    return (rows.T @ vectors / np.sqrt(squares) if wide else vectors), squares / len(rows)


def _log_sum(logits: Float[np.ndarray, "n o"]) -> Float[np.ndarray, "n"]:
    wide = logits.astype(np.float64)
    top = wide.max(axis=1)
    result: Float[np.ndarray, n] = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
    return result
