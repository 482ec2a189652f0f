"""The main figure where the data are too small for a test part: every example judged by a model that never saw it."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.linear import linear
from regraft.contracts.metric import Metric, main_metric
from regraft.contracts.strategy import Fitted, Problem
from regraft.contracts.task import as_records
from regraft.evaluation.repeats import nadeau_bengio
from regraft.evaluation.report import as_json
from regraft.identity import derive_seed
from regraft.strategies.probe import Options, rows_of
from regraft.values import Event, Notice, Progress

Anew = Callable[[Problem, ExitStack], Generator[Event, None, Problem]]
"""(a fold's problem, what closes the states it opens) -> the same, its preparation fitted without the held-out part."""

REPEAT_SECONDS = 20.0
"""Time after which no further repeat of a probe's cross-validation begins (our choice)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Cross-validation of one model."""

    logits: np.ndarray
    """First repeat: logits (n c), or records (n), of every example of `train`, by the model that never saw it."""
    metric: Metric
    """The main metric of the task."""
    scores: Float[np.ndarray, "r k"]
    """This metric by repeat and fold."""
    fold_of: Int[np.ndarray, "n"]
    """First repeat: the fold of every example."""

    def summary(self, num_groups: int | None) -> dict[str, Any]:
        """Repeats, folds, and the main metric's mean over folds with Nadeau and Bengio's interval, as JSON."""
        repeats, count = self.scores.shape
        measured = nadeau_bengio(self.scores, bounds=self.metric.range, num_groups=num_groups)
        return {"repeats": repeats, "folds": count, "mean_of_folds": as_json(measured)}


def cross_validate_probe(
    problem: Problem, options: Options, *, num_folds: int, max_repeats: int, max_seconds: float | None
) -> Generator[Event, None, HeldOut | None]:
    """Repeated, grouped, with the regularisation chosen anew in every training part; None where folds are too few.

    What is judged is the probe that `options` ask for: its heads learn from every view of the other folds' examples,
    and are asked about plain views.
    """
    dealt = [deal(problem, num_folds, repeat) for repeat in range(max_repeats)]
    counts = {int(fold_of.max()) + 1 for fold_of in dealt}
    if min(counts) < 3:
        yield Notice(text="Too few examples or groups for a nested cross-validation.", topic="evaluation")
        return None
    targets, began, task = problem.targets[problem.train], time.monotonic(), linear(problem.task)
    first = np.zeros((len(targets), task.num_outputs), dtype=np.float32)
    main = main_metric(task.kind)
    scores: dict[int, list[float]] = {}
    total = max_repeats * num_folds
    features, views = rows_of(problem, problem.train)
    for found in task.cross_validate(
        features,
        targets,
        views=views,
        fold_of_repeats=dealt,
        c=options.c,
        balanced=options.balanced,
        max_seconds=REPEAT_SECONDS if max_seconds is None else min(REPEAT_SECONDS, max_seconds),
    ):
        if found.repeat == 0:
            first[found.examples] = found.logits
        scores.setdefault(found.repeat, []).append(main.compute(targets[found.examples], task.outputs(found.logits)))
        done = sum(map(len, scores.values()))
        yield Progress(phase="cross-validation", done=done, total=total, seconds=time.monotonic() - began)
    complete = [row for row in scores.values() if len(row) == len(scores[0])]
    return HeldOut(logits=first, metric=main, scores=np.array(complete), fold_of=dealt[0])


def cross_validate(
    problem: Problem, fit: Callable[[Problem], Iterator[Event]], *, num_folds: int, anew: Anew | None
) -> Generator[Event, None, HeldOut]:
    """One repeat of what `fit` trains, on the folds of the probe's first repeat; `anew` where the preparation is fitted
    too, None where it is the same for all folds."""
    fold_of = deal(problem, num_folds, 0)
    count = int(fold_of.max()) + 1
    targets, began = problem.targets[problem.train], time.monotonic()
    raw, main, scores = dict[int, Any](), main_metric(problem.task.kind), []
    for fold in range(count):
        held = fold_of == fold
        part = problem.part(f"fold-{fold}", train=problem.train[~held], val=np.zeros(0, dtype=np.int64))
        with ExitStack() as closing:
            part = part if anew is None else (yield from anew(part, closing))
            for event in fit(part):
                if isinstance(event, Fitted):
                    found = event.logits(part, problem.train[held])
        raw |= dict(zip(np.flatnonzero(held).tolist(), found, strict=True))
        scores.append(main.compute(targets[held], problem.task.outputs(found)))
        spent = time.monotonic() - began
        yield Progress(
            phase="cross-validation",
            done=fold + 1,
            total=count,
            seconds=spent,
            seconds_left=spent / (fold + 1) * (count - fold - 1),
            facts={main.name: scores[-1]},
        )
    in_order = [raw[at] for at in range(len(targets))]
    logits = as_records(in_order) if problem.task.answers == "records" else np.array(in_order)
    return HeldOut(logits=logits, metric=main, scores=np.array([scores]), fold_of=fold_of)


def deal(problem: Problem, num_folds: int, repeat: int) -> Int[np.ndarray, "n"]:
    """The fold of every training example in one repeat."""
    seed = derive_seed(problem.seed, "cross-validation", repeat)
    targets, groups = problem.targets[problem.train], problem.groups[problem.train]
    return problem.task.deal(targets, groups, num_folds, seed).of_example
