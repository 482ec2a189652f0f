"""DELTA: feature maps stay close to those of the pretrained network where they matter for the new classes.

    alpha * 1/b sum_i sum_l 1/2 * c_l/p_l * sum_j a_lj * |F_lj(w, x_i) - F_lj(w0, x_i)|^2  +  beta / 2 * |v|^2

F_lj is channel j of the c_l channels, at p_l positions, after stage l; v are the parameters trained from random
weights. The attention a_l sums to 1 over the channels: the softmax of how much the loss rises if the channel is
removed from the pretrained network, standardised over the channels and divided by 5. It replaces weight decay, which
is off.

Source: Li et al. 2019, arXiv:1901.09229; standardising, the 5, and c_l/p_l are those of thuml's
Transfer-Learning-Library, whose alpha is 0.01 on a sum over batches of 48, which is 0.48 on our mean over the batch.
Ours: the loss is that of the solved linear probe; its rise is approximated to first order, minus activation
times gradient, so that one backward pass replaces a forward pass per channel (as Molchanov et al. 2017,
arXiv:1611.06440, do for pruning); four stages are compared, evenly spaced above the cut, like the four groups of blocks
of a ResNet.

Letters: b rows, c channels, p positions.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from regraft.contracts.strategy import Problem
from regraft.identity import derive_seed
from regraft.strategies._steps import fetched, plain_draws
from regraft.strategies.regularisers.regulariser import Kind, Regulariser, head_term
from regraft.strategies.tail import Batch, Tail

WEIGHT = 0.48
"""alpha."""
MAX_STAGES = 4
"""Maximum number of stages whose feature maps are compared."""
SHARPNESS = 5.0
"""Divisor of the standardised rises of the loss before the softmax."""
MAX_EXAMPLES = 320
"""Maximum number of training examples for the attention: ten batches of 32, as in the library named above."""


class FeatureMaps(Regulariser):
    """The distance between feature maps, weighted by channel. The pretrained tail is not part of its state."""

    replaces_decay = True

    def __init__(self, original: Tail, attention: dict[str, Float[Tensor, "c"]], weight: float) -> None:
        """`original` is in evaluation mode, and is neither moved nor changed; `attention` is by stage."""
        super().__init__(weight)
        self._original = (original,)
        self.names = tuple(attention)
        for name, shares in attention.items():
            self.register_buffer(_buffer(name), shares, persistent=False)
        self.facts = {"stages": list(attention)}

    def forward(self, tail: Tail, batch: Batch) -> Float[Tensor, ""]:
        with torch.no_grad():
            before = self._original[0].passed(batch.state).hidden
        total = head_term(tail)
        for name in self.names:
            gaps = by_channel(batch.passed.hidden[name]) - by_channel(before[name])
            _, channels, places = gaps.shape
            distances = gaps.square().sum(dim=2).mean(dim=0)
            term = 0.5 * channels / places * (self.get_buffer(_buffer(name)) * distances).sum()
            total = total + self.weight * term
        return total


def build(problem: Problem, tail: Tail, weight: float) -> FeatureMaps:
    """Copy the pretrained tail, solve its head, and measure the attention on the training examples.

    Raises:
        BadRequest: the task has no solved head.
    """
    network = problem.backbone.fresh_network()
    head = problem.task.head({problem.task.reads.readout: problem.backbone.card.width}, 0.0)
    original = Tail(network, problem.cut, head, problem.task.reads.readout, batch_norm="frozen")
    original.load({name: torch.from_numpy(array) for name, array in problem.start.tensors.items()})
    original.to(problem.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    original.eval()
    rises = loss_rises(original, problem, compared(tail.names))
    original.requires_grad_(False)
    return FeatureMaps(original, {name: attention(rise) for name, rise in rises.items()}, weight)


def compared(names: Sequence[str]) -> list[str]:
    """Return the stages that are compared: evenly spaced, including the last one."""
    count = min(MAX_STAGES, len(names))
    return [names[round((part + 1) * len(names) / count) - 1] for part in range(count)]


def loss_rises(original: Tail, problem: Problem, names: Sequence[str]) -> dict[str, Float[Tensor, "c"]]:
    """Return, by stage and channel, how much the mean loss rises if the channel is set to zero, to first order."""
    device = torch.device(problem.device)
    random = np.random.default_rng(derive_seed(problem.seed, "delta"))
    examples = random.permutation(problem.train)[:MAX_EXAMPLES]
    loss = problem.task.objective(problem.targets[problem.train], balanced=False, smoothing=0.0)
    rises: dict[str, Tensor] = {}
    draws = plain_draws(examples)
    for draw, state in zip(draws, fetched(problem.states, draws, device), strict=True):
        targets = torch.from_numpy(problem.targets[draw.examples]).to(device)
        passed = original.passed(state)
        maps = [passed.hidden[name] for name in names]
        share = len(draw.examples) / len(examples)
        gradients = torch.autograd.grad(loss(passed.logits, targets), maps)
        for name, values, gradient in zip(names, maps, gradients, strict=True):
            rise = -by_channel(values.detach() * gradient).sum(dim=(0, 2)) * share
            rises[name] = rises[name] + rise if name in rises else rise
    return rises


def attention(rises: Float[Tensor, "c"]) -> Float[Tensor, "c"]:
    """Return the weights of the channels: the softmax of the standardised rises, divided by 5."""
    spread = rises.std(correction=0)
    standard = (rises - rises.mean()) / spread if spread > 0 else torch.zeros_like(rises)
    return torch.softmax(standard / SHARPNESS, dim=0)


def by_channel(hidden: Float[Tensor, "b ..."]) -> Float[Tensor, "b c p"]:
    """Return a state's `hidden` with its positions on one axis: grids (b c h w), sequences (b t c), vectors (b c)."""
    if hidden.ndim == 3:
        return hidden.transpose(1, 2)
    return hidden.flatten(2) if hidden.ndim > 3 else hidden[:, :, None]


def _buffer(name: str) -> str:
    """Return a name for a buffer, which may not contain a dot, from a stage's, which may."""
    return f"attention_{name.replace('.', '_')}"


ENTRY = Kind(weight=WEIGHT, build=build, needs_start=True)
