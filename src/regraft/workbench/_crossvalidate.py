"""The main figure where the data are too small for a test split: every example judged by a model that never saw it."""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.backbones.backbone import Backbone
from regraft.contracts.linear import LinearTask, linear
from regraft.contracts.metric import Metric, main_metric
from regraft.contracts.strategy import Fitted, Problem
from regraft.evaluation.repeats import nadeau_bengio
from regraft.identity import derive_seed
from regraft.recipe import Recipe
from regraft.strategies.probe import Options, fit, rows_of
from regraft.values import Event, Measured, Notice, Progress, drained
from regraft.workbench._resolve import Resolved
from regraft.workbench._states import store_states
from regraft.workbench.session import Session, fitted_to

Refit = Callable[[Problem, ExitStack], Generator[Event, None, Problem]]
"""(a fold's problem, what closes its states) -> the same, with a preparation fitted to the fold's training examples."""

REPEAT_SECONDS = 20.0
"""Time after which no further repeat of a probe's cross-validation begins (our choice)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Cross-validation of one model."""

    logits: Shaped[np.ndarray, "n ..."]
    """First repeat: raw outputs (logits of most tasks) of every example of `train`, by the model that never saw it."""
    metric: Metric
    """The main metric of the task."""
    scores: Float[np.ndarray, "r k"]
    """This metric by repeat and fold."""
    fold_of: Int[np.ndarray, "n"]
    """First repeat: the fold of every example."""

    def mean(self, num_groups: int | None) -> Measured:
        """The metric's mean over the folds, with Nadeau and Bengio's interval."""
        return nadeau_bengio(self.scores, bounds=self.metric.range, num_groups=num_groups)


def cross_validated(
    resolved: Resolved, problem: Problem, probe_problem: Problem, recipe: Recipe, refit: Refit | None
) -> Generator[Event, None, tuple[HeldOut | None, HeldOut | None]]:
    """The model and the probe beside it on held-out folds; one and the same where the probe is the model."""
    options = resolved.options if resolved.is_probe else Options()
    probed: HeldOut | None
    if refit is None and isinstance(problem.task, LinearTask):
        probed = yield from cross_validate_probe(
            probe_problem, options, num_folds=recipe.folds, max_repeats=recipe.max_repeats,
            max_seconds=recipe.max_seconds or None,
        )  # fmt: skip
    else:  # the states, or the head, are made again in every fold, so one repeat has to do
        probed = yield from cross_validate(
            probe_problem, lambda part: fit(part, options), num_folds=recipe.folds, refit=refit
        )
    if resolved.is_probe:
        return probed, probed
    tuned = yield from cross_validate(
        problem, lambda part: resolved.strategy.fit(part, resolved.options), num_folds=recipe.folds, refit=refit
    )
    return tuned, probed


def refitting(session: Session, resolved: Resolved, backbone: Backbone, *, device: str, threads: int) -> Refit:
    """Fits the preparation to the training examples of a fold alone, and makes the fold's states with it."""

    def refit(part: Problem, closing: ExitStack) -> Generator[Event, None, Problem]:
        own, network = fitted_to(session, backbone, part.train)
        stored = yield from store_states(own, resolved, network, device=device, threads=threads)
        closing.callback(stored.close)
        states = stored.top if part.cut == "output" else stored.states
        return replace(part, backbone=network, task=own.task, states=states, top=stored.top)

    return refit


def cross_validate_probe(
    problem: Problem, options: Options, *, num_folds: int, max_repeats: int, max_seconds: float | None
) -> Generator[Event, None, HeldOut | None]:
    """Repeated, grouped, with the regularisation chosen again in every training split; None where folds are too few.

    What is judged is the probe that `options` ask for: its heads learn from every view of the other folds' examples,
    and are asked about plain views.
    """
    task = linear(problem.task)
    dealt = [deal(problem, num_folds, repeat) for repeat in range(max_repeats)]
    counts = {int(fold_of.max()) + 1 for fold_of in dealt}
    if min(counts) < 3:
        yield Notice(text="Too few examples or groups for a nested cross-validation.", topic="evaluation")
        return None
    targets, began = problem.targets[problem.train], time.monotonic()
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
    problem: Problem,
    trained: Callable[[Problem], Generator[Event, None, Fitted]],
    *,
    num_folds: int,
    refit: Refit | None = None,
) -> Generator[Event, None, HeldOut]:
    """One repeat of a model that is `trained` on each fold's others, on the folds of the probe's first repeat; with
    `refit` where the preparation is fitted too, without where it is the same for all folds."""
    fold_of = deal(problem, num_folds, 0)
    count = int(fold_of.max()) + 1
    targets, began = problem.targets[problem.train], time.monotonic()
    raw, main, scores = list[np.ndarray](), main_metric(problem.task.kind), []
    for fold in range(count):
        held = fold_of == fold
        part = problem.part(f"fold-{fold}", train=problem.train[~held], val=np.zeros(0, dtype=np.int64))
        with ExitStack() as closing:
            part = part if refit is None else (yield from refit(part, closing))
            found = drained(trained(part)).logits(part, problem.train[held])
        raw.append(found)
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
    dealt = np.concatenate([np.flatnonzero(fold_of == fold) for fold in range(count)])
    return HeldOut(
        logits=np.concatenate(raw)[np.argsort(dealt)], metric=main, scores=np.array([scores]), fold_of=fold_of
    )


def deal(problem: Problem, num_folds: int, repeat: int) -> Int[np.ndarray, "n"]:
    """The fold of every training example in one repeat."""
    seed = derive_seed(problem.seed, "cross-validation", repeat)
    targets, groups = problem.targets[problem.train], problem.groups[problem.train]
    return problem.task.deal(targets, groups, num_folds, seed).of_example
