"""The one training loop: epochs, batches, loss, step, validation, checkpoint.

Everything random in a step (order, views, mixing, dropout) follows from the seed and the step's number, so a run that
was killed and started again goes on exactly as it would have gone.

Letters: b rows of a batch, c outputs.
"""

import platform
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft.contracts.backbone import State
from regraft.contracts.strategy import Fitted, Problem
from regraft.errors import TrainingFailed
from regraft.identity import derive_seed, digest_bytes, digest_json
from regraft.strategies._average import add_step, standing_in
from regraft.strategies._batches import epoch_draws, features, fetched, predict
from regraft.strategies._checkpoint import Checkpoint
from regraft.strategies._failure import check_losses, check_tensors
from regraft.strategies._growth import Growth
from regraft.strategies._history import CRITERION, History
from regraft.strategies._mixing import Mix
from regraft.strategies._optimiser import optimiser_of
from regraft.strategies._schedule import Schedule, rate
from regraft.strategies._seeded import seeded
from regraft.strategies._tail import Tail
from regraft.values import Event, Json, Notice, Progress

HEARTBEAT = 1.0
"""Seconds between two events inside an epoch, at least."""

Loss = Callable[[Tensor, Tensor], Tensor]
Change = Callable[[State], State]
Prepare = Callable[[], Generator[Event, None, dict[str, Any]]]


def train(
    tail: Tail,
    problem: Problem,
    groups: Sequence[Mapping[str, Any]],
    schedule: Schedule,
    *,
    settings: Json,
    prepare: Prepare,
) -> Iterator[Event]:
    """Train `tail` on `problem`, yielding `Progress` per epoch and every second, and one `Fitted` at the end.

    `groups` are parameter groups with their peak learning rates. `settings` names the run in its checkpoint. `prepare`
    gives the tail its first values, unless the run is resumed; what it returns goes into `Fitted.facts`.

    Raises:
        TrainingFailed: a loss or a tensor is not finite.
        RunError: the folder holds the checkpoint of another run.
    """
    device, began = torch.device(problem.device), time.monotonic()
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
    tail.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = optimiser_of(schedule.optimiser, groups, device)
    peaks = [group["lr"] for group in optimiser.param_groups]
    targets = torch.from_numpy(problem.task.goals(problem.targets)).to(device)
    trained_on, balanced = problem.targets[problem.train], schedule.balanced
    loss = problem.task.objective(trained_on, balanced=balanced, smoothing=schedule.smoothing)
    plain_loss = problem.task.objective(trained_on, balanced=balanced, smoothing=0.0)

    checkpoint = Checkpoint(problem.folder, _signature(problem, settings))
    history = checkpoint.load(tail, optimiser)
    if history is None:
        history = History(epochs=schedule.epochs)
        history.facts = {**(yield from prepare()), "machine": _machine(device)}
        if schedule.judge_start and len(problem.val):
            history.start = _validation(tail, problem, plain_loss, epoch=0)
            history.best = _copied(tail)
        history.seconds = time.monotonic() - began
        checkpoint.keep(tail, optimiser, history)
    else:
        yield Notice(text=f"Resumed after epoch {len(history.curve)} of {history.epochs}.", topic="resume")
    own, before, began = tail.tensors(), history.seconds, time.monotonic()

    patience, phases = schedule.patience, schedule.phases
    while not (stopped_by := history.reason_to_stop(patience, problem.max_seconds, phases)):
        epoch, losses, penalties, factor = len(history.curve), list[Tensor](), list[Tensor](), 0.0
        epoch_began = told = time.monotonic()
        twins = tail.contrast is not None
        draws = epoch_draws(problem, schedule.batch, epoch, tail.least_rows, schedule.resample, twins=twins)
        if phases:
            yield from phases.begin(tail, epoch, history.epochs)
        tail.train()
        with closing(fetched(problem.states, draws, device)) as states:
            for step, state in enumerate(states):
                done = epoch * len(draws) + step
                factor = rate(done, history.epochs * len(draws), schedule.warmup_share)
                for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                    group["lr"] = peak * factor
                rows = draws[step].examples
                mix = schedule.mixing.draw(problem.seed, done, len(rows)) if schedule.mixing else None
                change = _change(mix, schedule.growth, epoch, history.epochs)
                told_loss = mix.loss(loss) if mix else loss
                with seeded(derive_seed(problem.seed, "step", done), device):
                    total, penalty = _step(tail, optimiser, told_loss, state, targets[rows], schedule, change)
                losses.append(total)
                penalties += [] if penalty is None else [penalty]
                if schedule.average:
                    add_step(history.average, own, done, schedule.average)
                if step + 1 < len(draws) and time.monotonic() - told >= HEARTBEAT:
                    told = time.monotonic()
                    check_losses(losses[-1:], step, epoch, draws, problem)
                    yield _progress(history, done + 1, len(draws), before + told - began)
        record = {"epoch": epoch + 1.0, "loss": check_losses(losses, 0, epoch, draws, problem), "rate": factor}
        if penalties:
            record["penalty"] = float(torch.stack(penalties).double().mean())
        if phases:
            record["trained_stages"] = float(tail.awake)
        with standing_in(history.average, tail):
            if len(problem.val):
                record |= _validation(tail, problem, plain_loss, epoch + 1)
            now = time.monotonic()
            history.curve.append(record | {"seconds": now - epoch_began})
            history.seconds = before + now - began
            if len(problem.val) and history.best_epoch == epoch + 1:
                history.best = _copied(tail)
        if problem.max_seconds is not None and epoch == 0 and history.fit_into(problem.max_seconds):
            yield Notice(
                text=f"The time limit holds about {history.epochs} epochs; the rates fall along them.", topic="time"
            )
        checkpoint.keep(tail, optimiser, history)
        yield _progress(history, (epoch + 1) * len(draws), len(draws), history.seconds, record)
    checkpoint.keep(tail, optimiser, history, last=True)

    if history.start and not history.best_epoch:
        yield Notice(
            text="No epoch has a lower validation loss than the probe that training started from, so that is kept.",
            topic="training",
        )
    if phases:
        tail.wake(int(history.curve[history.best_epoch - 1]["trained_stages"]) if history.best_epoch else 0)
    tail.load(history.best or history.average)
    tail.eval()
    check_tensors(tail)
    yield Fitted(
        tensors={name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tail.tensors().items()},
        logits=lambda asked, positions: predict(tail, asked, positions),
        features=lambda asked, positions: features(tail, asked, positions),
        frozen=tail.frozen_names(),
        curve=tuple(history.curve),
        facts={
            **history.facts,
            "epochs": len(history.curve),
            "epochs_planned": history.epochs,
            "best_epoch": history.best_epoch,
            **({"start": history.start} if history.start else {}),
            "stopped_by": stopped_by,
        },
    )


