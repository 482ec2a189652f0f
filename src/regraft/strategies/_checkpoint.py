"""Checkpoints of training runs: the history, and the file that holds it, written atomically. No pickle: safetensors.

The file records the run it belongs to; that of another run is rejected. Writing may take at most a twentieth of the
time: if epochs are short, several pass between two checkpoints. A resumed run repeats them exactly, since an
epoch depends only on the state at the end of the one before.
"""

import json
import platform
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from regraft.contracts.strategy import Fitted, Problem
from regraft.errors import RunError, TrainingFailed
from regraft.files import atomic
from regraft.identity import digest_bytes, digest_json
from regraft.records import to_json
from regraft.strategies._steps import Draw, Unfreezing, evaluated, features, predict
from regraft.strategies.tail import Loss, Tail
from regraft.strategies.training import Training, first_values
from regraft.values import Event, Json, Notice, Plan, Progress

INTERVAL = 20.0
"""Minimum number of seconds between two checkpoints."""
SHARE = 20.0
"""Minimum time between two, relative to the time it took to write one."""
CRITERION = "val_loss_rescaled"
"""Criterion for the epoch to keep: the validation loss after the optimal temperature. Overtrained models become
overconfident long before their predictions get worse; the plain loss would stop there, although calibration corrects it
afterwards. Source: Berta et al. 2025, arXiv:2501.19195 (refine, then calibrate); docs/results/criterion.md."""
LOWER = "lower the learning rate to a tenth: --set options.lr=VALUE."


@dataclass(kw_only=True)
class History:
    """State of a run besides the weights and the optimiser."""

    epochs: int
    """Epochs planned; a time limit may reduce them."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts determined before the first epoch, as JSON."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """Losses and metrics, one mapping per finished epoch."""
    start: dict[str, float] = field(default_factory=dict)
    """Validation before the first epoch if training starts from a complete model (a solved head); else empty."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """The tail's tensors at the lowest validation loss; empty without validation examples."""
    ema: dict[str, Tensor] = field(default_factory=dict)
    """The EMA of the tail's tensors over the steps so far, if enabled; else empty."""
    seconds: float = 0.0
    """Wall-clock seconds up to the end of the last epoch, without interruptions."""
    setup: float = 0.0
    """The part of `seconds` before the first step."""
    validated: float = 0.0
    """Examples validated in an epoch, per training example."""
    first: tuple[int, float] | None = None
    """Steps and seconds at the first progress report of this process: its first steps are slower than the rest."""
    planned: bool = False
    """Whether this process has reported its `Plan`."""

    @property
    def best_epoch(self) -> int:
        """Epoch, counted from 1, with the lowest validation loss after rescaling (the first of equals); without
        validation the last one. 0 is the start, if it was validated."""
        if not self.curve or CRITERION not in self.curve[0]:
            return len(self.curve)
        losses = {number: measured[CRITERION] for number, measured in enumerate(self.curve, 1)}
        if self.start:
            losses = {0: self.start[CRITERION], **losses}
        return min(losses, key=losses.__getitem__)

    def add(self, measured: dict[str, float], seconds: float, tail: Tail) -> None:
        """Record the end of an epoch, `seconds` after the start of the run; keep the tail if it was validated and is
        the best so far."""
        self.curve.append(measured)
        self.seconds = seconds
        if CRITERION in measured and self.best_epoch == len(self.curve):
            self.best = copied(tail)

    def reason_to_stop(self, patience: int, max_seconds: float | None, unfreezing: Unfreezing | None = None) -> str:
        """Return `finished`, `patience` or `time`; empty if another epoch is due, as the first always is. Patience
        counts from the best epoch, or from the start of the last phase if that is later."""
        done = len(self.curve)
        if done >= self.epochs:
            return "finished"
        if patience and done - max(self.best_epoch, unfreezing.last(self.epochs) if unfreezing else 0) >= patience:
            return "patience"
        if max_seconds is not None and done:
            usual = sum(measured["seconds"] for measured in self.curve) / done
            return "time" if self.seconds + usual > max_seconds else ""
        return ""

    def fit_into(self, max_seconds: float) -> bool:
        """After the first epoch, plan as many epochs as fit in nine tenths of the time left; return True if fewer."""
        more = int(0.9 * (max_seconds - self.seconds) / max(self.curve[0]["seconds"], 1e-9))
        fewer = 1 + max(0, more) < self.epochs
        self.epochs = min(self.epochs, 1 + max(0, more))
        return fewer

    def progress(
        self, done: int, steps: int, seconds: float, measured: Mapping[str, float] | None = None
    ) -> Iterator[Event]:
        """Return the progress: `done` of all steps, with `steps` per epoch, and the numbers of `measured` at the end of
        an epoch. The second time also return the `Plan`: the time so far, and an estimate for the remaining steps from
        those since the first report."""
        total, (before, then) = self.epochs * steps, self.first or (0, self.setup)
        left = (seconds - then) / (done - before) * (total - done)
        if self.first is None:
            self.first = done, seconds
        elif not self.planned and done < total:
            self.planned = True
            # No epoch was validated yet? A pass without gradients takes about a third of a step.
            planned = left if self.curve else left * (1 + self.validated / 3)
            yield Plan(phase="training", examples=0, bytes_needed=0, bytes_free=0, seconds=seconds + planned)
        shown = {name: value for name, value in (measured or {}).items() if name == "loss" or name.startswith("val_")}
        shown.pop(CRITERION, None)
        yield Progress(phase="training", done=done, total=total, seconds=seconds, seconds_left=left, facts=shown)


