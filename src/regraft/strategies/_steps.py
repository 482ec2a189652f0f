"""What the loop is told, and what it does beside the arithmetic of a step: learning rates, seeds, the optimiser, the
EMA of the weights, and which stages are trained when."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from regraft.contracts.backbone import State
from regraft.strategies.tail import Change, Tail
from regraft.values import Notice

if TYPE_CHECKING:
    from regraft.strategies._batches import Draw
    from regraft.strategies._mixing import Mix, Mixing

OptimiserName = Literal["adamw", "sgd"]
MOMENTUM = 0.9
"""Of SGD: the field's habit."""


@dataclass(frozen=True, kw_only=True)
class Phases:
    """When which stages join training (gradual unfreezing): a plan that adapts to the number of epochs, which a time
    limit may lower."""

    stages: int
    """Stages above the lowest cut."""
    first: int
    """Stages, from the top, that are trained from the start; 0: the head alone."""
    together: int
    """Stages that are unfrozen at once; the last may be fewer."""
    share: float
    """Share of all epochs, in [0, 1), that pass before every stage is trained."""
    epochs: int = 0
    """Epochs of each phase before the last, in place of `share`; 0: as `share` says."""

    @property
    def falls(self) -> int:
        """How often the cut falls."""
        return math.ceil(max(0, self.stages - self.first) / self.together)

    @property
    def min_epochs(self) -> int:
        """Epochs that it takes to come to the last phase, and one of that."""
        return self.falls * self.epochs + 1

    def last(self, epochs: int) -> int:
        """The epoch, counted from 0, at which the last phase begins where there are `epochs` in all."""
        if not self.falls:
            return 0
        return min(self.falls * self.epochs if self.epochs else round(epochs * self.share), epochs - 1)

    def unfrozen(self, epoch: int, epochs: int) -> int:
        """Stages, from the top, that are trained in this epoch of `epochs`, counted from 0."""
        last = self.last(epochs)
        fallen = self.falls if epoch >= last else epoch * self.falls // last
        return min(self.stages, self.first + self.together * fallen)

    def begin(self, tail: Tail, epoch: int, epochs: int) -> Iterator[Notice]:
        """Unfreeze the stages that are trained in this epoch; says so where some were frozen in the one before."""
        now = self.unfrozen(epoch, epochs)
        tail.unfreeze(now)
        before = self.unfrozen(epoch - 1, epochs) if epoch else now
        if now > before:
            names = ", ".join(tail.names[self.stages - now : self.stages - before])
            yield Notice(text=f"From epoch {epoch + 1} of {epochs} on trained as well: {names}.", topic="training")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What the loop is told; the strategy's options decide it. The last five are hooks: what a strategy does to the
    steps without a loop of its own."""

    epochs: int
    """Passes over the training examples."""
    batch: int
    """Examples per step."""
    warmup_share: float
    """Share of all steps over which the learning rate rises; a cosine to zero follows."""
    patience: int
    """Epochs without a lower validation loss before training stops; 0: never. Unused without validation examples."""
    clip_norm: float
    """Largest norm of the gradient; 0 is no limit."""
    smoothing: float
    """Label smoothing of the training loss, in [0, 1)."""
    balanced: bool
    """Whether every class weighs the same, in training and validation."""
    judge_start: bool = False
    """Whether the start is a model in its own right, which is kept where no epoch has a lower validation loss."""
    bf16: bool = False
    """Whether passes run in bfloat16."""
    optimiser: OptimiserName = "adamw"
    """What turns gradients into steps."""
    phases: Phases | None = None
    """When which stages are trained; None: all of them all the time."""
    ema: float = 0.0
    """Share that the EMA of the weights keeps at each step, in [0, 1); 0: none is made, and the weights themselves are
    validated and kept."""
    mixing: "Mixing | None" = None
    """How the examples of a batch are mixed; None mixes none."""
    change: Callable[[State, int, int], State] | None = None
    """(a batch's state as the lowest trained stage gets it, epoch from 0, epochs in all) -> what it gets instead."""
    draws: "Callable[[int], list[Draw]] | None" = None
    """Epoch from 0 -> its batches; None: every training example once."""

    def changing(self, mix: "Mix | None", epoch: int, epochs: int) -> Change | None:
        """What is done to the begun state of a batch: mixed first, then changed as the strategy wants."""
        mixed, change = mix.state if mix else None, self.change
        if change is None:
            return mixed
        return lambda state: change(mixed(state) if mixed else state, epoch, epochs)


def rate(step: int, steps: int, warmup_share: float) -> float:
    """The factor on the peak learning rates at `step` of `steps`, in (0, 1]: `(step + 1) / w` over the first w steps,
    then `(1 + cos(pi t)) / 2`, t running from 0 towards 1 over the others.

    Source: Loshchilov & Hutter 2016, arXiv:1608.03983, without restarts; Goyal et al. 2017, arXiv:1706.02677 (warm-up).
    """
    warmup = round(steps * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


@contextmanager
def seeded(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Inside the `with`, torch draws from generators seeded with `seed`; afterwards from where they were."""
    place = torch.device(device)
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def optimiser_of(
    name: OptimiserName, groups: Sequence[Mapping[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser of these parameter groups, each with its peak learning rate `lr` and its `weight_decay`.

    Sources: Loshchilov & Hutter 2017, arXiv:1711.05101 (AdamW); Sutskever et al. 2013, section 2 (Nesterov's momentum,
    in torch's form).
    """
    own, fused = [dict(group) for group in groups], device.type in ("cpu", "cuda")
    if name == "sgd":
        return torch.optim.SGD(own, momentum=MOMENTUM, nesterov=True, fused=fused)
    return torch.optim.AdamW(own, fused=fused)


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is worth asking for on `device`: CUDA, and processors with AVX512-BF16 or AMX. Emulated, it is
    several times slower than float32.

    There wide convolutions gain and depthwise ones lose: on a processor with AVX512-BF16 a training step of GoogLeNet
    runs 1.55 times as fast, and one of MobileNetV3 0.52 times (docs/results/step.md).
    """
    if device.type != "cpu":
        return device.type == "cuda"
    # torch has no public name for them that its older releases share; where it has neither, the answer is no
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(hasattr(torch.cpu, name) and bool(getattr(torch.cpu, name)()) for name in asked)


def decay_at(step: int, decay: float) -> float:
    """The share that the EMA so far keeps at `step`, counted from 0: rising, so that a short run forgets where it
    began. Source: TensorFlow's ExponentialMovingAverage."""
    return min(decay, (1 + step) / (10 + step))


def add_step(ema: dict[str, Tensor], tensors: Mapping[str, Tensor], step: int, decay: float) -> None:
    """Move `ema` towards the tail's `tensors`, by canonical name, after `step`; an empty one is first made.

    After step t it is d a + (1 - d) w, with the step's weights w and d of `decay_at`. Batch norm's statistics are
    averaged with the weights that they were measured for; whole numbers are taken over as they are.

    Sources: Polyak & Juditsky 1992, doi:10.1137/0330046 (averaging); Tarvainen & Valpola 2017, arXiv:1703.01780 (the
    exponential form on networks); Izmailov et al. 2018, arXiv:1803.05407 (why it helps: wider optima).
    """
    with torch.no_grad():
        if not ema:
            ema |= {name: tensor.detach().clone() for name, tensor in tensors.items()}
            return
        moving = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [ema[name] for name in moving], [tensors[name].detach() for name in moving], 1 - decay_at(step, decay)
        )
        for name in tensors.keys() - set(moving):
            ema[name].copy_(tensors[name])


@contextmanager
def standing_in(ema: Mapping[str, Tensor], tail: Tail) -> Iterator[None]:
    """Inside the `with` the tail has the EMA's tensors, afterwards its own again; an empty one changes nothing."""
    own = {name: tensor.detach().clone() for name, tensor in tail.tensors().items() if name in ema}
    tail.load(ema)
    try:
        yield
    finally:
        tail.load(own)
