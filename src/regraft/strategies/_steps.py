"""Parts of the training loop: batches and views of an epoch, evaluation, learning rates, seeds, optimiser, EMA of the
weights, and gradual unfreezing.

Batches are prefetched in a thread, so that decoding and reading overlap with computation. Letters: n examples, b rows
of a batch, c outputs.
"""

import ctypes
import math
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from regraft.activations.slots import averaged, numbered
from regraft.activations.states import States
from regraft.activations.stored import ahead
from regraft.contracts.strategy import Problem
from regraft.identity import derive_seed
from regraft.strategies.tail import Loss, Tail
from regraft.values import Notice

if TYPE_CHECKING:
    from regraft.strategies._mixing import Mixing

ROWS = 64
"""Batch size for inference."""
MOMENTUM = 0.9
"""Momentum of SGD, the usual value."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt` (malloc.h)."""
KEPT_BYTES = 1 << 30
"""Free memory that is kept for the next step."""


class Draw(NamedTuple):
    """The rows of one batch."""

    examples: Int[np.ndarray, "b"]
    views: Int[np.ndarray, "b"]
    pieces: Int[np.ndarray, "b"] | None = None
    """None: every example is one piece."""


def keep_memory(*, training: bool) -> None:
    """Let the allocator keep freed memory during training, and return it to the system afterwards.

    glibc returns large blocks to the system, and the next step requests them again, page by page: a fifth of the CPU
    time of a training step of GoogLeNet if single activations exceed 32 MiB (batches of 16 at 224 x 224, or of 32 at
    128 x 128), a few percent below that. Other allocators, and settings of the user by `MALLOC_…`, are not changed.
    """
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt") or any(name.startswith("MALLOC_") for name in os.environ):
        return
    if training:
        libc.mallopt(MMAP_THRESHOLD, KEPT_BYTES)
        libc.mallopt(TRIM_THRESHOLD, KEPT_BYTES)
    else:
        libc.malloc_trim(0)


