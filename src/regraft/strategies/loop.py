"""The training loop of all strategies that train iteratively: epochs, batches, loss, step, validation, checkpoint.

A *strategy* decides how a network is adapted to a task. To add one, put a file in `strategies/` that defines `ENTRY`, a
`Strategy` with a `fit` function (`contracts/strategy.py`), and its named `PRESETS`: `finetune.py` has `partial`, `full`
and others. Its `fit` builds the tail and calls `train`; `probe.py` solves a convex problem instead.

All randomness in a step (order, views, mixing, dropout) is derived from the seed and the step number, so that an
interrupted run, resumed, gives the same result as an uninterrupted one.
"""

import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from regraft.contracts.backbone import State
from regraft.contracts.strategy import Fitted, Problem
from regraft.identity import derive_seed
from regraft.strategies import _steps
from regraft.strategies._checkpoint import Checkpoint, begun, check_losses, finished, signature_of, validation
from regraft.strategies.tail import Batch, Change, Loss, Tail
from regraft.strategies.training import Training, groups_of
from regraft.values import Event, Notice

HEARTBEAT = 1.0
"""Minimum number of seconds between two progress events within an epoch."""


def train(
    tail: Tail, problem: Problem, options: Training, schedule: _steps.Schedule, *, strategy: str
) -> Generator[Event, None, Fitted]:
    """Train `tail` on `problem` and return the model of the best epoch. Yields `Progress` every epoch and every second.

    The checkpoint is tied to `strategy` and `options`: a run with others cannot resume from it.

    Raises:
        TrainingFailed: a loss or a tensor is not finite.
        RunError: the folder holds the checkpoint of another run.
    """
    device, unfreezing = _steps.placed(tail, problem), schedule.unfreezing
    optimiser = _steps.optimiser_of(options.optimiser, groups_of(tail, options), device)
    loss, plain_loss = (  # for training, and for validation, where label smoothing would only hide progress
        problem.task.objective(problem.targets[problem.train], balanced=options.balanced, smoothing=smoothing)
        for smoothing in (options.smoothing, 0.0)
    )
    # A resumed run loads weights, optimiser and history from its checkpoint; a new run initialises them.
    checkpoint = Checkpoint(problem.folder, signature_of(problem, {"strategy": strategy, **asdict(options)}))
    history = yield from begun(checkpoint, tail, optimiser, problem, options, plain_loss, schedule.epochs)
    own, before, began = tail.tensors(), history.seconds, time.monotonic()

    while not (stopped_by := history.reason_to_stop(options.patience, problem.max_seconds, unfreezing)):
        epoch, factor, found = len(history.curve), 0.0, defaultdict[str, list[Tensor]](list)
        epoch_began = told = time.monotonic()
        # An epoch's batches depend on its number only, not on earlier draws, so that a resumed run repeats them.
        draws = _steps.epoch_draws(problem, options.batch, epoch, tail.min_rows)
        if unfreezing:
            yield from unfreezing.begin(tail, epoch, history.epochs)
        tail.train()
        with closing(_steps.fetched(problem.states, draws, device)) as states:
            for step, state in enumerate(states):
                done = epoch * len(draws) + step
                # The learning-rate schedule spans the planned epochs, whose number a time limit may have reduced.
                factor = _steps.rate(done, history.epochs * len(draws), options.warmup_share)
                for group in optimiser.param_groups:
                    group["lr"] = group["peak"] * factor
                rows, targets = draws[step].examples, _steps.encoded(problem, draws[step], device)
                mix = schedule.mixing.draw(problem.seed, done, len(rows)) if schedule.mixing else None
                change, step_loss = (mix.state, mix.loss(loss)) if mix else (None, loss)
                with _steps.seeded(derive_seed(problem.seed, "step", done), device):
                    added = _step(tail, optimiser, step_loss, state, targets, change, options, schedule)
                for name, value in added.items():  # tensors: reading their values would stall a GPU at every step
                    found[name].append(value)
                if options.ema:
                    _steps.add_step(history.ema, own, done, options.ema)
                if step + 1 < len(draws) and time.monotonic() - told >= HEARTBEAT:
                    told = time.monotonic()
                    check_losses(found["loss"][-1:], step, epoch, draws, problem)
                    yield from history.progress(done + 1, len(draws), before + told - began)
        check_losses(found["loss"], 0, epoch, draws, problem)
        means = {name: float(torch.stack(values).double().mean()) for name, values in found.items()}
        measured = {"epoch": epoch + 1.0, **means, "learning_rate_factor": factor}
        measured |= {"trained_stages": float(tail.unfrozen)} if unfreezing else {}
        with _steps.standing_in(history.ema, tail):  # validate the EMA weights, which are saved; training uses the raw
            measured |= validation(tail, problem, plain_loss, epoch + 1)
            now = time.monotonic()
            history.add(measured | {"seconds": now - epoch_began}, before + now - began, tail)
        # The first epoch shows what one costs. Replan, so that learning rates decay to zero within the time limit.
        if problem.max_seconds is not None and epoch == 0 and history.fit_into(problem.max_seconds):
            text = f"The time limit allows about {history.epochs} epochs; the learning rates decay over these."
            yield Notice(text=text, topic="time")
        checkpoint.keep(tail, optimiser, history)
        yield from history.progress((epoch + 1) * len(draws), len(draws), history.seconds, measured)
    _steps.keep_memory(training=False)
    checkpoint.keep(tail, optimiser, history, last=True)  # resuming a finished run returns at once
    return (yield from finished(tail, history, unfreezing, stopped_by))


def _step(
    tail: Tail, optimiser: torch.optim.Optimizer, loss: Loss, state: State, targets: Any, change: Change | None,
    options: Training, schedule: _steps.Schedule,
) -> dict[str, Tensor]:  # fmt: skip
    """Take one optimiser step. Returns the total `loss`, including side heads and extra terms, and each extra term."""
    with torch.autocast(next(tail.parameters()).device.type, torch.bfloat16, enabled=schedule.bf16):
        passed = tail.passed(state, change, targets)
        total = loss(_steps.in_tree(passed.logits, torch.Tensor.float), targets)
        for name, side in passed.sides.items():
            total = total + tail.side_weights[name] * loss(side.float(), targets)
        batch = Batch(state=state, passed=passed, targets=targets, loss=loss)
        terms = {name: term(tail, batch) for name, term in tail.terms.items()}
        total = sum(terms.values(), start=total)
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    if options.watch_gradients:
        terms |= tail.gradients()
    if options.clip_norm:
        torch.nn.utils.clip_grad_norm_(tail.parameters(), options.clip_norm)
    optimiser.step()
    return {name: value.detach() for name, value in ({"loss": total} | terms).items()}
