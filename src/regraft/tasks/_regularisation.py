"""How strongly to penalise a linear head: the inverse strength C with the least cross-validated log loss.

Log loss, not accuracy: it is smooth in C, it is what the solver minimises, and calibration starts from it. The least
mean, not the strongest penalty within one standard error of it: on pooled activations of five small sets (100 and 240
examples, 4 draws each) that rule gave a mean test log loss of 0.604 against 0.584, and 0.766 of the labels right
against 0.770.

Shapes: n examples, r rows (an example has one row per view), d features, c classes, m examples of a fold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.tasks._examples import Examples, check_folds
from regraft.tasks._logistic import MAX_ITERATIONS, Linear
from regraft.tasks._parts import Part, Problem, Solved
from regraft.tasks._softmax import log_losses
from regraft.tasks.rows import SPREAD_FLOOR, STREAM_ABOVE, RowSource, Views

STEP = 10**0.5
"""Ratio of neighbouring values of C on the grid."""
MAX_EXTENSION = 2
"""Values that may be added beyond either end of the grid."""
CLEARLY_WORSE = 1.05
"""Ratio to the least log loss at which a weaker penalty ends the path (our choice)."""
TOLERANCE = 1e-3
"""Tolerance of the solves on the path, looser than that of a final head (our choice: held-out log losses move by
less than a thousandth of themselves)."""
POLISH = 0.1
"""Share of the path's tolerance to which heads are solved whose logits are handed on: where nearly every probability
is near 0 or 1, logits move by much more than log losses (our choice)."""
ENOUGH_EXAMPLES = 2000
"""Held-out examples at which the search takes no further folds (our choice: a log loss near 0.5 then has a standard
error of about 0.015, and the differences between neighbours on the path, which share the examples, a far smaller
one)."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One value of C and how it did out of fold."""

    c: float
    """Inverse strength of the penalty, as in scikit-learn on standardised features."""
    log_loss: float
    """Mean negative log probability of the true class, in nats."""
    accuracy: float
    """Share of the examples whose most probable class is the true one."""
    examples: int
    """Held-out examples it was measured on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """The chosen C, and what it was chosen by."""

    c: float
    """The value with the least log loss."""
    tried: tuple[Tried, ...]
    """Every value measured, from strong to weak penalty."""
    logits: Float[np.ndarray, "n c"]
    """Float32 logits of each example's plain view at the chosen C, from a head that saw nothing of its fold."""
    initial: Linear
    """The mean of the folds' heads: where the final fit may start from."""
    at_edge: bool
    """Whether the least log loss still lay at an end of the extended grid."""


def default_grid(width: int) -> tuple[float, ...]:
    """Ten values of C, from strong to weak, for `width` standardised features.

    A row of d standardised features has squared length d on average, so heads at the same C d are penalised alike; the
    grid runs over C d from 0.1 in half decades (our choice; on small real sets the best lay between 0.3 and 30,000).
    """
    return tuple(0.1 / width * STEP**i for i in range(10))


