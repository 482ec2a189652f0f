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
"""Rows of a batch where nothing is trained."""
MOMENTUM = 0.9
"""Of SGD: the field's habit."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""What glibc's `mallopt` calls its parameters (malloc.h)."""
KEPT_BYTES = 1 << 30
"""Free memory that is kept for the next step."""


class Draw(NamedTuple):
    """The rows of one batch."""

    examples: Int[np.ndarray, "b"]
    views: Int[np.ndarray, "b"]
    pieces: Int[np.ndarray, "b"] | None = None
    """None: every example is one piece."""


def keep_memory(*, training: bool) -> None:
    """While training, let the allocator keep the memory that it frees; afterwards give back what is free.

    glibc returns large blocks to the system, from which the next step asks for them again, page by page: a fifth of the
    CPU time of GoogLeNet's step where single activations exceed 32 MiB (batches of 16 at 224 x 224, or of 32 at 128 x
    128), a few percent below that. Other allocators, and one that the user has set up by `MALLOC_…`, are left alone.
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
    """How many batches of at most `size` the examples make; fewer where one would have less than `min_rows`."""
    return max(1, min(math.ceil(examples / size), examples // min_rows))


def epoch_draws(problem: Problem, size: int, epoch: int, min_rows: int = 1) -> list[Draw]:
    """All training examples once, shuffled, in batches whose sizes differ by one at most."""
    random = np.random.default_rng(derive_seed(problem.seed, "order", epoch))
    examples = random.permutation(problem.train)
    views, pieces = views_of(problem, examples, epoch), None
    if (counts := problem.states.pieces_of(examples)).max(initial=1) > 1:  # every piece once, an example's together
        examples, views, pieces = np.repeat(examples, counts), np.repeat(views, counts), numbered(counts)
    return cut(examples, views, num_batches(len(examples), size, min_rows), pieces)


def views_of(problem: Problem, examples: Int[np.ndarray, "n"], epoch: int) -> Int[np.ndarray, "n"]:
    """The view that each of these examples is seen in, in this epoch.

    Of K stored views an example is seen in another one each epoch, in turn from a drawn start: in K epochs in each of
    them once, the plain one among them. Where views are made new, it is one that no other epoch has.
    """
    num_views = problem.states.num_views
    if num_views is None:
        return np.full(len(examples), epoch + 1)
    first = np.random.default_rng(derive_seed(problem.seed, "views")).integers(num_views, size=len(problem.targets))
    return (first[examples] + epoch) % num_views


def plain_draws(
    examples: Int[np.ndarray, "n"], min_rows: int = 1, pieces: Int[np.ndarray, "n"] | None = None
) -> list[Draw]:
    """These examples (with pieces: these pieces of them) in this order in their plain view."""
    return cut(examples, np.zeros_like(examples), num_batches(len(examples), ROWS, min_rows), pieces)


def cut(
    examples: Int[np.ndarray, "n"], views: Int[np.ndarray, "n"], count: int, pieces: Int[np.ndarray, "n"] | None = None
) -> list[Draw]:
    """`count` batches in this order, of sizes that differ by one at most."""
    columns = [np.array_split(column, count) for column in (examples, views, *([] if pieces is None else [pieces]))]
    return [Draw(*columns_of_one) for columns_of_one in zip(*columns, strict=True)]


def fetched(states: States, draws: Sequence[Draw], device: torch.device) -> Generator[dict[str, Tensor], None, None]:
    """The states of each draw as tensors on `device`, grids in channels-last order. Close it when leaving early."""
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
    """The targets of a batch as the loss takes them, on `device`."""
    asked = (draw.examples, draw.views, draw.pieces)
    placements = problem.states.placements(*asked) if problem.task.moves else {}
    return in_tree(problem.task.encoded(problem.targets[draw.examples], placements), lambda a: _tensor(a, device))


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def in_tree(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The same tree (a leaf, or a mapping of leaves by name) of changed leaves."""
    return {name: change(leaf) for name, leaf in tree.items()} if isinstance(tree, Mapping) else change(tree)


def predict(tail: Tail, problem: Problem, positions: Int[np.ndarray, "n"]) -> np.ndarray:
    """Raw outputs on the plain view, in evaluation mode: logits (n c) for most tasks."""
    return evaluated(tail, problem, positions)[0]


def evaluated(
    tail: Tail, problem: Problem, positions: Int[np.ndarray, "n"], loss: Loss | None = None
) -> tuple[np.ndarray, float]:
    """Raw outputs on the plain view, in evaluation mode; and the mean loss over rows, NaN where none is given. Where a
    loss is asked for, nothing is generated."""
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
    """The readout that the head reads, of the plain view, in evaluation mode; that of an example's pieces averaged."""
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
    """Batches of plain states, the tail in evaluation mode and gradients off meanwhile."""
    if not len(rows):
        return
    draws, was_training = plain_draws(rows, pieces=pieces), tail.training
    tail.eval()
    with torch.no_grad():
        yield from zip(draws, fetched(problem.states, draws, next(tail.parameters()).device), strict=True)
    tail.train(was_training)


@dataclass(frozen=True, kw_only=True)
class Unfreezing:
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
            yield Notice(text=f"From epoch {epoch + 1} of {epochs}, also trained: {names}.", topic="training")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What the loop is told beside a strategy's options."""

    epochs: int
    """Passes over the training examples."""
    bf16: bool = False
    """Whether passes run in bfloat16."""
    unfreezing: Unfreezing | None = None
    """When which stages are trained; None: all of them all the time."""
    mixing: "Mixing | None" = None
    """How the examples of a batch are mixed; None mixes none."""


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


def placed(tail: Tail, problem: Problem) -> torch.device:
    """Move the tail to the problem's device, which is returned; with a task that generates the frozen stages too."""
    device = torch.device(problem.device)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True  # same seed, same weights
    keep_memory(training=True)
    for part in (tail, *(tail.network.modules() if problem.task.generates else ())):
        part.to(device, memory_format=torch.channels_last)
    return device


def optimiser_of(name: str, groups: Sequence[Mapping[str, Any]], device: torch.device) -> torch.optim.Optimizer:
    """The optimiser of that name (`adamw`, `sgd`) of these parameter groups, each with its `weight_decay` and its peak
    learning rate `lr`, which stays in the group as `peak`.

    Sources: Loshchilov & Hutter 2017, arXiv:1711.05101 (AdamW); Sutskever et al. 2013, section 2 (Nesterov's momentum,
    in torch's form).
    """
    own, fused = [{**group, "peak": group["lr"]} for group in groups], device.type in ("cpu", "cuda")
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


def recalibrate(tail: Tail, problem: Problem) -> None:
    """Measure batch norm's statistics above the cut again, on the plain training examples.

    Each batch norm sees what those before it make of a batch with the batch's own statistics. Kept are torch's
    cumulative averages of the means and unbiased variances of batches of 64 in a drawn order; so up to 64 examples the
    figures are exact. Sources: Li et al. 2016, arXiv:1603.04779; Wu & Johnson 2021, arXiv:2105.07576, section 3.
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
