"""Linear heads: solved to their optimum, the penalty chosen by cross-validation, and cross-validated themselves.

The optimum is that of scikit-learn's `make_pipeline(StandardScaler(), LogisticRegression(C=c))`, or `Ridge(alpha=1/c)`
for regression, with a small tolerance and with sample weights. The one difference is the floor under the standard
deviations (`rows.SPREAD_FLOOR`). All in numpy: a warm probe imports neither scikit-learn nor scipy nor torch.

Log loss chooses, not accuracy: it is smooth in C, it is what the solver minimises, and calibration starts from it. The
smallest mean, not the strongest penalty within one standard error of it: on pooled activations of five small sets (100
and 240 examples, 4 draws each) that rule gave a mean test log loss of 0.604 against 0.584, and 0.766 of the labels
right against 0.770.

Shapes: n examples, r rows (an example has one per view), m examples of a fold, d features, c outputs.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.contracts.linear import FoldLogits, LinearTask, Solution, check_weighable
from regraft.errors import BadData, BadRequest
from regraft.tasks._losses import STEP, Loss, Sigmoid, Softmax, Squares, default_grid, taken
from regraft.tasks._part import Axes, Part, Spanned, leading_axes
from regraft.tasks._solvers import Heads, Logistic, Ridge, Solver, Sums, fold_sums, outputs_of
from regraft.tasks.rows import Rows, RowSource, Views

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LinearTask", "Loss", "Sigmoid", "Softmax", "Squares", "cross_validate", "default_grid", "solve"]

CLEARLY_WORSE = 1.05
"""Ratio to the smallest loss at which a weaker penalty ends the path (our choice)."""
TOLERANCE = 1e-3
"""Tolerance of the solves on the path, looser than that of a final head (our choice: held-out log losses move by
less than a thousandth of themselves)."""
POLISH = 0.01
"""Share of the path's tolerance to which heads are solved whose logits are handed on: where nearly every probability
is near 0 or 1, logits move by much more than log losses. Our choice: held-out probabilities are then within 0.001 of
those of a tight solve (within 0.02 at a share of 0.1) on 244 x 1024 and 500 x 2048 features, for 10 % more time."""
FINAL_TOLERANCE = 5e-6
"""Tolerance at which a final head counts as solved: about the root mean square change that is left in its logits (our
choice)."""
ENOUGH_EXAMPLES = 2000
"""Held-out examples at which the choice of a penalty takes no further folds (our choice: a log loss near 0.5 then has a
standard error of about 0.015, and the differences between neighbours on the path, which share the examples, a far
smaller one)."""


def solve(
    loss: Loss,
    features: RowSource,
    *,
    views: Views,
    fold_of: Int[np.ndarray, " n"] | None,
    c: float = 0.0,
    grid: Sequence[float] | None = None,
    weights: Float[np.ndarray, " n"] | None = None,
) -> Solution:
    """The head of smallest loss at `c`; where that is 0, at the best of `grid` over the folds.

    The path from strong to weak penalty ends once it is clearly past its best. Where the best of several lies at an
    end of the grid, a classification tries up to two more beyond it. Without folds c is one over the number of
    features. `weights` are by example; all views of the other folds are learned from, and only plain views are judged.
    Examples of fold -1 train in every fold and are judged in none.

    Raises:
        BadData: features that are not finite, or not a target for every example.
        BadRequest: fewer than two folds, or an empty one.
    """
    width = features.shape[1]
    values = sorted([c] if c else (grid or loss.grid(width)) if fold_of is not None else [1.0 / width])
    problem = _Problem(loss, features, views, fold_of, weights)
    facts, out_of_fold, near = dict[str, Any](c=values[0]), None, None
    if fold_of is not None:
        sizes = np.cumsum(np.bincount(fold_of[fold_of >= 0]))
        searched = 1 + int(np.searchsorted(sizes, min(ENOUGH_EXAMPLES, sizes[-1])))
        path = _Path(problem, [(fold,) for fold in range(searched)])
        path.follow(values)
        at_edge = path.extend(loss.extension) if len(values) > 1 else False
        chosen = path.best(0)
        judged = sum(len(problem.plain[fold]) for fold in range(searched))
        share = sum(float(problem.weights[fold].sum()) for fold in range(searched))
        tried = [
            {"c": value, loss.measure: float(path.losses[value][0] / share), "examples": judged}
            for value in sorted(path.losses)
        ]
        facts = {"c": chosen, "at_edge": at_edge, "tried": tried}
        out_of_fold = np.full((len(loss), loss.num_outputs), np.nan, dtype=np.float32)
        for fold in range(problem.num_folds):
            solver = path.solvers.get((fold,)) or problem.solver((fold,), near)
            near = solver
            out_of_fold[fold_of == fold] = problem.outputs(solver, solver.heads([chosen], POLISH * TOLERANCE), fold)[0]
    final = problem.solver((), near)
    heads = final.heads([facts["c"]], FINAL_TOLERANCE)
    weight, bias = final.part.head(heads.weight[0], heads.bias[0])
    return Solution(
        weight=weight.astype(np.float32),
        bias=bias.astype(np.float32),
        out_of_fold=out_of_fold,
        facts={**facts, **final.facts},
    )


def cross_validate(
    loss: Loss,
    features: RowSource,
    *,
    views: Views,
    fold_of_repeats: Iterable[Int[np.ndarray, " n"]],
    max_seconds: float,
    c: float = 0.0,
    grid: Sequence[float] | None = None,
    weights: Float[np.ndarray, " n"] | None = None,
) -> Iterator[FoldLogits]:
    """Held-out outputs of every fold of every repeat, in order, as they are ready; whole repeats only.

    The c for fold k is chosen by cross-validation over the other folds: heads that saw neither j nor k are judged on
    j. The head without j and k serves the choices for both, so a repeat takes k (k - 1) / 2 paths instead of
    k (k - 1), and nothing is approximated. The grid is not extended. With two folds nothing is left to choose by,
    and the middle of the grid is taken. A repeat is not begun when one more as long as the longest so far would pass
    `max_seconds`; the first always runs.

    Raises:
        BadData: features that are not finite, or not a target for every example.
        BadRequest: fewer than two folds, or an empty one.
    """
    values = sorted([c] if c else grid or loss.grid(features.shape[1]))
    began, longest = monotonic(), 0.0
    for repeat, fold_of in enumerate(fold_of_repeats):
        started = monotonic()
        if repeat > 0 and started - began + longest > max_seconds:
            return
        problem = _Problem(loss, features, views, fold_of, weights)
        chosen, solvers = [values[(len(values) - 1) // 2]] * problem.num_folds, dict[tuple[int, ...], Solver]()
        if problem.num_folds > 2 and len(values) > 1:
            path = _Path(problem, combinations(range(problem.num_folds), 2))
            path.follow(values)
            chosen, solvers = [path.best(fold) for fold in range(problem.num_folds)], path.solvers
        for fold, value in enumerate(chosen):
            solver = problem.solver((fold,), next((one for folds, one in solvers.items() if fold in folds), None))
            logits = problem.outputs(solver, solver.heads([value], POLISH * TOLERANCE), fold)[0]
            yield FoldLogits(
                repeat=repeat,
                fold=fold,
                num_folds=problem.num_folds,
                examples=np.flatnonzero(fold_of == fold),
                logits=logits.astype(np.float32),
                c=value,
            )
        longest = max(longest, monotonic() - started)


class SolvedTask(LinearTask):
    """A linear task solved for one of the losses of `_losses`."""

    @abstractmethod
    def solved_loss(self, targets: Shaped[np.ndarray, "n ..."]) -> Loss:
        """What the head is solved for."""

    def example_weights(self, targets: Shaped[np.ndarray, "n ..."], balanced: bool) -> Float[np.ndarray, " n"] | None:
        """What each example weighs; None where all weigh the same."""
        return None

    def solve(
        self,
        features: RowSource,
        targets: Shaped[np.ndarray, "n ..."],
        *,
        views: Views,
        fold_of: Int[np.ndarray, " n"] | None,
        c: float,
        balanced: bool,
    ) -> Solution:
        """The head at its optimum; the penalty is that of smallest cross-validated loss."""
        check_weighable(self, balanced=balanced)
        weights = self.example_weights(targets, balanced)
        return solve(self.solved_loss(targets), features, views=views, fold_of=fold_of, c=c, weights=weights)

    def cross_validate(
        self,
        features: RowSource,
        targets: Shaped[np.ndarray, "n ..."],
        *,
        views: Views,
        fold_of_repeats: Iterable[Int[np.ndarray, " n"]],
        c: float,
        balanced: bool,
        max_seconds: float,
    ) -> Iterator[FoldLogits]:
        """Outputs of heads that never saw the example."""
        check_weighable(self, balanced=balanced)
        return cross_validate(
            self.solved_loss(targets),
            features,
            views=views,
            fold_of_repeats=fold_of_repeats,
            c=c,
            weights=self.example_weights(targets, balanced),
            max_seconds=max_seconds,
        )

    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """A linear layer on a vector, zero at first, with the parameters `weight` (c d) and `bias` (c)."""
        from regraft.nn.heads import PooledHead

        return PooledHead(widths[self.reads.readout], self.num_outputs, dropout=dropout)


class _Problem:
    """Rows in folds with their targets, and what all training splits share, computed once."""

    def __init__(
        self,
        loss: Loss,
        features: RowSource,
        views: Views,
        fold_of: Int[np.ndarray, " n"] | None,
        weights: Float[np.ndarray, " n"] | None,
    ) -> None:
        examples, of_row = len(loss), views.example_of_row
        if examples == 0 or len(of_row) != features.shape[0] or int(of_row.max()) != examples - 1:
            raise BadData(
                f"There are {features.shape[0]} rows of features for {examples} targets.",
                fix="give one target for each example, and say which example each row is.",
            )
        self.num_folds = 1 if fold_of is None else _checked(fold_of, examples)
        fold_of = np.zeros(examples, dtype=np.int64) if fold_of is None else fold_of
        weights = np.ones(examples) if weights is None else np.asarray(weights, dtype=np.float64)
        plain = views.plain_rows()
        self.plain = [plain[fold_of == fold] for fold in range(self.num_folds)]
        self.weights = [weights[fold_of == fold] for fold in range(self.num_folds)]
        self._loss = taken(loss, of_row)
        single = not isinstance(self._loss, Squares)
        always = fold_of < 0  # these train in every fold; they are one more that is never left out
        fold_of, stored = np.where(always, self.num_folds, fold_of), self.num_folds + bool(always.any())
        self._rows = Rows(features, views.row_weights(weights), fold_of[of_row], stored, single=single)
        self._axes: Axes | None = None
        self._sums: Sums = []
        if not self._rows.few:
            if isinstance(self._loss, Squares):
                self._sums = fold_sums(self._rows, self._loss, stored)
            else:
                self._axes = leading_axes(self._rows)

    def solver(self, without: tuple[int, ...], near: Solver | None = None) -> Solver:
        """What solves the rows outside these folds; starting from where another part's was, where that helps."""
        part = Spanned(self._rows, without) if self._rows.few else Part(self._rows, without, self._axes)
        if isinstance(self._loss, Squares):
            return Ridge(part, self._loss, self._sums)
        solver = Logistic(part, self._loss)
        if near is not None and not self._rows.few:
            solver.start_from(near)
        return solver

    def outputs(self, solver: Solver, heads: Heads, fold: int) -> Float[np.ndarray, "p m c"]:
        """What heads put out for the plain views of a fold."""
        return outputs_of(solver, heads, self.plain[fold])

    def loss_of(self, solver: Solver, heads: Heads, fold: int) -> Float[np.ndarray, " p"]:
        """Weighted sum of what heads lose on a fold."""
        result: Float[np.ndarray, " p"] = (
            self._loss.losses(self.outputs(solver, heads, fold), self.plain[fold]) @ self.weights[fold]
        )
        return result


