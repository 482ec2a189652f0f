"""Repeated cross-validation with C chosen anew inside every training part: the raw material of honest scores.

Shapes: n examples, r rows (an example has one row per view), d features, c classes, m examples of a fold, k folds,
v values of C.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from time import monotonic

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.task import FoldLogits
from regraft.tasks._examples import Examples, check_folds
from regraft.tasks._logistic import MAX_ITERATIONS
from regraft.tasks._parts import Problem, Solved
from regraft.tasks._regularisation import CLEARLY_WORSE, POLISH, TOLERANCE, default_grid
from regraft.tasks._softmax import log_losses
from regraft.tasks.rows import SPREAD_FLOOR, STREAM_ABOVE, RowSource, Views


def repeated_cross_validation(
    features: RowSource,
    targets: Int[np.ndarray, " n"],
    *,
    num_classes: int,
    fold_of_repeats: Iterable[Int[np.ndarray, " n"]],
    max_seconds: float,
    grid: Sequence[float] | None = None,
    sample_weights: Float[np.ndarray, " n"] | None = None,
    views: Views | None = None,
    tolerance: float = TOLERANCE,
    spread_floor: float = SPREAD_FLOOR,
    stream_above: int = STREAM_ABOVE,
) -> Iterator[FoldLogits]:
    """Held-out logits of every fold of every repeat, in order, as they are ready; whole repeats only.

    The C for fold k is chosen by cross-validation over the other folds: heads that saw neither j nor k are scored on
    j. The head without j and k serves the choices for both, so a repeat takes k (k - 1) / 2 paths instead of
    k (k - 1), and nothing is approximated. The grid is not extended. With two folds nothing is left to choose by,
    and the middle of the grid is taken. `fold_of_repeats` gives the folds of each repeat (all views of an example,
    and all examples of a group, in one fold). A repeat is not begun when one more as long as the longest so far would
    pass `max_seconds`; the first always runs.

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
    values = sorted(default_grid(features.shape[1]) if grid is None else grid)
    began, longest = monotonic(), 0.0
    for repeat, fold_of in enumerate(fold_of_repeats):
        started = monotonic()
        if repeat > 0 and started - began + longest > max_seconds:
            return
        yield from _repeat(examples, repeat, fold_of, values, tolerance)
        longest = max(longest, monotonic() - started)


def _repeat(
    examples: Examples, repeat: int, fold_of: Int[np.ndarray, " n"], values: list[float], tolerance: float
) -> Iterator[FoldLogits]:
    num_folds = check_folds(fold_of, len(examples.targets))
    problem = examples.problem(fold_of, num_folds)
    chosen = _choices(examples, problem, fold_of, num_folds, values, tolerance)
    for fold, c in enumerate(chosen):
        part = problem.part([fold])
        solved = part.solve(c, tolerance=POLISH * tolerance, max_iterations=MAX_ITERATIONS)
        held_out = np.flatnonzero(fold_of == fold)
        yield FoldLogits(
            repeat=repeat,
            fold=fold,
            num_folds=num_folds,
            examples=held_out,
            logits=examples.logits(part, solved, held_out),
            c=c,
        )


def _choices(
    examples: Examples,
    problem: Problem,
    fold_of: Int[np.ndarray, " n"],
    num_folds: int,
    values: list[float],
    tolerance: float,
) -> list[float]:
    """For each fold, the C of least log loss over the other folds, from heads that did not see it.

    The path ends once it is clearly past the best for every fold.
    """
    if num_folds == 2 or len(values) == 1:
        return [values[(len(values) - 1) // 2]] * num_folds
    weights = examples.example_weights()
    parts = {pair: problem.part(pair) for pair in combinations(range(num_folds), 2)}
    latest: dict[tuple[int, int], Solved] = {}
    losses = np.full((len(values), num_folds), np.inf)
    for row, c in enumerate(values):
        losses[row] = 0.0
        for (j, k), part in parts.items():
            start = latest.get((j, k))
            latest[j, k] = part.solve(c, start=start, tolerance=tolerance, max_iterations=MAX_ITERATIONS)
            for scored, chooser in ((j, k), (k, j)):
                held_out = np.flatnonzero(fold_of == scored)
                logits = examples.logits(part, latest[j, k], held_out)
                losses[row, chooser] += weights[held_out] @ log_losses(logits, examples.targets[held_out])
        if (losses[row] > CLEARLY_WORSE * losses.min(axis=0)).all():
            break
    return [values[row] for row in losses.argmin(axis=0)]
