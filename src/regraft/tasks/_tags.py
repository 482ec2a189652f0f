"""A logistic regression for every tag, on the same features and with the same strength of the penalty.

Each is scikit-learn's `make_pipeline(StandardScaler(), LogisticRegression(C=c))` on one tag (`_logistic` has the one
difference); what is known of the rows (standardisation, axes) is computed once for all tags. The c is that of the least
cross-validated log loss, averaged over tags: one number from all tags is known better than one from each rare tag (our
choice). The logit of a tag is that of its presence less that of its absence.

Shapes: n examples, r rows (an example has one per view), d features, c tags, m examples of a fold, k folds, v values of
the penalty.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from time import monotonic

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.task import FoldLogits
from regraft.tasks._examples import Examples, check_folds
from regraft.tasks._logistic import MAX_ITERATIONS
from regraft.tasks._logistic import TOLERANCE as FINAL_TOLERANCE
from regraft.tasks._parts import Solved
from regraft.tasks._regularisation import CLEARLY_WORSE, ENOUGH_EXAMPLES, POLISH, TOLERANCE, Tried
from regraft.tasks.rows import SPREAD_FLOOR, RowSource, Views


@dataclass(frozen=True, kw_only=True, eq=False)
class TagHeads:
    """The heads of all tags, and what their penalty was chosen by."""

    weight: Float[np.ndarray, "c d"]
    """Weights on the features as they are stored."""
    bias: Float[np.ndarray, " c"]
    """Biases."""
    c: float
    """Inverse strength of the penalty."""
    tried: tuple[Tried, ...]
    """Every value measured, from strong to weak penalty; empty where none was."""
    at_edge: bool
    """Whether the best of several lay at an end of the grid."""
    converged: bool
    """Whether the solver reached its tolerance for every tag."""
    out_of_fold: Float[np.ndarray, "n c"] | None
    """Float32 logits of each example's plain view, by heads that saw nothing of its fold; None without folds."""


def fit_tags(
    features: RowSource,
    targets: Float[np.ndarray, "n c"],
    *,
    views: Views,
    fold_of: Int[np.ndarray, " n"] | None,
    grid: Sequence[float],
    spread_floor: float = SPREAD_FLOOR,
) -> TagHeads:
    """The heads at the c of `grid` that does best over the folds; at the first of it without folds.

    The path from strong to weak penalty ends once it is clearly past its best, and looks at no more folds than hold
    `ENOUGH_EXAMPLES` examples.

    Raises:
        BadData: features that are not finite, or targets other than 0 and 1.
        BadRequest: fewer than two folds, or an empty one.
    """
    numbers = np.zeros(len(targets), dtype=np.int64) if fold_of is None else fold_of
    num_folds = 1 if fold_of is None else check_folds(fold_of, len(targets))
    rows = _Rows(features, targets, views, numbers, num_folds, spread_floor)
    chosen, out_of_fold, tried = min(grid), None, list[Tried]()
    if fold_of is not None:
        sizes = np.cumsum(np.bincount(fold_of))
        searched = range(1 + int(np.searchsorted(sizes, min(ENOUGH_EXAMPLES, sizes[-1]))))
        heads = {fold: _Heads(rows, [fold]) for fold in searched}
        for c in sorted(grid):
            tried.append(_tried(rows, heads, c, fold_of))
            if tried[-1].log_loss > CLEARLY_WORSE * min(one.log_loss for one in tried):
                break
        chosen = min(tried, key=lambda one: one.log_loss).c
        out_of_fold = np.empty(targets.shape, dtype=np.float32)
        for fold in range(num_folds):
            held_out = np.flatnonzero(fold_of == fold)
            polished = heads.get(fold) or _Heads(rows, [fold])
            polished.solve(chosen, POLISH * TOLERANCE)
            out_of_fold[held_out] = polished.logits(held_out)
    final = _Heads(rows, ())
    final.solve(chosen, FINAL_TOLERANCE)
    weight, bias = final.head()
    return TagHeads(
        weight=weight,
        bias=bias,
        c=chosen,
        tried=tuple(tried),
        at_edge=len(tried) > 1 and chosen in (min(grid), max(grid)),
        converged=final.converged,
        out_of_fold=out_of_fold,
    )