def finished(
    tail: Tail, history: History, unfreezing: Unfreezing | None, stopped_by: str
) -> Generator[Event, None, Fitted]:
    """Return the model of the best epoch.

    Raises:
        TrainingFailed: a tensor is not finite; the message names it.
    """
    best = history.best_epoch
    if history.start and not best:
        yield Notice(
            text="No epoch has a lower validation loss than the probe that training started from, so the probe is "
            "kept.",
            topic="training",
        )
    if unfreezing:  # stages that were still frozen in the kept epoch count as frozen, whatever came later
        tail.unfreeze(int(history.curve[best - 1]["trained_stages"]) if best else 0)
    tail.load(history.best or history.ema)
    tail.eval()
    for name, tensor in tail.tensors().items():
        if not bool(torch.isfinite(tensor).all()):
            raise TrainingFailed(f"The tensor {name} is not finite after the last step.", fix=LOWER)
    return Fitted(
        tensors=arrays_of(tail),
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


def fitted_of(tail: Tail, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Fitted:
    """Return the model with these tensors, after no steps."""
    tail.load({name: torch.from_numpy(array) for name, array in tensors.items()})
    tail.eval()
    return Fitted(
        tensors=arrays_of(tail),
        logits=lambda asked, positions: predict(tail, asked, positions),
        features=lambda asked, positions: features(tail, asked, positions),
        frozen=tail.frozen_names(),
        facts=facts,
    )


def copied(tail: Tail) -> dict[str, Tensor]:
    """Return a copy of the tail's current tensors."""
    return {name: tensor.detach().clone() for name, tensor in tail.tensors().items()}


def arrays_of(tail: Tail) -> dict[str, np.ndarray]:
    """Return the tail's tensors as numpy arrays."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tail.tensors().items()}


class Checkpoint:
    """The checkpoint of the run with this `signature` in `folder`; if `folder` is None, nothing is saved."""

    def __init__(self, folder: Path | None, signature: str) -> None:
        self._path = None if folder is None else folder / "checkpoint.safetensors"
        self._signature = signature
        self._written, self._cost = time.monotonic(), 0.0
        self._epochs_kept = -1

    def load(self, tail: Tail, optimiser: torch.optim.Optimizer) -> History | None:
        """Restore the saved state of tail and optimiser; return None if there is none.

        Raises:
            RunError: the file belongs to another run, or cannot be read.
        """
        if self._path is None or not self._path.is_file():
            return None
        try:
            with safe_open(self._path, "pt") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise RunError(
                f"The checkpoint {self._path} cannot be read ({error}).", fix="delete it to restart training."
            ) from error
        if facts.pop("signature") != self._signature:
            raise RunError(
                f"The checkpoint {self._path} belongs to a run with different settings, data or weights.",
                fix="resume with the original recipe, or start in another --out folder.",
            )
        tail.load_state_dict(_without_prefix("tail", tensors))
        _load_optimiser(optimiser, _without_prefix("optimiser", tensors))
        self._epochs_kept = len(facts["curve"])
        best, ema = (_without_prefix(name, tensors) for name in ("best", "ema"))
        return History(**facts, best=best, ema=ema)

    def keep(self, tail: Tail, optimiser: torch.optim.Optimizer, history: History, *, last: bool = False) -> None:
        """Write the state at the end of an epoch if it is due, and always at the `last`.

        Raises:
            OutOfSpace: the disk is full.
        """
        began = time.monotonic()
        due = last or began - self._written >= max(INTERVAL, SHARE * self._cost)
        if self._path is None or not due or self._epochs_kept == len(history.curve):
            return
        tensors = {
            **_prefixed("tail", tail.state_dict()),
            **_prefixed("optimiser", _optimiser_tensors(optimiser)),
            **_prefixed("best", history.best),
            **_prefixed("ema", history.ema),
        }
        names = ("epochs", "facts", "start", "curve", "seconds")
        facts = {"signature": self._signature, **{name: getattr(history, name) for name in names}}
        arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
        data = save(arrays, {"facts": json.dumps(facts)})
        with atomic(self._path) as file:
            file.write(data)
        self._written, self._epochs_kept = time.monotonic(), len(history.curve)
        self._cost = self._written - began


def begun(
    checkpoint: Checkpoint,
    tail: Tail,
    optimiser: torch.optim.Optimizer,
    problem: Problem,
    options: Training,
    loss: Loss,
    epochs: int,
) -> Generator[Event, None, History]:
    """Return the history of a run: from its checkpoint, which also restores weights and optimiser; or a new one with
    this number of epochs, after initialising the tail. If the initial tail is a complete model (the solved probe), it
    is validated like an epoch, because training may make it worse."""
    history, began = checkpoint.load(tail, optimiser), time.monotonic()
    validated = len(problem.val) / len(problem.train)
    if history is not None:
        history.validated = validated
        yield Notice(text=f"Resumed after epoch {len(history.curve)} of {history.epochs}.", topic="resume")
        return history
    facts = yield from first_values(tail, problem, options)
    machine = machine_of(torch.device(problem.device))
    history = History(epochs=epochs, validated=validated, facts={**facts, "machine": machine})
    if options.init == "probe" and len(problem.val):
        history.start, history.best = validation(tail, problem, loss, epoch=0), copied(tail)
    history.seconds = history.setup = time.monotonic() - began
    checkpoint.keep(tail, optimiser, history)
    return history


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state by `parameter/name`, with parameters numbered in order."""
    state = optimiser.state_dict()["state"]
    return {
        f"{index}/{name}": torch.as_tensor(value) for index, slots in state.items() for name, value in slots.items()
    }


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state from `_optimiser_tensors`, each tensor in the memory order of its parameter."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition("/")
        parameter = parameters[int(index)].detach()
        like = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
        state.setdefault(int(index), {})[name] = like
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}:{name}": tensor for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}:"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def signature_of(problem: Problem, settings: Json) -> str:
    """Return a digest that identifies a run: of its settings, weights, cut, task, data and seed."""
    return digest_json(
        {
            "settings": settings,
            "backbone": problem.backbone.digest(),
            "cut": problem.cut,
            "task": [problem.task.kind, list(problem.task.classes), dict(problem.task.facts)],
            "targets": _digest_of(problem.targets),
            "train": problem.train.tolist(),
            "val": problem.val.tolist(),
            "views": problem.states.num_views,
            "seed": problem.seed,
        }
    )


def _digest_of(targets: np.ndarray) -> str:
    """Return a digest of the bytes of numbers, or of the JSON of structured targets."""
    if targets.dtype != np.dtype(object):
        return digest_bytes(targets.tobytes())
    return digest_json(to_json(list(targets)))


def machine_of(device: torch.device) -> str:
    """Return a description of the machine: a run that is resumed on another one reports it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} {device.type}"
    return f"{name}, torch {torch.__version__}"


def validation(tail: Tail, problem: Problem, loss: Loss, epoch: int) -> dict[str, float]:
    """Return the loss, the criterion for the epoch to keep, and the task's scores on the validation examples; empty
    if there are none.

    Raises:
        TrainingFailed: the loss is not finite.
    """
    if not len(problem.val):
        return {}
    task, targets = problem.task, problem.targets[problem.val]
    raw, mean_loss = evaluated(tail, problem, problem.val, loss if task.answers == "structured" else None)
    value, criterion = task.judged(raw, targets, mean_loss, loss)
    if not abs(value) < float("inf"):
        raise TrainingFailed(f"The validation loss became {value} in epoch {epoch}.", fix=LOWER)
    scores = {f"val_{name}": score for name, score in task.scores(raw, targets).items()}
    return {"val_loss": value, CRITERION: criterion} | scores


def check_losses(losses: Sequence[Tensor], first: int, epoch: int, draws: Sequence[Draw], problem: Problem) -> None:
    """Check the losses of the steps from `first` on.

    Raises:
        TrainingFailed: one is not finite; if inputs of its batch are not, the message names them.
    """
    values = torch.stack(list(losses)).double().cpu().numpy()
    if np.isfinite(values).all():
        return
    step = first + int(np.flatnonzero(~np.isfinite(values))[0])
    bad = _not_finite(problem, draws[step])
    if bad:
        raise TrainingFailed(
            f"The activations at cut {problem.cut!r} are not finite for the example(s) at position {bad}.",
            fix="store activations in float32 (--set dtype=float32); if they already are, leave out these examples.",
        )
    raise TrainingFailed(
        f"The training loss became {values[step - first]} in step {step + 1} of epoch {epoch + 1}.", fix=LOWER
    )


def _not_finite(problem: Problem, draw: Draw) -> str:
    """Return up to five positions of examples whose states are not finite; empty if all are."""
    arrays = problem.states.batch(draw.examples, draw.views)
    bad = np.zeros(len(draw.examples), dtype=bool)
    for array in arrays.values():
        if array.dtype.kind == "f" and len(array) == len(bad):
            bad |= ~np.isfinite(array.reshape(len(bad), -1)).all(axis=1)
    found = draw.examples[bad]
    return ", ".join(map(str, found[:5])) + (" …" if len(found) > 5 else "")
