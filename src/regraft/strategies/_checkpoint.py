"""The state of a training run at an epoch's end, in one file that is whole or absent. No pickle: safetensors.

The file also says which run it belongs to; another run's is refused. Writing it may take no more than a twentieth of
the time: where epochs are short, several pass between two checkpoints, and since what follows an epoch is a function
of its end, a resumed run repeats them exactly.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from regraft.errors import RunError
from regraft.files import atomic
from regraft.strategies._history import History
from regraft.strategies._tail import Tail

INTERVAL = 20.0
"""Seconds between two checkpoints, at least."""
SHARE = 20.0
"""How many times longer than writing one took, at least."""


class Checkpoint:
    """The checkpoint of the run called `signature` in `folder`; where that is None, nothing is kept."""

    def __init__(self, folder: Path | None, signature: str) -> None:
        self._path = None if folder is None else folder / "checkpoint.safetensors"
        self._signature = signature
        self._written, self._cost = time.monotonic(), 0.0
        self._epochs_kept = -1

    def load(self, tail: Tail, optimiser: torch.optim.Optimizer) -> History | None:
        """Put tail and optimiser back into the state that was kept; None, and nothing done, where none was.

        Raises:
            RunError: the file is another run's, or cannot be read.
        """
        if self._path is None or not self._path.is_file():
            return None
        try:
            with safe_open(self._path, "pt") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise RunError(
                f"The checkpoint {self._path} cannot be read ({error}).", fix="delete it; training then starts anew."
            ) from error
        if facts.pop("signature") != self._signature:
            raise RunError(
                f"The checkpoint {self._path} belongs to a run with other settings, data or weights.",
                fix="resume with the recipe it was started with, or start in another --out folder.",
            )
        tail.load_state_dict(_without_prefix("tail", tensors))
        _load_optimiser(optimiser, _without_prefix("optimiser", tensors))
        self._epochs_kept = len(facts["curve"])
        best, average = (_without_prefix(name, tensors) for name in ("best", "average"))
        return History(**facts, best=best, average=average)

    def keep(self, tail: Tail, optimiser: torch.optim.Optimizer, history: History, *, last: bool = False) -> None:
        """Write the state at an epoch's end if it is time, or in any case if it is the `last`.

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
            **_prefixed("average", history.average),
        }
        facts = {
            "signature": self._signature,
            "epochs": history.epochs,
            "facts": history.facts,
            "start": history.start,
            "curve": history.curve,
            "seconds": history.seconds,
        }
        arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
        data = save(arrays, {"facts": json.dumps(facts)})
        with atomic(self._path) as file:
            file.write(data)
        self._written, self._epochs_kept = time.monotonic(), len(history.curve)
        self._cost = self._written - began


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Its state by `parameter/name`, parameters numbered in order."""
    state = optimiser.state_dict()["state"]
    return {
        f"{index}/{name}": torch.as_tensor(value) for index, slots in state.items() for name, value in slots.items()
    }


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Take over what `_optimiser_tensors` gave, each tensor in the memory order of its parameter."""
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