def repeated_tags(
    features: RowSource,
    targets: Float[np.ndarray, "n c"],
    *,
    views: Views,
    fold_of_repeats: Iterable[Int[np.ndarray, " n"]],
    grid: Sequence[float],
    max_seconds: float,
) -> Iterator[FoldLogits]:
    """Held-out logits of every fold of every repeat, c chosen over the other folds; whole repeats only.

    Heads without folds j and k serve the choices for both (as in `_repeats`). With two folds nothing is left to choose
    by, and the middle of the grid is taken.

    Raises:
        BadData: features that are not finite, or targets other than 0 and 1.
        BadRequest: fewer than two folds, or an empty one.
    """
    values = sorted(grid)
    began, longest = monotonic(), 0.0
    for repeat, fold_of in enumerate(fold_of_repeats):
        started = monotonic()
        if repeat > 0 and started - began + longest > max_seconds:
            return
        num_folds = check_folds(fold_of, len(targets))
        rows = _Rows(features, targets, views, fold_of, num_folds, SPREAD_FLOOR)
        for fold, c in enumerate(_choices(rows, fold_of, num_folds, values)):
            heads, held_out = _Heads(rows, [fold]), np.flatnonzero(fold_of == fold)
            heads.solve(c, POLISH * TOLERANCE)
            yield FoldLogits(
                repeat=repeat, fold=fold, num_folds=num_folds, examples=held_out, logits=heads.logits(held_out), c=c
            )
        longest = max(longest, monotonic() - started)


class _Rows:
    """The rows in folds, once for every tag, what is known of them shared."""

    def __init__(
        self,
        features: RowSource,
        targets: Float[np.ndarray, "n c"],
        views: Views,
        fold_of: Int[np.ndarray, " n"],
        num_folds: int,
        spread_floor: float,
    ) -> None:
        self.targets = targets.astype(np.int64)
        self.examples = [
            Examples(features=features, targets=column, num_classes=2, views=views, spread_floor=spread_floor)
            for column in self.targets.T
        ]
        first = self.examples[0].problem(fold_of, num_folds)
        self.problems = [first.retargeted(column[views.example_of_row]) for column in self.targets.T]


class _Heads:
    """The heads of all tags on the rows outside some folds; each solution starts from the one before."""

    def __init__(self, rows: _Rows, without: Collection[int]) -> None:
        self._rows = rows
        self._parts = [problem.part(without) for problem in rows.problems]
        self._solved: list[Solved] = []

    def solve(self, c: float, tolerance: float) -> None:
        starts: Sequence[Solved | None] = self._solved or [None] * len(self._parts)
        self._solved = [
            part.solve(c, start=start, tolerance=tolerance, max_iterations=MAX_ITERATIONS)
            for part, start in zip(self._parts, starts, strict=True)
        ]

    @property
    def converged(self) -> bool:
        return all(one.converged for one in self._solved)

    def logits(self, of: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m c"]:
        """Float32 logits of the plain views of some examples."""
        both = [
            examples.logits(part, solved, of)
            for examples, part, solved in zip(self._rows.examples, self._parts, self._solved, strict=True)
        ]
        return np.stack([pair[:, 1] - pair[:, 0] for pair in both], axis=1)

    def head(self) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
        """Weights and biases on the features as they are stored."""
        pairs = [part.head(solved) for part, solved in zip(self._parts, self._solved, strict=True)]
        return np.stack([w[1] - w[0] for w, _ in pairs]), np.array([b[1] - b[0] for _, b in pairs])


def _tried(rows: _Rows, heads: dict[int, _Heads], c: float, fold_of: Int[np.ndarray, " n"]) -> Tried:
    """How the heads at `c` do on the folds they did not see."""
    loss, right, count = 0.0, 0, 0
    for fold, one in heads.items():
        held_out = np.flatnonzero(fold_of == fold)
        one.solve(c, TOLERANCE)
        logits, truth = one.logits(held_out), rows.targets[held_out]
        loss += float(tag_losses(logits, truth).sum())
        right += int(((logits > 0) == truth).sum())
        count += len(held_out)
    share = count * rows.targets.shape[1]
    return Tried(c=c, log_loss=loss / share, accuracy=right / share, examples=count)


def _choices(rows: _Rows, fold_of: Int[np.ndarray, " n"], num_folds: int, values: Sequence[float]) -> list[float]:
    """For each fold the c of least log loss over the others, from heads that did not see it."""
    if num_folds == 2 or len(values) == 1:
        return [values[(len(values) - 1) // 2]] * num_folds
    heads = {pair: _Heads(rows, pair) for pair in combinations(range(num_folds), 2)}
    losses = np.full((len(values), num_folds), np.inf)
    for row, c in enumerate(values):
        losses[row] = 0.0
        for pair, one in heads.items():
            one.solve(c, TOLERANCE)
            for scored, chooser in (pair, pair[::-1]):
                held_out = np.flatnonzero(fold_of == scored)
                losses[row, chooser] += tag_losses(one.logits(held_out), rows.targets[held_out]).sum()
        if (losses[row] > CLEARLY_WORSE * losses.min(axis=0)).all():
            break
    return [values[row] for row in losses.argmin(axis=0)]


def tag_losses(logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Negative log probability of what is true of each tag, in nats, in float64."""
    wide = logits.astype(np.float64)
    losses: Float[np.ndarray, "n c"] = np.logaddexp(0.0, np.where(targets > 0, -wide, wide))
    return losses
