"""Labelled examples with a row of features for each of their views, as problems in folds.

Shapes: n examples, r rows, m examples asked for, d features, c classes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.errors import BadData, BadRequest
from regraft.tasks._parts import Part, Problem, Solved
from regraft.tasks.rows import SPREAD_FLOOR, STREAM_ABOVE, RowSource, Views


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """What is learned from: features by row, everything else by example."""

    features: RowSource
    """One row per view, (r, d)."""
    targets: Int[np.ndarray, " n"]
    """Class numbers in [0, num_classes)."""
    num_classes: int
    """Number of classes, those without an example included."""
    weights: Float[np.ndarray, " n"] | None = None
    """Weight of each example; 1 each when None."""
    views: Views | None = None
    """Which example and view each row is; None when row i is example i."""
    spread_floor: float = SPREAD_FLOOR
    """Share of the median feature's spread below which no feature is divided by its own."""
    stream_above: int = STREAM_ABOVE
    """Bytes of the features in float32 above which they are read in blocks on every pass."""

    def __post_init__(self) -> None:
        rows = self.features.shape[0]
        if self.views is None and rows != len(self.targets):
            raise BadData(
                f"There are {rows} rows of features and {len(self.targets)} targets.",
                fix="give one target for each row, or say which example each row is.",
            )
        if len(self.targets) == 0:
            raise BadData("There are no examples.", fix="give at least one example of each class.")
        low, high = int(self.targets.min()), int(self.targets.max())
        if low < 0 or high >= self.num_classes:
            raise BadData(
                f"The targets run from {low} to {high}, but {self.num_classes} classes have the numbers 0 to "
                f"{self.num_classes - 1}.",
                fix="number the classes from 0; leave out examples without a label.",
            )

    def problem(self, fold_of: Int[np.ndarray, " n"], num_folds: int) -> Problem:
        """The rows in folds; an example's views share its fold and its weight."""
        weights, targets = self.example_weights(), self.targets
        if self.views is not None:
            weights = self.views.row_weights(weights)
            targets, fold_of = targets[self.views.example_of_row], fold_of[self.views.example_of_row]
        return Problem(
            self.features,
            targets,
            row_weights=weights,
            fold_of_row=fold_of,
            num_folds=num_folds,
            num_classes=self.num_classes,
            spread_floor=self.spread_floor,
            stream_above=self.stream_above,
        )

    def example_weights(self) -> Float[np.ndarray, " n"]:
        """Weight of each example, in float64."""
        return np.ones(len(self.targets)) if self.weights is None else np.asarray(self.weights, dtype=np.float64)

    def logits(self, part: Part, solved: Solved, examples: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m c"]:
        """Float32 logits of the plain views of `examples`."""
        rows = examples if self.views is None else self.views.plain_rows()[examples]
        return part.logits(solved, rows).astype(np.float32)


def check_folds(fold_of: Int[np.ndarray, " n"], num_examples: int) -> int:
    """The number of folds; `BadRequest` unless every example has one, none is empty, and there are at least two."""
    num_folds = int(fold_of.max(initial=-1)) + 1
    if len(fold_of) != num_examples or num_folds < 2 or np.bincount(fold_of, minlength=num_folds).min() == 0:
        raise BadRequest(
            f"{len(fold_of)} fold numbers up to {num_folds - 1} were given for {num_examples} examples.",
            fix="give every example a fold number from 0, with at least two folds and none empty.",
        )
    return num_folds