def _step(
    tail: Tail,
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    state: Mapping[str, Tensor],
    targets: Tensor,
    schedule: Schedule,
    change: Change | None,
) -> tuple[Tensor, Tensor | None]:
    """One step of the optimiser; the batch's loss, side heads and regulariser included, and the regulariser's part."""
    with torch.autocast(targets.device.type, torch.bfloat16, enabled=schedule.half):
        passed = tail.passed(state, change)
        total = loss(passed.logits.float(), targets)
        for name, side in passed.sides.items():
            total = total + tail.side_weights[name] * loss(side.float(), targets)
        if tail.contrast is not None:
            total = total + tail.contrast(passed.features)
        if (penalty := tail.penalty(state, passed, targets)) is not None:
            total = total + penalty
    optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    if schedule.clip_norm:
        torch.nn.utils.clip_grad_norm_(tail.parameters(), schedule.clip_norm)
    optimiser.step()
    return total.detach(), None if penalty is None else penalty.detach()


def _change(mix: Mix | None, growth: Growth | None, epoch: int, epochs: int) -> Change | None:
    """What is done to the begun state of a batch: mixed first, then shrunken."""
    if mix is None and growth is None:
        return None

    def changed(state: State) -> State:
        state = mix.state(state) if mix else state
        return growth.shrunk(state, epoch, epochs) if growth else state

    return changed


def _copied(tail: Tail) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tail.tensors().items()}


def _validation(tail: Tail, problem: Problem, loss: Loss, epoch: int) -> dict[str, float]:
    logits, targets = predict(tail, problem, problem.val), problem.targets[problem.val]
    goals = problem.task.goals(targets)
    value = _mean(loss, logits, goals)
    if not abs(value) < float("inf"):
        raise TrainingFailed(
            f"The validation loss became {value} in epoch {epoch}.",
            fix="lower the learning rate: --set options.lr=VALUE, a tenth of what it was.",
        )
    rescaled = _mean(loss, problem.task.rescaled(logits, targets), goals)
    scores = {f"val_{name}": score for name, score in problem.task.scores(logits, targets).items()}
    return {"val_loss": value, CRITERION: rescaled} | scores


def _mean(loss: Loss, logits: np.ndarray, goals: np.ndarray) -> float:
    return float(loss(torch.from_numpy(logits), torch.from_numpy(goals)))


def _progress(
    history: History, done: int, steps: int, seconds: float, record: Mapping[str, float] | None = None
) -> Progress:
    """Steps done of all; the numbers of `record` at an epoch's end."""
    total = history.epochs * steps
    shown = {name: value for name, value in (record or {}).items() if name == "loss" or name.startswith("val_")}
    shown.pop(CRITERION, None)
    return Progress(
        phase="training",
        done=done,
        total=total,
        seconds=seconds,
        seconds_left=seconds / done * (total - done),
        facts=shown,
    )


def _machine(device: torch.device) -> str:
    """Where training began: a run that is gone on with elsewhere says so."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} {device.type}"
    return f"{name}, torch {torch.__version__}"


def _signature(problem: Problem, settings: Json) -> str:
    return digest_json(
        {
            "settings": settings,
            "backbone": problem.backbone.digest(),
            "cut": problem.cut,
            "task": [problem.task.kind, list(problem.task.classes), dict(problem.task.facts)],
            "targets": digest_bytes(problem.targets.tobytes()),
            "train": problem.train.tolist(),
            "val": problem.val.tolist(),
            "views": problem.states.num_views,
            "seed": problem.seed,
        }
    )
