"""The one training loop: epochs, batches, loss, step, validation, checkpoint.

Everything random in a step (order, views, mixing, dropout) follows from the seed and the step's number, so a run that
was killed and started again goes on exactly as it would have gone.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from regraft.contracts.strategy import Fitted, Problem
from regraft.identity import derive_seed
from regraft.strategies import _checkpoint as kept
from regraft.strategies._batches import encoded, epoch_draws, features, fetched, in_tree, predict
from regraft.strategies._checkpoint import Checkpoint, History, check_losses, validation
from regraft.strategies._steps import Schedule, add_step, optimiser_of, rate, seeded, standing_in
from regraft.strategies.tail import Batch, Change, Loss, Tail
from regraft.values import Event, Json, Notice

HEARTBEAT = 1.0
"""Seconds between two events inside an epoch, at least."""

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
        torch.backends.cudnn.deterministic = True  # same seed, same weights
    tail.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if problem.task.generates:
        for part in tail.network.modules():  # the frozen stages are run as well
            part.to(device)
    optimiser = optimiser_of(schedule.optimiser, groups, device)
    peaks = [group["lr"] for group in optimiser.param_groups]
    trained_on, balanced = problem.targets[problem.train], schedule.balanced
    loss = problem.task.objective(trained_on, balanced=balanced, smoothing=schedule.smoothing)
    plain_loss = problem.task.objective(trained_on, balanced=balanced, smoothing=0.0)  # smoothing only hides progress

    # A resumed run takes weights, optimiser and history from its checkpoint. A new one is given its first values, and
    # where these are a model already (the solved probe), it is validated like an epoch: training may make it worse.
    checkpoint = Checkpoint(problem.folder, kept.signature_of(problem, settings))
    history = checkpoint.load(tail, optimiser)
    if history is None:
        history = History(epochs=schedule.epochs)
        history.facts = {**(yield from prepare()), "machine": kept.machine_of(device)}
        if schedule.judge_start and len(problem.val):
            history.start = validation(tail, problem, plain_loss, epoch=0)
            history.best = _copied(tail)
        history.seconds = time.monotonic() - began
        checkpoint.keep(tail, optimiser, history)
    else:
        yield Notice(text=f"Resumed after epoch {len(history.curve)} of {history.epochs}.", topic="resume")
    own, before, began = tail.tensors(), history.seconds, time.monotonic()

    phases = schedule.phases
    while not (stopped_by := history.reason_to_stop(schedule.patience, problem.max_seconds, phases)):
        epoch, factor = len(history.curve), 0.0
        losses, terms = list[Tensor](), dict[str, list[Tensor]]()
        epoch_began = told = time.monotonic()
        # The epoch's batches follow from its number alone, never from what was drawn before: that is what lets a
        # resumed run repeat them.
        draws = schedule.draws(epoch) if schedule.draws else epoch_draws(problem, schedule.batch, epoch, tail.min_rows)
        if phases:
            yield from phases.begin(tail, epoch, history.epochs)
        tail.train()
        with closing(fetched(problem.states, draws, device)) as states:
            for step, state in enumerate(states):
                done = epoch * len(draws) + step
                # Learning rates fall along the epochs planned, which a time limit may have lowered meanwhile.
                factor = rate(done, history.epochs * len(draws), schedule.warmup_share)
                for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                    group["lr"] = peak * factor
                rows, targets = draws[step].examples, encoded(problem, draws[step], device)
                mix = schedule.mixing.draw(problem.seed, done, len(rows)) if schedule.mixing else None
                change, step_loss = schedule.changing(mix, epoch, history.epochs), mix.loss(loss) if mix else loss
                with seeded(derive_seed(problem.seed, "step", done), device):
                    total, added = _step(tail, optimiser, step_loss, state, targets, schedule, change)
                losses.append(total)  # tensors: asking for numbers here would make a GPU wait at every step
                for name, term in added.items():
                    terms.setdefault(name, []).append(term)
                if schedule.ema:
                    add_step(history.ema, own, done, schedule.ema)
                if step + 1 < len(draws) and time.monotonic() - told >= HEARTBEAT:
                    told = time.monotonic()
                    check_losses(losses[-1:], step, epoch, draws, problem)
                    yield history.progress(done + 1, len(draws), before + told - began)
        record = {"epoch": epoch + 1.0, "loss": check_losses(losses, 0, epoch, draws, problem)}
        record |= {"learning_rate_factor": factor}
        record |= {name: float(torch.stack(values).double().mean()) for name, values in terms.items()}
        if phases:
            record["trained_stages"] = float(tail.unfrozen)
        with standing_in(history.ema, tail):  # what will be kept is what is validated; training goes on without it
            if len(problem.val):
                record |= validation(tail, problem, plain_loss, epoch + 1)
            now = time.monotonic()
            history.curve.append(record | {"seconds": now - epoch_began})
            history.seconds = before + now - began
            if len(problem.val) and history.best_epoch == epoch + 1:
                history.best = _copied(tail)
        # The first epoch tells what one costs. Rates then fall to zero within the limit, instead of being cut off high.
        if problem.max_seconds is not None and epoch == 0 and history.fit_into(problem.max_seconds):
            text = f"The time limit holds about {history.epochs} epochs; the learning rates fall along them."
            yield Notice(text=text, topic="time")
        checkpoint.keep(tail, optimiser, history)
        yield history.progress((epoch + 1) * len(draws), len(draws), history.seconds, record)
    checkpoint.keep(tail, optimiser, history, last=True)  # a finished run that is started again ends at once

    best = history.best_epoch
    if history.start and not best:
        yield Notice(
            text="No epoch has a lower validation loss than the probe that training started from, so that is kept.",
            topic="training",
        )
    if phases:  # stages that were still frozen in the kept epoch count as frozen, whatever came later
        tail.unfreeze(int(history.curve[best - 1]["trained_stages"]) if best else 0)
    tail.load(history.best or history.ema)
    tail.eval()
    kept.check_tensors(tail)
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
            "best_epoch": best,
            **({"start": history.start} if history.start else {}),
            "stopped_by": stopped_by,
        },
    )


def _step(
    tail: Tail,
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    state: Mapping[str, Tensor],
    targets: Any,
    schedule: Schedule,
    change: Change | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One step of the optimiser; the batch's loss, side heads and terms included, and of it each term."""
    with torch.autocast(next(tail.parameters()).device.type, torch.bfloat16, enabled=schedule.bf16):
        passed = tail.passed(state, change)
        total = loss(in_tree(passed.logits, torch.Tensor.float), targets)
        for name, side in passed.sides.items():
            total = total + tail.side_weights[name] * loss(side.float(), targets)
        batch = Batch(state=state, passed=passed, targets=targets, loss=loss)
        terms = {name: term(tail, batch) for name, term in tail.terms.items()}
        for term in terms.values():
            total = total + term
    optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    if schedule.clip_norm:
        torch.nn.utils.clip_grad_norm_(tail.parameters(), schedule.clip_norm)
    optimiser.step()
    return total.detach(), {name: term.detach() for name, term in terms.items()}


def _copied(tail: Tail) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tail.tensors().items()}