def choose(
    features: RowSource,
    targets: Int[np.ndarray, " n"],
    *,
    num_classes: int,
    fold_of: Int[np.ndarray, " n"],
    grid: Sequence[float] | None = None,
    sample_weights: Float[np.ndarray, " n"] | None = None,
    views: Views | None = None,
    tolerance: float = TOLERANCE,
    spread_floor: float = SPREAD_FLOOR,
    stream_above: int = STREAM_ABOVE,
) -> Choice:
    """The C of least cross-validated log loss, found along a path from strong to weak penalty with warm starts.

    `targets`, `fold_of` and `sample_weights` are by example. With `views`, `features` has a row for each view: all
    views of the other folds are learned from, each example weighing the same, and only plain views are scored. Where
    the best of several values lies at an end of the grid, up to `MAX_EXTENSION` more are tried beyond it; a grid of
    one value is not extended. From `ENOUGH_EXAMPLES` held-out examples on, further folds are solved at the chosen C
    only.

    Raises:
        BadData: features that are not finite, or targets out of range.
        BadRequest: fewer than two folds, or an empty one.
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
    search = _Search(examples, fold_of, tolerance)
    values = sorted(default_grid(features.shape[1]) if grid is None else grid)
    for c in values:
        if search.past_the_best():
            break
        search.measure(c)
    extensible = len(values) > 1
    for _ in range(MAX_EXTENSION if extensible else 0):
        if search.best.c < max(search.tried):
            break
        search.measure(max(search.tried) * STEP)
    for _ in range(MAX_EXTENSION if extensible else 0):
        if search.best.c > min(search.tried):
            break
        search.measure(min(search.tried) / STEP)
    at_edge = extensible and search.best.c in (min(search.tried), max(search.tried))
    return search.finish(at_edge)


class _Search:
    """The state of a search: the folds' parts, their latest solutions, and what was measured."""

    def __init__(self, examples: Examples, fold_of: Int[np.ndarray, " n"], tolerance: float) -> None:
        self._examples, self._fold_of, self._tolerance = examples, fold_of, tolerance
        self._num_folds = check_folds(fold_of, len(examples.targets))
        self._problem: Problem = examples.problem(fold_of, self._num_folds)
        sizes = np.cumsum(np.bincount(fold_of))
        searched = 1 + int(np.searchsorted(sizes, min(ENOUGH_EXAMPLES, sizes[-1])))
        self._parts = {fold: self._problem.part([fold]) for fold in range(searched)}
        self._ends: dict[float, dict[int, Solved]] = {}
        self._best_solved: dict[int, Solved] = {}
        self.tried: dict[float, Tried] = {}
        self.best = Tried(c=np.nan, log_loss=np.inf, accuracy=0.0, examples=0)

    def past_the_best(self) -> bool:
        """Whether the weakest penalty so far is clearly worse than the best."""
        return bool(self.tried) and self.tried[max(self.tried)].log_loss > CLEARLY_WORSE * self.best.log_loss

    def measure(self, c: float) -> None:
        """Solve every searched fold at `c`, from the solution at the nearest end of the path, and score it."""
        nearest = min(self._ends, key=lambda end: abs(np.log(end / c)), default=None)
        starts = {} if nearest is None else self._ends[nearest]
        solved = {fold: self._solve(part, c, starts.get(fold), self._tolerance) for fold, part in self._parts.items()}
        scored = np.flatnonzero(self._fold_of < len(self._parts))
        logits = np.empty((len(self._fold_of), self._examples.num_classes), dtype=np.float32)
        for fold, part in self._parts.items():
            held_out = np.flatnonzero(self._fold_of == fold)
            logits[held_out] = self._examples.logits(part, solved[fold], held_out)
        self.tried[c] = _score(self._examples, c, logits[scored], scored)
        self._ends[c] = solved
        self._ends = {end: self._ends[end] for end in {min(self._ends), max(self._ends)}}
        if self.tried[c].log_loss < self.best.log_loss:
            self.best, self._best_solved = self.tried[c], solved

    def finish(self, at_edge: bool) -> Choice:
        """Solve every fold at the chosen C, more closely than on the path."""
        heads = []
        logits = np.empty((len(self._fold_of), self._examples.num_classes), dtype=np.float32)
        for fold in range(self._num_folds):
            part = self._parts.get(fold) or self._problem.part([fold])
            start = self._best_solved.get(fold, self._best_solved[0])
            solved = self._solve(part, self.best.c, start, POLISH * self._tolerance)
            held_out = np.flatnonzero(self._fold_of == fold)
            logits[held_out] = self._examples.logits(part, solved, held_out)
            heads.append(part.head(solved))
        initial = Linear(
            weight=np.asarray(sum(weight for weight, _ in heads) / len(heads), dtype=np.float32),
            bias=np.asarray(sum(bias for _, bias in heads) / len(heads), dtype=np.float32),
            converged=False,
            iterations=0,
        )
        return Choice(
            c=self.best.c,
            tried=tuple(self.tried[c] for c in sorted(self.tried)),
            logits=logits,
            initial=initial,
            at_edge=at_edge,
        )

    def _solve(self, part: Part, c: float, start: Solved | None, tolerance: float) -> Solved:
        return part.solve(c, start=start, tolerance=tolerance, max_iterations=MAX_ITERATIONS)


def _score(examples: Examples, c: float, logits: Float[np.ndarray, "m c"], of: Int[np.ndarray, " m"]) -> Tried:
    """Weighted log loss and accuracy of the examples `of`."""
    weights = examples.example_weights()[of]
    return Tried(
        c=c,
        log_loss=float(np.average(log_losses(logits, examples.targets[of]), weights=weights)),
        accuracy=float(np.average(logits.argmax(axis=1) == examples.targets[of], weights=weights)),
        examples=len(of),
    )
