"""How strongly to penalise a ridge regression: the inverse strength c with the least cross-validated squared error.

Shapes: r rows (an example has one per view), n examples, d features, c outputs, k folds, p penalties.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from time import monotonic

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.task import FoldLogits
from regraft.errors import BadData
from regraft.tasks._examples import check_folds
from regraft.tasks._ridge import Heads, Rows
from regraft.tasks.rows import SPREAD_FLOOR, RowSource, Views

STEP = 10**0.5
"""Ratio of neighbouring values of c on the grid."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One value of c and how it did out of fold."""

    c: float
    """Inverse strength of the penalty on standardised features: one over scikit-learn's alpha."""
    squared_error: float
    """Mean squared error of the standardised targets, over examples and outputs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ridge:
    """A ridge regression, and what its penalty was chosen by."""

    weight: Float[np.ndarray, "c d"]
    """Weights on the features as they are stored, float64."""
    bias: Float[np.ndarray, " c"]
    """Biases, float64."""
    c: float
    """Inverse strength of the penalty."""
    tried: tuple[Tried, ...]
    """Every value measured, from strong to weak penalty; empty where none was."""
    at_edge: bool
    """Whether the best of several lay at an end of the grid."""
    out_of_fold: Float[np.ndarray, "n c"] | None
    """What a head that saw nothing of an example's fold says of its plain view; None without folds."""


def default_grid(width: int) -> tuple[float, ...]:
    """Seventeen values of c, from strong to weak, for `width` standardised features.

    As for the logistic regression c d is what counts (a row of d standardised features has squared length d on
    average); here it runs from 1e-4 to 1e4 in half decades, because further values cost next to nothing (our choice).
    """
    return tuple(1e-4 / width * STEP**i for i in range(17))


def fit_ridge(
    features: RowSource,
    targets: Float[np.ndarray, "n c"],
    *,
    views: Views,
    fold_of: Int[np.ndarray, " n"] | None,
    grid: Sequence[float],
    weights: Float[np.ndarray, " n"] | None = None,
    spread_floor: float = SPREAD_FLOOR,
) -> Ridge:
    """The ridge regression whose c of `grid` has the least squared error over the folds; the first of it without folds.

    `targets`, `fold_of` and `weights` are by example; all views of the other folds are learned from, each example
    weighing the same, and only plain views are scored.

    Raises:
        BadData: features that are not finite, or rows without a target.
        BadRequest: fewer than two folds, or an empty one.
    """
    fold_numbers = np.zeros(len(targets), dtype=np.int64) if fold_of is None else fold_of
    num_folds = 1 if fold_of is None else check_folds(fold_of, len(targets))
    weights = np.ones(len(targets)) if weights is None else weights
    rows, plain = _rows(features, targets, views, fold_numbers, num_folds, weights, spread_floor)
    values = sorted(grid)
    penalties = [1 / c for c in values]
    tried: tuple[Tried, ...] = ()
    best, out_of_fold = 0, None
    if fold_of is not None:
        heads = {fold: rows.heads(penalties, [fold]) for fold in range(num_folds)}
        errors = np.zeros(len(values))
        for fold, several in heads.items():
            errors += rows.errors(several, plain[fold_of == fold], weights[fold_of == fold])
        best = int(errors.argmin())
        share = float(weights.sum()) * targets.shape[1]
        tried = tuple(Tried(c=c, squared_error=float(error / share)) for c, error in zip(values, errors, strict=True))
        out_of_fold = np.empty(targets.shape)
        for fold, several in heads.items():
            held_out = np.flatnonzero(fold_of == fold)
            out_of_fold[held_out] = rows.values(_one(several, best), plain[held_out])
    final = rows.heads([penalties[best]])
    return Ridge(
        weight=final.weight[0],
        bias=final.bias[0],
        c=values[best],
        tried=tried,
        at_edge=len(tried) > 1 and best in (0, len(values) - 1),
        out_of_fold=out_of_fold,
    )


def repeated_ridge(
    features: RowSource,
    targets: Float[np.ndarray, "n c"],
    *,
    views: Views,
    fold_of_repeats: Iterable[Int[np.ndarray, " n"]],
    grid: Sequence[float],
    max_seconds: float,
) -> Iterator[FoldLogits]:
    """Held-out values of every fold of every repeat, c chosen over the other folds; whole repeats only.

    With two folds nothing is left to choose by, and the middle of the grid is taken. A repeat is not begun when one
    more as long as the longest so far would pass `max_seconds`; the first always runs.

    Raises:
        BadData: features that are not finite.
        BadRequest: fewer than two folds, or an empty one.
    """
    values = sorted(grid)
    penalties = [1 / c for c in values]
    began, longest = monotonic(), 0.0
    for repeat, fold_of in enumerate(fold_of_repeats):
        started = monotonic()
        if repeat > 0 and started - began + longest > max_seconds:
            return
        num_folds = check_folds(fold_of, len(targets))
        rows, plain = _rows(features, targets, views, fold_of, num_folds, np.ones(len(targets)), SPREAD_FLOOR)
        pairs = _pairs(rows, plain, fold_of, penalties, num_folds) if num_folds > 2 and len(values) > 1 else None
        for fold in range(num_folds):
            chosen = (len(values) - 1) // 2 if pairs is None else int(pairs[fold].argmin())
            held_out = np.flatnonzero(fold_of == fold)
            found = rows.values(rows.heads([penalties[chosen]], [fold]), plain[held_out])
            yield FoldLogits(
                repeat=repeat,
                fold=fold,
                num_folds=num_folds,
                examples=held_out,
                logits=found.astype(np.float32),
                c=values[chosen],
            )
        longest = max(longest, monotonic() - started)


def _pairs(
    rows: Rows,
    plain: Int[np.ndarray, " n"],
    fold_of: Int[np.ndarray, " n"],
    penalties: Sequence[float],
    num_folds: int,
) -> Float[np.ndarray, "k p"]:
    """For every fold the squared errors on the others, by heads that saw neither; a pair of folds is solved once."""
    errors = np.zeros((num_folds, len(penalties)))
    for pair in combinations(range(num_folds), 2):
        heads = rows.heads(penalties, pair)
        for scored, chooser in (pair, pair[::-1]):
            asked = plain[fold_of == scored]
            errors[chooser] += rows.errors(heads, asked, np.ones(len(asked)))
    return errors


def _rows(
    features: RowSource,
    targets: Float[np.ndarray, "n c"],
    views: Views,
    fold_of: Int[np.ndarray, " n"],
    num_folds: int,
    weights: Float[np.ndarray, " n"],
    spread_floor: float,
) -> tuple[Rows, Int[np.ndarray, " n"]]:
    """The rows in folds, an example's views sharing its fold and its weight; and the row of each plain view."""
    if len(views.example_of_row) != features.shape[0] or len(targets) == 0:
        raise BadData(
            f"There are {features.shape[0]} rows of features for {len(targets)} targets.",
            fix="give one target for each example, and say which example each row is.",
        )
    of_row = views.example_of_row
    rows = Rows(
        features,
        targets[of_row],
        row_weights=views.row_weights(weights),
        fold_of_row=fold_of[of_row],
        num_folds=num_folds,
        spread_floor=spread_floor,
    )
    return rows, views.plain_rows()


def _one(heads: Heads, at: int) -> Heads:
    return Heads(weight=heads.weight[at : at + 1], bias=heads.bias[at : at + 1])
