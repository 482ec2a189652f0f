"""Linear heads: exact solutions, the choice of the penalty by cross-validation, and cross-validated predictions.

The optimum equals that of scikit-learn's `make_pipeline(StandardScaler(), LogisticRegression(C=c))`, or of
`Ridge(alpha=1/c)` for regression, with a small tolerance and with sample weights. The only difference is the lower
bound on the standard deviations (`rows.SPREAD_FLOOR`). Everything is numpy: a warm probe imports neither scikit-learn
nor scipy nor torch.

The penalty is chosen by log loss rather than accuracy: log loss is smooth in C, the solver minimises it, and
calibration starts from it. We take the smallest mean loss, not the strongest penalty within one standard error of it:
on pooled activations of five small data sets (100 and 240 examples, 4 draws each) the one-standard-error rule gave a
mean test log loss of 0.604 instead of 0.584, and an accuracy of 0.766 instead of 0.770.

Shapes: n examples, r rows (one per view of an example), m examples of a fold, d features, c outputs.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from regraft.contracts.task import Task
from regraft.errors import BadData, BadRequest, nearest
from regraft.tasks._solvers import Axes, Logistic, Part, Ridge, Solver, Spanned, Sums, fold_sums, leading_axes
from regraft.tasks.losses import STEP, Head, Loss, Sigmoid, Softmax, Squares
from regraft.tasks.rows import Rows, RowSource
from regraft.values import Prediction
from regraft.words import parted

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["LinearTask", "Loss", "Sigmoid", "Softmax", "Squares", "cross_validate", "linear", "solve"]

CLEARLY_WORSE = 1.05
"""Ratio to the smallest loss at which the path towards weaker penalties ends (our choice)."""
TOLERANCE = 1e-3
"""Tolerance of the solves on the path, looser than that of a final head (our choice: held-out log losses change by less
than 0.1 % of their value)."""
POLISH = 0.01
"""Factor on the path's tolerance for heads whose logits are returned: where nearly every probability is close to 0 or
1, logits change much more than log losses do. Our choice: on 244 x 1024 and 500 x 2048 features, held-out probabilities
are then within 0.001 of those of a tight solve (within 0.02 at a factor of 0.1), for 10 % more time."""
FINAL_TOLERANCE = 5e-6
"""Tolerance of a final head: roughly the root mean square change remaining in its logits (our choice)."""
ENOUGH_EXAMPLES = 2000
"""Number of held-out examples at which no further folds are used to choose a penalty (our choice: a log loss near 0.5
then has a standard error of about 0.015; differences between neighbours on the path, measured on the same examples,
have a much smaller one)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """A linear head at its optimum."""

    weight: Float[np.ndarray, "c d"]
    """Weights for the features as stored."""
    bias: Float[np.ndarray, "c"]
    """Biases."""
    out_of_fold: Float[np.ndarray, "n c"] | None
    """Logits of each example's plain view from a head trained without its fold, nan for examples of fold -1; None
    without folds."""
    facts: Mapping[str, Any]
    """What was chosen and how, as JSON: `c`, the values tried, whether the solver converged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldLogits:
    """Held-out logits of one fold of one repeat of a cross-validation."""

    repeat: int
    """Index of the repeat, from 0."""
    fold: int
    """Index of the fold, from 0."""
    examples: Int[np.ndarray, "m"]
    """Indices of the held-out examples, ascending."""
    logits: Float[np.ndarray, "m c"]
    """Float32 logits of their plain views."""
    c: float
    """Inverse penalty strength, chosen without the held-out examples."""


def solve(
    loss: Loss,
    features: RowSource,
    *,
    fold_of: Int[np.ndarray, " n"] | None,
    num_views: int = 1,
    c: float = 0.0,
    grid: Sequence[float] | None = None,
) -> Solution:
    """Return the head with the smallest loss at `c`, or, if `c` is 0, at the best value of `grid` over the folds.

    Each example has `num_views` consecutive rows of features, its plain view first; its weight does not depend on their
    number. Examples of fold -1 are always trained on and never evaluated. For each other fold, the head is trained on
    all views of the remaining folds and evaluated on plain views. The path from strong to weak penalty ends once the
    loss is clearly past its minimum. If the best value is an end of the grid, classification tries up to two values
    beyond it. Without folds, c is one over the number of features.

    Raises:
        BadData: features are not finite.
    """
    width = features.shape[1]
    values = sorted([c] if c else (grid or loss.grid(width)) if fold_of is not None else [1.0 / width])
    problem = _Problem(loss, features, num_views, fold_of)
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
        out_of_fold = np.full((len(fold_of), loss.num_outputs), np.nan, dtype=np.float32)
        for fold in range(problem.num_folds):
            near = path.solvers.get((fold,)) or problem.solver((fold,), near)
            out_of_fold[fold_of == fold] = problem.outputs(near, near.head(chosen, POLISH * TOLERANCE), fold)
    final = problem.solver((), near)
    weight, bias = final.part.head(*final.head(facts["c"], FINAL_TOLERANCE))
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
    fold_of_repeats: Iterable[Int[np.ndarray, " n"]],
    max_seconds: float,
    num_views: int = 1,
    c: float = 0.0,
    grid: Sequence[float] | None = None,
) -> Iterator[FoldLogits]:
    """Yield the held-out outputs of every fold of every repeat, in order, as they become available; whole repeats only.

    The c for fold k is chosen by nested cross-validation over the other folds: heads trained without j and k are
    evaluated on j. One head without j and k serves the choices for both folds, so a repeat takes k (k - 1) / 2 paths
    instead of k (k - 1), without approximation. The grid is not extended. With two folds no fold is left for choosing,
    so the middle of the grid is used. A repeat is not started if one as long as the longest so far would exceed
    `max_seconds`; the first repeat always runs. Features are as in `solve`.

    Raises:
        BadData: features are not finite.
    """
    values = sorted([c] if c else grid or loss.grid(features.shape[1]))
    began, longest = monotonic(), 0.0
    for repeat, fold_of in enumerate(fold_of_repeats):
        started = monotonic()
        if repeat > 0 and started - began + longest > max_seconds:
            return
        problem = _Problem(loss, features, num_views, fold_of)
        chosen, solvers = [values[(len(values) - 1) // 2]] * problem.num_folds, dict[tuple[int, ...], Solver]()
        if problem.num_folds > 2 and len(values) > 1:
            path = _Path(problem, combinations(range(problem.num_folds), 2))
            path.follow(values)
            chosen, solvers = [path.best(fold) for fold in range(problem.num_folds)], path.solvers
        for fold, value in enumerate(chosen):
            solver = problem.solver((fold,), next((one for folds, one in solvers.items() if fold in folds), None))
            logits = problem.outputs(solver, solver.head(value, POLISH * TOLERANCE), fold).astype(np.float32)
            yield FoldLogits(repeat=repeat, fold=fold, examples=np.flatnonzero(fold_of == fold), logits=logits, c=value)
        longest = max(longest, monotonic() - started)


def linear(task: Task) -> "LinearTask":
    """Return the task, checked to be a linear one.

    Raises:
        BadRequest: the task has no linear head.
    """
    if not isinstance(task, LinearTask):
        raise BadRequest(
            f"This option requires one vector of logits per example, which a {task.kind} task does not have.",
            fix="leave out the option, or choose another strategy.",
        )
    return task


class LinearTask(Task):
    """A task with one vector of logits per example, whose head can be solved.

    The defaults suit tasks with one class per example; other tasks override some of them.
    """

    answers: Literal["probabilities", "values", "structured"] = "probabilities"
    exclusive: bool = True

    @property
    def num_outputs(self) -> int:
        """Number of logits per example."""
        return len(self.classes)

    @abstractmethod
    def solved_loss(self, targets: Shaped[np.ndarray, "n ..."], *, balanced: bool = False) -> Loss:
        """Return the loss for which the head is solved. With `balanced`, all classes have the same total weight.

        Raises:
            BadRecipe: `balanced` for a task without classes.
        """

    @abstractmethod
    def rescaled(self, raw: Float[np.ndarray, "n c"], targets: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "n c"]:
        """Return the logits with their confidence calibrated on these examples; unchanged without probabilities.

        Overtraining makes a network overconfident before it makes its predictions worse, and calibration corrects
        confidence afterwards. So the epoch to keep is selected by the loss of the rescaled logits.
        """

    def standalone(self) -> str:
        from regraft.tasks.said import named, script

        return script(named)

    def encode(self, labels: Sequence[str]) -> Shaped[np.ndarray, "n ..."]:
        """Return the index in `classes` of each label.

        Raises:
            BadData: a label is not one of the classes.
        """
        return np.array([self.position(label) for label in labels], dtype=np.int64)

    def position(self, name: str) -> int:
        """Return the index of a class or label in `classes`.

        Raises:
            BadData: it is not one of them; the error suggests the nearest.
        """
        if name not in self._positions:
            raise BadData(
                f"The label {name!r} is unknown to the model (its labels: {', '.join(self.classes)}).",
                fix=nearest(name, list(self.classes)),
            )
        return self._positions[name]

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {name: at for at, name in enumerate(self.classes)}

    def encoded(self, targets: Shaped[np.ndarray, "n ..."], placements: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the targets unchanged."""
        return targets

    def strata(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
        """Return the classes, as strata."""
        return targets

    def untaught(
        self, outside: Shaped[np.ndarray, "n ..."], inside: Shaped[np.ndarray, "m ..."]
    ) -> Bool[np.ndarray, " m"]:
        """Return which of the targets `inside` have a class, label or value that none of `outside` has, or lack a label
        that all of `outside` have."""
        if self.exclusive:
            return super().untaught(outside, inside)
        constant = (outside == outside[:1]).all(axis=0)
        return np.asarray((inside != outside[:1])[:, constant].any(axis=1))

    def decode(self, outputs: Float[np.ndarray, "n k"]) -> list[str]:
        """Return the most probable class of each row."""
        return [self.classes[at] for at in outputs.argmax(axis=1).tolist()]

    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """Return a linear layer on a vector, initialised to zero, with the parameters `weight` (c d) and `bias` (c)."""
        from regraft.nn.stages import PooledHead

        return PooledHead(widths[self.reads.readout], self.num_outputs, dropout=dropout)

    def gathered(
        self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any
    ) -> Float[np.ndarray, "n c"]:
        """Return the logits per example, averaged over its pieces."""
        rows = np.concatenate(batches) if batches else np.zeros((0, self.num_outputs), dtype=np.float32)
        if not len(rows) or len(example_of_row) == int(example_of_row[-1]) + 1:
            return rows
        sums = np.zeros((int(example_of_row[-1]) + 1, self.num_outputs), dtype=np.float64)
        np.add.at(sums, example_of_row, rows)
        return (sums / np.bincount(example_of_row)[:, None]).astype(np.float32)

    def judged(
        self, raw: np.ndarray, targets: np.ndarray, mean_loss: float, loss: "Callable[[Any, Any], Tensor]"
    ) -> tuple[float, float]:
        """Return (loss of the logits, loss of the rescaled logits)."""
        import torch

        encoded = torch.from_numpy(self.encoded(targets, {}))
        plain, mended = (float(loss(torch.from_numpy(one), encoded)) for one in (raw, self.rescaled(raw, targets)))
        return plain, mended

    def predictions(self, outputs: Float[np.ndarray, "n k"]) -> list[Prediction]:
        """Return probabilities or values by name, with the predicted label."""
        numbers, made = self.answers == "values", []
        for label, row in zip(self.decode(outputs), outputs, strict=True):
            named = dict(zip(self.classes, map(float, row), strict=True))
            made.append(
                Prediction(
                    id="",
                    label=label,
                    labels=None if self.exclusive or numbers else parted(label),
                    probabilities={} if numbers else named,
                    values=named if numbers else {},
                )
            )
        return made


class _Problem:
    """Rows in folds with their targets, and everything the training splits share, computed once."""

    def __init__(self, loss: Loss, features: RowSource, num_views: int, fold_of: Int[np.ndarray, " n"] | None) -> None:
        examples = len(loss.targets)
        fold_of = np.zeros(examples, dtype=np.int64) if fold_of is None else fold_of
        weights = np.ones(examples) if loss.weights is None else np.asarray(loss.weights, dtype=np.float64)
        self.num_folds = int(fold_of.max()) + 1
        self.plain = [num_views * np.flatnonzero(fold_of == fold) for fold in range(self.num_folds)]
        self.weights = [weights[fold_of == fold] for fold in range(self.num_folds)]
        of_row = np.repeat(np.arange(examples), num_views)
        self.loss = loss.taken(of_row)
        always = fold_of < 0  # trained on in every fold: stored as one more fold that is never left out
        fold_of, stored = np.where(always, self.num_folds, fold_of), self.num_folds + bool(always.any())
        single = not isinstance(loss, Squares)
        self._rows = Rows(features, weights[of_row] / num_views, fold_of[of_row], stored, single=single)
        self._axes: Axes | None = None
        self._sums: Sums = []
        if not self._rows.few:
            if isinstance(loss, Squares):
                self._sums = fold_sums(self._rows, self.loss, stored)
            else:
                self._axes = leading_axes(self._rows)

    def solver(self, without: tuple[int, ...], near: Solver | None = None) -> Solver:
        """Return a solver for the rows outside these folds, warm-started from `near` where that helps."""
        part = Spanned(self._rows, without) if self._rows.few else Part(self._rows, without, self._axes)
        if isinstance(self.loss, Squares):
            return Ridge(part, self.loss, self._sums)
        solver = Logistic(part, self.loss)
        if near is not None and not self._rows.few:
            solver.start_from(near)
        return solver

    def outputs(self, solver: Solver, head: Head, fold: int) -> Float[np.ndarray, "m c"]:
        """Return a head's outputs for the plain views of a fold."""
        return solver.part.outputs(*head, self.plain[fold])


class _Path:
    """Path from strong to weak penalty: held-out losses of heads trained without some folds.

    With folds left out one at a time, all folds contribute to one common choice. With pairs left out, each fold of a
    pair is used to choose for the other, by heads that saw neither.
    """

    def __init__(self, problem: _Problem, left_out: Iterable[tuple[int, ...]]) -> None:
        self.problem = problem
        self.solvers = {folds: problem.solver(folds) for folds in left_out}
        self._choices = problem.num_folds if max(map(len, self.solvers)) > 1 else 1
        self.losses: dict[float, Float[np.ndarray, " k"]] = {}

    def follow(self, values: Sequence[float]) -> None:
        """Measure these values in turn, until the loss is clearly past its minimum for every choice."""
        for value in values:
            self._measure(value)
            lowest = np.min(list(self.losses.values()), axis=0)
            if self.problem.loss.ends_early and (self.losses[value] > CLEARLY_WORSE * lowest).all():
                return

    def extend(self, count: int) -> bool:
        """Measure up to `count` values beyond an end while the best is there; return whether it is still at an end."""
        for end, factor in ((max, STEP), (min, 1 / STEP)):
            for _ in range(count):
                if self.best(0) != end(self.losses):
                    break
                self._measure(end(self.losses) * factor)
        return self.best(0) in (min(self.losses), max(self.losses))

    def best(self, choice: int) -> float:
        """Return the value with the smallest loss."""
        return min(self.losses, key=lambda c: float(self.losses[c][choice]))

    def _measure(self, value: float) -> None:
        losses, problem = np.zeros(self._choices), self.problem
        for folds, solver in self.solvers.items():
            head = solver.head(value, TOLERANCE)
            for fold in folds:
                lost = problem.loss.losses(problem.outputs(solver, head, fold), problem.plain[fold])
                losses[sum(folds) - fold] += lost @ problem.weights[fold]
        self.losses[value] = losses