def num_batches(examples: int, size: int, min_rows: int = 1) -> int:
    """Return the number of batches of at most `size`; fewer if one would have less than `min_rows` rows."""
    return max(1, min(math.ceil(examples / size), examples // min_rows))


def epoch_draws(problem: Problem, size: int, epoch: int, min_rows: int = 1) -> list[Draw]:
    """Return all training examples once, shuffled, in batches whose sizes differ by at most one."""
    random = np.random.default_rng(derive_seed(problem.seed, "order", epoch))
    examples = random.permutation(problem.train)
    views, pieces = views_of(problem, examples, epoch), None
    if (counts := problem.states.pieces_of(examples)).max(initial=1) > 1:  # every piece once, an example's together
        examples, views, pieces = np.repeat(examples, counts), np.repeat(views, counts), numbered(counts)
    return cut(examples, views, num_batches(len(examples), size, min_rows), pieces)


def views_of(problem: Problem, examples: Int[np.ndarray, "n"], epoch: int) -> Int[np.ndarray, "n"]:
    """Return the view of each of these examples in this epoch.

    With K stored views, an example cycles through them from a random start: in K epochs it is seen once in each,
    including the plain one. If views are not stored, every epoch has a new one.
    """
    num_views = problem.states.num_views
    if num_views is None:
        return np.full(len(examples), epoch + 1)
    first = np.random.default_rng(derive_seed(problem.seed, "views")).integers(num_views, size=len(problem.targets))
    return (first[examples] + epoch) % num_views


def plain_draws(
    examples: Int[np.ndarray, "n"], min_rows: int = 1, pieces: Int[np.ndarray, "n"] | None = None
) -> list[Draw]:
    """Return batches of these examples (or these pieces of them), in this order, in their plain view."""
    return cut(examples, np.zeros_like(examples), num_batches(len(examples), ROWS, min_rows), pieces)


def cut(
    examples: Int[np.ndarray, "n"], views: Int[np.ndarray, "n"], count: int, pieces: Int[np.ndarray, "n"] | None = None
) -> list[Draw]:
    """Return `count` batches in this order, with sizes that differ by at most one."""
    columns = [np.array_split(column, count) for column in (examples, views, *([] if pieces is None else [pieces]))]
    return [Draw(*columns_of_one) for columns_of_one in zip(*columns, strict=True)]


def fetched(states: States, draws: Sequence[Draw], device: torch.device) -> Generator[dict[str, Tensor], None, None]:
    """Yield the states of each batch as tensors on `device`, grids in channels-last order. Close the generator when
    leaving early."""
    with closing(ahead(lambda draw: _tensors(states, draw, device), draws, size=1, workers=1)) as batches:
        for _, (state,) in batches:
            yield state


def _tensors(states: States, draw: Draw, device: torch.device) -> dict[str, Tensor]:
    # what is made on the device stays there; the rest comes from memory or disk
    if draw.views.all() and (made := states.on_device(draw.examples, draw.views)) is not None:
        return {name: _placed(tensor, device) for name, tensor in made.items()}
    arrays = states.batch(draw.examples, draw.views, draw.pieces)
    return {name: _placed(torch.from_numpy(np.ascontiguousarray(array)), device) for name, array in arrays.items()}


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.ndim == 4 and tensor.is_floating_point():
        return tensor.to(device, memory_format=torch.channels_last)
    return tensor.to(device)


def encoded(problem: Problem, draw: Draw, device: torch.device) -> Any:
    """Return the targets of a batch in the form of the loss, on `device`."""
    asked = (draw.examples, draw.views, draw.pieces)
    placements = problem.states.placements(*asked) if problem.task.moves else {}
    return in_tree(problem.task.encoded(problem.targets[draw.examples], placements), lambda a: _tensor(a, device))


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def in_tree(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Apply a function to a leaf, or to every leaf of a mapping."""
    return {name: change(leaf) for name, leaf in tree.items()} if isinstance(tree, Mapping) else change(tree)


def predict(tail: Tail, problem: Problem, positions: Int[np.ndarray, "n"]) -> np.ndarray:
    """Return the raw outputs for the plain view, in evaluation mode: logits (n c) for most tasks."""
    return evaluated(tail, problem, positions)[0]


def evaluated(
    tail: Tail, problem: Problem, positions: Int[np.ndarray, "n"], loss: Loss | None = None
) -> tuple[np.ndarray, float]:
    """Return the raw outputs for the plain view, in evaluation mode, and the mean loss over rows, NaN without `loss`.
    With a loss, nothing is generated."""
    counts, task, total = problem.states.pieces_of(positions), problem.task, 0.0
    several = counts.max(initial=1) > 1
    rows, pieces = (np.repeat(positions, counts), numbered(counts)) if several else (positions, None)
    batches, device = [], next(tail.parameters()).device
    for draw, state in _passing(tail, problem, rows, pieces):
        output = None if task.generates and loss is None else tail(state)
        if loss is not None:
            total += float(loss(output, encoded(problem, draw, device))) * len(draw.examples)
        if task.generates and loss is not None:
            continue  # the loss chooses the epoch; generating in each would take longer than training
        if task.generates:
            assert tail.network.generate is not None, "a task that generates needs a network that does"
            output = tail.network.generate(tail.network, state, tail.cut, tail.head, task.generation)
        batches.append(in_tree(output, lambda leaf: leaf.cpu().numpy()))
    placements = problem.states.placements(rows, np.zeros_like(rows), pieces) if task.moves and len(rows) else {}
    raw = task.gathered(batches, np.repeat(np.arange(len(positions)), counts), placements)
    return raw, total / len(rows) if loss is not None and len(rows) else math.nan


def features(tail: Tail, problem: Problem, positions: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n ..."]:
    """Return the head's readout of the plain view, in evaluation mode, averaged over the pieces of an example."""
    if not len(positions):
        return np.zeros((0, problem.backbone.card.width), dtype=np.float32)
    counts, found = problem.states.pieces_of(positions), []
    for _, state in _passing(tail, problem, np.repeat(positions, counts), numbered(counts)):
        read = tail.features(state)
        found.append((read[tail.readout] if isinstance(read, Mapping) else read).cpu().numpy())
    return averaged(np.concatenate(found), counts)


def _passing(
    tail: Tail, problem: Problem, rows: Int[np.ndarray, "b"], pieces: Int[np.ndarray, "b"] | None
) -> Iterator[tuple[Draw, dict[str, Tensor]]]:
    """Yield batches of plain states, with the tail in evaluation mode and gradients off."""
    if not len(rows):
        return
    draws, was_training = plain_draws(rows, pieces=pieces), tail.training
    tail.eval()
    with torch.no_grad():
        yield from zip(draws, fetched(problem.states, draws, next(tail.parameters()).device), strict=True)
    tail.train(was_training)


@dataclass(frozen=True, kw_only=True)
class Unfreezing:
    """Gradual unfreezing: which stages are trained in which epoch. It adapts to the number of epochs, which a time
    limit may reduce."""

    stages: int
    """Stages above the lowest cut."""
    first: int
    """Number of stages, from the top, that are trained from the start; 0: the head alone."""
    together: int
    """Number of stages that are unfrozen at once; the last group may be smaller."""
    share: float
    """Fraction of all epochs, in [0, 1), before every stage is trained."""
    epochs: int = 0
    """Epochs of each phase before the last, instead of `share`; 0: use `share`."""

    @property
    def falls(self) -> int:
        """Number of times that stages are unfrozen."""
        return math.ceil(max(0, self.stages - self.first) / self.together)

    @property
    def min_epochs(self) -> int:
        """Number of epochs before the last phase, plus one."""
        return self.falls * self.epochs + 1

    def last(self, epochs: int) -> int:
        """Return the epoch, counted from 0, at which the last phase begins if there are `epochs` in total."""
        if not self.falls:
            return 0
        return min(self.falls * self.epochs if self.epochs else round(epochs * self.share), epochs - 1)

    def unfrozen(self, epoch: int, epochs: int) -> int:
        """Return the number of stages, from the top, that are trained in this epoch of `epochs`, counted from 0."""
        last = self.last(epochs)
        fallen = self.falls if epoch >= last else epoch * self.falls // last
        return min(self.stages, self.first + self.together * fallen)

    def begin(self, tail: Tail, epoch: int, epochs: int) -> Iterator[Notice]:
        """Unfreeze the stages that are trained in this epoch; yield a notice if some were frozen before."""
        now = self.unfrozen(epoch, epochs)
        tail.unfreeze(now)
        before = self.unfrozen(epoch - 1, epochs) if epoch else now
        if now > before:
            names = ", ".join(tail.names[self.stages - now : self.stages - before])
            yield Notice(text=f"From epoch {epoch + 1} of {epochs}, also trained: {names}.", topic="training")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Settings of the training loop besides the strategy's options."""

    epochs: int
    """Passes over the training examples."""
    bf16: bool = False
    """Whether forward and backward passes run in bfloat16."""
    unfreezing: Unfreezing | None = None
    """Gradual unfreezing; None: all stages are trained from the start."""
    mixing: "Mixing | None" = None
    """How the examples of a batch are mixed; None: not at all."""


def rate(step: int, steps: int, warmup_share: float) -> float:
    """Return the factor on the peak learning rates at `step` of `steps`, in (0, 1]: `(step + 1) / w` over the first w
    steps, then `(1 + cos(pi t)) / 2`, t running from 0 towards 1 over the others.

    Source: Loshchilov & Hutter 2016, arXiv:1608.03983, without restarts; Goyal et al. 2017, arXiv:1706.02677 (warm-up).
    """
    warmup = round(steps * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


@contextmanager
def seeded(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Seed torch's generators with `seed` inside the `with`, and restore their state afterwards."""
    place = torch.device(device)
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def placed(tail: Tail, problem: Problem) -> torch.device:
    """Move the tail to the problem's device and return the device; for tasks that generate, also the frozen stages."""
    device = torch.device(problem.device)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True  # same seed, same weights
    keep_memory(training=True)
    for part in (tail, *(tail.network.modules() if problem.task.generates else ())):
        part.to(device, memory_format=torch.channels_last)
    return device


def optimiser_of(name: str, groups: Sequence[Mapping[str, Any]], device: torch.device) -> torch.optim.Optimizer:
    """Return the optimiser of that name (`adamw`, `sgd`) for these parameter groups, each with its `weight_decay` and
    its peak learning rate `lr`, which is kept in the group as `peak`.

    Sources: Loshchilov & Hutter 2017, arXiv:1711.05101 (AdamW); Sutskever et al. 2013, section 2 (Nesterov momentum,
    in torch's form).
    """
    own, fused = [{**group, "peak": group["lr"]} for group in groups], device.type in ("cpu", "cuda")
    if name == "sgd":
        return torch.optim.SGD(own, momentum=MOMENTUM, nesterov=True, fused=fused)
    return torch.optim.AdamW(own, fused=fused)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether `device` supports bfloat16: CUDA, and processors with AVX512-BF16 or AMX. Emulated, it is several
    times slower than float32.

    On CPUs, wide convolutions become faster and depthwise ones slower: with AVX512-BF16 a training step of GoogLeNet
    runs 1.55 times as fast, and one of MobileNetV3 0.52 times (docs/results/step.md).
    """
    if device.type != "cpu":
        return device.type == "cuda"
    # torch has no public name for them that its older releases share; where it has neither, the answer is no
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(hasattr(torch.cpu, name) and bool(getattr(torch.cpu, name)()) for name in asked)


def decay_at(step: int, decay: float) -> float:
    """Return the decay of the EMA at `step`, counted from 0: it rises, so that a short run forgets its initial weights.
    Source: TensorFlow's ExponentialMovingAverage."""
    return min(decay, (1 + step) / (10 + step))


def add_step(ema: dict[str, Tensor], tensors: Mapping[str, Tensor], step: int, decay: float) -> None:
    """Update `ema` with the tail's `tensors`, by canonical name, after `step`; an empty one is initialised.

    The average a becomes d a + (1 - d) w, with the current weights w and d from `decay_at`. Batch-norm statistics are
    averaged like the weights they belong to; integers are copied.

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
    """Give the tail the EMA's tensors inside the `with`, and its own again afterwards; an empty EMA changes nothing."""
    own = {name: tensor.detach().clone() for name, tensor in tail.tensors().items() if name in ema}
    tail.load(ema)
    try:
        yield
    finally:
        tail.load(own)


def recalibrate(tail: Tail, problem: Problem) -> None:
    """Re-estimate the batch-norm statistics above the cut on the plain training examples.

    Lower batch norms use the statistics of the batch meanwhile. The result is torch's cumulative average of the means
    and unbiased variances of batches of 64 in random order, so it is exact for up to 64 examples. Sources: Li et al.
    2016, arXiv:1603.04779; Wu & Johnson 2021, arXiv:2105.07576, section 3.
    """
    norms = [norm for norm in tail.norms() if norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    examples = np.random.default_rng(derive_seed(problem.seed, "recalibrate")).permutation(problem.train)
    tail.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for state in fetched(problem.states, plain_draws(examples, min_rows=2), next(tail.parameters()).device):
            tail(state)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
