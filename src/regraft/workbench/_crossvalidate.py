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
from regraft.folds import Folds
from regraft.identity import derive_seed
from regraft.recipe import Recipe
from regraft.strategies.probe import Options, fit, rows_of
from regraft.values import Event, Measured, Notice, Progress, drained
from regraft.words import named
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

    tested: Int[np.ndarray, "n"]
    """First repeat: which examples of `train`, by their place there, were held out."""
    logits: Shaped[np.ndarray, "n ..."]
    """First repeat: raw outputs (logits of most tasks) of each of them, by the model that never saw it."""
    metric: Metric
    """The main metric of the task."""
    scores: Float[np.ndarray, "r k"]
    """This metric by repeat and fold; nan where a repeat has fewer folds."""

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
    fewest = min(folds.num_folds for folds in dealt)
    if fewest < 3:
        if fewest:
            yield Notice(text="Too few examples or groups for a nested cross-validation.", topic="evaluation")
        return None
    targets, began = problem.targets[problem.train], time.monotonic()
    first = np.zeros((len(targets), task.num_outputs), dtype=np.float32)
    main = main_metric(task.kind)
    scores: dict[int, list[float]] = {}
    total = sum(folds.num_folds for folds in dealt)
    features, views = rows_of(problem, problem.train)
    for found in task.cross_validate(
        features,
        targets,
        views=views,
        fold_of_repeats=[folds.of_example for folds in dealt],
        c=options.c,
        balanced=options.balanced,
        max_seconds=REPEAT_SECONDS if max_seconds is None else min(REPEAT_SECONDS, max_seconds),
    ):
        if found.repeat == 0:
            first[found.examples] = found.logits
        scores.setdefault(found.repeat, []).append(main.compute(targets[found.examples], task.outputs(found.logits)))
        done = sum(map(len, scores.values()))
        yield Progress(phase="cross-validation", done=done, total=total, seconds=time.monotonic() - began)
    table = np.full((len(scores), max(map(len, scores.values()))), np.nan)
    for repeat, row in scores.items():
        table[repeat, : len(row)] = row
    tested = np.flatnonzero(dealt[0].of_example >= 0)
    return HeldOut(tested=tested, logits=first[tested], metric=main, scores=table)


def cross_validate(
    problem: Problem,
    trained: Callable[[Problem], Generator[Event, None, Fitted]],
    *,
    num_folds: int,
    refit: Refit | None = None,
) -> Generator[Event, None, HeldOut | None]:
    """One repeat of a model that is `trained` on each fold's others, on the folds of the probe's first repeat; with
    `refit` where the preparation is fitted too, without where it is the same for all folds. None where no fold can be
    tested."""
    dealt = deal(problem, num_folds, 0)
    fold_of, count = dealt.of_example, dealt.num_folds
    if not count:
        return None
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
    in_order = np.concatenate([np.flatnonzero(fold_of == fold) for fold in range(count)])
    logits = np.concatenate(raw)[np.argsort(in_order)]
    return HeldOut(tested=np.sort(in_order), logits=logits, metric=main, scores=np.array([scores]))


def deal(problem: Problem, num_folds: int, repeat: int) -> Folds:
    """The training examples in the folds of one repeat."""
    seed = derive_seed(problem.seed, "cross-validation", repeat)
    targets, groups = problem.targets[problem.train], problem.groups[problem.train]
    return problem.task.deal(targets, groups, num_folds, seed)


def untested(problem: Problem, num_folds: int, *, grouped: bool) -> str:
    """What cross-validation cannot test, and what can be claimed all the same; empty where it tests every example.

    A class (a label, a second value) that one group has alone is unknown to every model that has not seen the group.
    `grouped`: whether the user gave groups; else they are sets of near copies.
    """
    task, targets, groups = problem.task, problem.targets[problem.train], problem.groups[problem.train]
    out = deal(problem, num_folds, 0).of_example < 0
    if not out.any():
        return ""
    columns = targets[:, None] == np.arange(len(task.classes)) if task.exclusive else targets
    lost = [
        name
        for name, column in zip(task.classes, columns.T, strict=True)
        if len(np.unique(column)) > 1 and len(np.unique(column[~out])) < 2
    ]
    unit, outputs = "group" if grouped else "set of near copies", task.words().outputs.split(",")[0]
    if not out.all():
        count, what = int(out.sum()), named(lost) if lost else "what they show"
        claim = f"for the other {outputs}, and nothing for {what}" if lost else "for the others"
        return (
            f"Only one {unit} has {what}: {count} of {len(out)} examples trained in every fold and were tested in none."
            f" You can still claim the figure {claim}."
        )
    why = f"Too few {unit}s have {named(lost)}: a model that has not seen one of them cannot know what it shows."
    if task.exclusive and all(len(np.unique(groups[column])) < 2 for column in columns.T):
        why = (
            f"Groups and classes coincide: each class is one {unit}, so a model that has not seen the {unit} has never "
            "seen the class."
        )
    return (
        f"{why} No figure was made; you can still claim that the model was trained on these examples, but nothing of "
        f"how well it does on others. Add {unit}s, or leave the groups out if they do not say what belongs together."
    )
