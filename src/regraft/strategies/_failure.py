"""What to say when numbers run away."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from regraft.contracts.strategy import Problem
from regraft.errors import TrainingFailed
from regraft.strategies._batches import Draw
from regraft.strategies._tail import Tail

LOWER = "lower the learning rate: --set options.lr=VALUE, a tenth of what it was."


def check_losses(losses: Sequence[Tensor], first: int, epoch: int, draws: Sequence[Draw], problem: Problem) -> float:
    """The mean of the losses of the steps from `first` on.

    Raises:
        TrainingFailed: one is not finite; where the inputs of its batch are not, the message says which.
    """
    values = torch.stack(list(losses)).double().cpu().numpy()
    if np.isfinite(values).all():
        return float(values.mean())
    step = first + int(np.flatnonzero(~np.isfinite(values))[0])
    bad = _not_finite(problem, draws[step])
    if bad:
        raise TrainingFailed(
            f"The activations at cut {problem.cut!r} are not finite for the example(s) at position {bad}.",
            fix="keep activations in float32 (--set dtype=float32); if that is so already, leave these examples out.",
        )
    raise TrainingFailed(
        f"The training loss became {values[step - first]} in step {step + 1} of epoch {epoch + 1}.", fix=LOWER
    )


def check_tensors(tail: Tail) -> None:
    """Raises: TrainingFailed: a tensor of `tail` is not finite; it is named."""
    for name, tensor in tail.tensors().items():
        if not bool(torch.isfinite(tensor).all()):
            raise TrainingFailed(f"After the last step the tensor {name} is not finite.", fix=LOWER)


def _not_finite(problem: Problem, draw: Draw) -> str:
    """Up to five positions of examples whose states are not finite; empty where all are."""
    arrays = problem.states.batch(draw.examples, draw.views)
    bad = np.zeros(len(draw.examples), dtype=bool)
    for array in arrays.values():
        if array.dtype.kind == "f" and len(array) == len(bad):
            bad |= ~np.isfinite(array.reshape(len(bad), -1)).all(axis=1)
    found = draw.examples[bad]
    return ", ".join(map(str, found[:5])) + (" …" if len(found) > 5 else "")
