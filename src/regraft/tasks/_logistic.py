"""Multinomial logistic regression: a linear head solved to its optimum, in numpy.

The same optimum as scikit-learn's `make_pipeline(StandardScaler(), LogisticRegression(C=c))` with a small tolerance,
two classes included; with sample weights, as when both steps are given them. The one difference is the floor under
the spreads (`_rows.SPREAD_FLOOR`). `_parts` states the objective.

Shapes: n examples (rows, without views), d features, c classes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.tasks._examples import Examples
from regraft.tasks.rows import SPREAD_FLOOR, STREAM_ABOVE, RowSource, Views, block_rows

TOLERANCE = 1e-5
"""Norm of the scaled gradient at which a head counts as solved: about the root mean square change that is left in
its logits (our choice)."""
MAX_ITERATIONS = 1000
"""Steps after which a solve is given up, not converged."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear head on features as they are stored: standardisation is folded into it."""

    weight: Float[np.ndarray, "c d"]
    """Weights, float32."""
    bias: Float[np.ndarray, " c"]
    """Biases, float32."""
    converged: bool
    """Whether the solver reached its tolerance."""
    iterations: int
    """Steps the solver took."""

    def logits(self, features: RowSource) -> Float[np.ndarray, "n c"]:
        """Logits in float32, read and multiplied in blocks."""
        rows, width = features.shape
        logits = np.empty((rows, len(self.bias)), dtype=np.float32)
        size = block_rows(width)
        for start in range(0, rows, size):
            block = np.asarray(features[start : start + size], dtype=np.float32)
            logits[start : start + size] = block @ self.weight.T + self.bias
        return logits


def fit(
    features: RowSource,
    targets: Int[np.ndarray, " n"],
    *,
    num_classes: int,
    c: float,
    sample_weights: Float[np.ndarray, " n"] | None = None,
    views: Views | None = None,
    initial: Linear | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    spread_floor: float = SPREAD_FLOOR,
    stream_above: int = STREAM_ABOVE,
) -> Linear:
    """The head that minimises the penalised log loss on all rows.

    `c` > 0 is the inverse strength of the penalty, as in scikit-learn: it multiplies the sum over the examples of
    weight times log loss. `targets` and `sample_weights` are by example; with `views`, `features` has a row for each
    view, and an example's views share its weight. `initial` only saves steps. `spread_floor` as in `_rows`; at 0 every
    feature is divided by its own spread. Features of more than `stream_above` bytes in float32 are read in blocks on
    every pass, never held whole. A class without a row gets zero weights and a low bias.

    Raises:
        BadData: features that are not finite, or targets out of range.
    """
    examples = Examples(
        features=features,
        targets=targets,
        num_classes=num_classes,
        weights=sample_weights,
        views=views,
        spread_floor=spread_floor,
        stream_above=stream_above,
    )
    part = examples.problem(np.zeros(len(targets), dtype=np.int64), num_folds=1).part()
    start = None if initial is None else part.start(initial.weight.astype(np.float64), initial.bias.astype(np.float64))
    solved = part.solve(c, start=start, tolerance=tolerance, max_iterations=max_iterations)
    weight, bias = part.head(solved)
    return Linear(
        weight=weight.astype(np.float32),
        bias=bias.astype(np.float32),
        converged=solved.converged,
        iterations=solved.iterations,
    )