class _Path:
    """From strong to weak penalty: what heads without some folds lose on these.

    Left out singly, folds judge for one common choice. In pairs, each fold judges for the choice of the other, which is
    made without it.
    """

    def __init__(self, problem: _Problem, left_out: Iterable[tuple[int, ...]]) -> None:
        self.problem = problem
        self.solvers = {folds: problem.solver(folds) for folds in left_out}
        self._choices = problem.num_folds if max(map(len, self.solvers)) > 1 else 1
        self.losses: dict[float, Float[np.ndarray, " k"]] = {}

    def follow(self, values: Sequence[float]) -> None:
        """Measure these values in turn, until the loss is clearly past its best for every choice."""
        step = next(iter(self.solvers.values())).at_once
        for at in range(0, len(values), step):
            self._measure(values[at : at + step])
            latest, lowest = self.losses[max(self.losses)], np.min(list(self.losses.values()), axis=0)
            if (latest > CLEARLY_WORSE * lowest).all():
                return

    def extend(self, count: int) -> bool:
        """Measure up to `count` values beyond an end at which the best lies; whether it lies at an end still."""
        for end, factor in ((max, STEP), (min, 1 / STEP)):
            for _ in range(count):
                if self.best(0) != end(self.losses):
                    break
                self._measure([end(self.losses) * factor])
        return self.best(0) in (min(self.losses), max(self.losses))

    def best(self, choice: int) -> float:
        """The value of smallest loss."""
        return min(self.losses, key=lambda c: float(self.losses[c][choice]))

    def _measure(self, values: Sequence[float]) -> None:
        losses = np.zeros((len(values), self._choices))
        for folds, solver in self.solvers.items():
            heads = solver.heads(values, TOLERANCE)
            for fold in folds:
                losses[:, sum(folds) - fold] += self.problem.loss_of(solver, heads, fold)
        self.losses |= dict(zip(values, losses, strict=True))


def _checked(fold_of: Int[np.ndarray, " n"], num_examples: int) -> int:
    """The number of folds; `BadRequest` unless there is a number for every example, no fold is empty, and there are at
    least two."""
    num_folds = int(fold_of.max(initial=-1)) + 1
    counts = np.bincount(fold_of[fold_of >= 0], minlength=num_folds)
    if len(fold_of) != num_examples or num_folds < 2 or counts.min() == 0:
        raise BadRequest(
            f"{len(fold_of)} fold numbers up to {num_folds - 1} were given for {num_examples} examples.",
            fix="give every example a fold from 0 (-1: it trains in all), with at least two folds and none empty.",
        )
    return num_folds
