"""The average of a run's weights, each step's counting less the longer it is past; it often answers better than any
one step's weights.

After step t (from 0) the average is d a + (1 - d) w, where w are the step's weights and d the lower of the decay asked
for and (1 + t) / (10 + t), so that a short run forgets where it began. Batch norm's statistics are averaged with the
weights that they were measured for; whole numbers are taken over as they are.

Sources: Polyak & Juditsky 1992, doi:10.1137/0330046 (averaging); Tarvainen & Valpola 2017, arXiv:1703.01780 (the
exponential form on networks); Izmailov et al. 2018, arXiv:1803.05407 (why it helps: wider optima). The rising decay
is that of TensorFlow's ExponentialMovingAverage.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from regraft.strategies._tail import Tail


def decay_at(step: int, decay: float) -> float:
    """The share that the average so far keeps at `step`, counted from 0."""
    return min(decay, (1 + step) / (10 + step))


def add_step(average: dict[str, Tensor], tensors: Mapping[str, Tensor], step: int, decay: float) -> None:
    """Move `average` towards the tail's `tensors`, by canonical name, after `step`; an empty one is first made."""
    with torch.no_grad():
        if not average:
            average |= {name: tensor.detach().clone() for name, tensor in tensors.items()}
            return
        moving = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [average[name] for name in moving], [tensors[name].detach() for name in moving], 1 - decay_at(step, decay)
        )
        for name in tensors.keys() - set(moving):
            average[name].copy_(tensors[name])


@contextmanager
def standing_in(average: Mapping[str, Tensor], tail: Tail) -> Iterator[None]:
    """Inside the `with` the tail has the average's tensors, afterwards its own again; an empty one changes nothing."""
    own = {name: tensor.detach().clone() for name, tensor in tail.tensors().items() if name in average}
    tail.load(average)
    try:
        yield
    finally:
        tail.load(own)
