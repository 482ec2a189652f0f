"""From stored states to a fitted model: the part that a fit with proof and a training without share."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from regraft.backbones.backbone import Backbone
from regraft.backbones.channels import open_for_channels
from regraft.contracts.strategy import Problem
from regraft.recipe import Recipe
from regraft.strategies.probe import with_start
from regraft.values import Event, Notice
from regraft.workbench._resolve import Resolved, named, resolve
from regraft.workbench._states import Stored
from regraft.workbench.session import Session, few_to_validate


def open_backbone(recipe: Recipe, spec: str) -> Generator[Event, None, tuple[Resolved, Backbone]]:
    """The network of the recipe's backbone, and the recipe with its names looked up for it."""
    input_px = recipe.input_px or None
    backbone = yield from open_for_channels(spec, channels=recipe.channels, input_px=input_px, seed=recipe.seed)
    resolved = resolve(recipe, named(recipe), backbone.card)
    return replace(resolved, cut=backbone.cut(resolved.cut)), backbone


def problem_of(
    session: Session,
    resolved: Resolved,
    backbone: Backbone,
    stored: Stored,
    *,
    device: str,
    threads: int,
    folder: Path | None,
) -> Generator[Event, None, Problem]:
    """What the strategy is told; `folder` takes its checkpoints, None keeps none. Says so where early stopping is off
    for want of validation examples."""
    train, val = session.learnable, np.zeros(0, dtype=np.int64)
    if resolved.validates:
        train, val = session.validated
        yield from few_to_validate(len(val))
        if device == "cpu":
            import torch

            torch.set_num_threads(threads)
    problem = Problem(
        backbone=backbone,
        cut=resolved.cut,
        task=session.task,
        states=stored.states,
        top=stored.top,
        targets=session.targets,
        groups=session.splits.groups,
        train=train,
        val=val,
        seed=session.recipe.seed,
        device=device,
        folder=folder,
        max_seconds=session.recipe.max_seconds or None,
        old=session.old,
    )
    return with_start(problem, resolved.strategy.needs(resolved.options))


def probe_problem_of(session: Session, problem: Problem) -> Generator[Event, None, Problem]:
    """The same for the linear probe that a tuned model is compared with; says so where it is solved on a sample."""
    train, every = session.beside, len(session.learnable)
    if len(train) < every:
        text = f"The probe that the model is compared with is solved on {len(train):,} of {every:,} examples, "
        yield Notice(text=text + "sampled by class.", topic="probe")
    none = np.zeros(0, dtype=np.int64)
    return replace(problem, cut="output", states=problem.top, train=train, val=none, folder=None)


def needed_on_top(session: Session, resolved: Resolved) -> Int[np.ndarray, "n"]:
    """Examples whose top states are asked for: every one, unless training itself never looks at them."""
    asked = resolved.strategy.needs(resolved.options).top
    if resolved.cut == "output" or resolved.views or asked or not session.tests:
        return session.usable
    return np.sort(np.concatenate([session.beside, session.splits.test]))
