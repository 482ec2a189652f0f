"""From stored states to a fitted model: the part that a fit with proof and a training without share."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from regraft.backbones.backbone import Backbone
from regraft.contracts.strategy import Fitted, Problem, fitted_last
from regraft.folds import split
from regraft.identity import derive_seed
from regraft.recipe import Recipe
from regraft.strategies.probe import with_start
from regraft.values import Event, Notice
from regraft.workbench._resolve import Resolved
from regraft.workbench._states import Stored
from regraft.workbench._subject import Subject, small_validation_trains

MOST_BESIDE = 10_000
"""Examples that the probe beside a tuned model learns from, at most: it is a yardstick, and on many classes it would
otherwise take longer than the training that it is held against. Our choice."""


def problem_of(
    resolved: Resolved,
    backbone: Backbone,
    subject: Subject,
    stored: Stored,
    recipe: Recipe,
    *,
    device: str,
    folder: Path | None,
    validates: bool = True,
) -> Problem:
    """What the strategy is told; `folder` takes its checkpoints, None keeps none. Without `validates` no example is
    kept from training, as in the folds of a cross-validation, which then is about the model that is handed over."""
    validates &= resolved.named.name != "probe"
    train, val = small_validation_trains(subject.parts, validates=validates)
    problem = Problem(
        backbone=backbone,
        cut=resolved.cut,
        task=subject.task,
        states=stored.states,
        top=stored.top,
        targets=subject.targets,
        groups=subject.parts.groups,
        train=train,
        val=val,
        seed=recipe.seed,
        device=device,
        folder=folder,
        max_seconds=recipe.max_seconds or None,
    )
    return with_start(problem, resolved.strategy.needs(resolved.options))


def probe_problem_of(problem: Problem, subject: Subject) -> Generator[Event, None, Problem]:
    """The same for the linear probe beside a tuned model; says so where it learns from a sample."""
    train, every = learned_beside(subject, problem.seed), len(subject.parts.train) + len(subject.parts.val)
    if len(train) < every:
        text = f"The probe beside the model learns from {len(train):,} of {every:,} examples, drawn by class."
        yield Notice(text=text, topic="probe")
    none = np.zeros(0, dtype=np.int64)
    return replace(problem, cut="output", states=problem.top, train=train, val=none, folder=None)


def learned_beside(subject: Subject, seed: int) -> Int[np.ndarray, "n"]:
    """What the probe beside a tuned model learns from: all training and validation examples, or a sample by class."""
    train, _ = small_validation_trains(subject.parts, validates=False)
    if len(train) <= MOST_BESIDE:
        return train
    drawn, strata = derive_seed(seed, "probe", "beside"), subject.task.strata(subject.targets[train])
    sample: np.ndarray = train[split(strata, subject.parts.groups[train], MOST_BESIDE / len(train), drawn)]
    return sample


def needed_on_top(resolved: Resolved, subject: Subject, seed: int) -> Int[np.ndarray, "n"]:
    """Examples whose top states somebody asks for: every one, unless training itself never looks at them."""
    asked = resolved.strategy.needs(resolved.options).top
    if resolved.cut == "output" or resolved.views or asked or not len(subject.parts.test):
        return subject.usable
    return np.sort(np.concatenate([learned_beside(subject, seed), subject.parts.test]))


def trained(problem: Problem, resolved: Resolved, *, threads: int) -> Generator[Event, None, Fitted]:
    """Fit the strategy; says so where everything trains for a fixed number of steps."""
    if resolved.named.name != "probe":
        if problem.device == "cpu":
            import torch

            torch.set_num_threads(threads)
        if not len(problem.val):
            yield Notice(
                text="No fifty examples or more are kept to validate: everything trains, for a fixed number of steps.",
                topic="split",
            )
    return (yield from fitted_last(resolved.strategy.fit(problem, resolved.options)))
