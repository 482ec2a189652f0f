"""Throughput of networks on this machine, in examples per second, measured in alternating rounds.

Every network is measured once per round (A B C, A B C …), so that other load affects all alike, and ratios are taken
per round. Each measurement starts with a warm-up pass. Random weights have the same speed as trained ones. Plain torch
in float32, channels last; a training step is a forward pass, cross-entropy, a backward pass and a step of SGD with
momentum, with all parameters trained and without side heads.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from regraft.contracts.family import Card, Family
from regraft.errors import BadRequest
from regraft.values import Event, Progress

if TYPE_CHECKING:
    from torch import Tensor, nn


MINIMUM_S = 0.3
"""Minimum seconds of timing per network and round. Our choice."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Settings of a measurement.

    Raises:
        BadRequest: a number is out of range.
    """

    batch: int = 8
    """Batch size."""
    rounds: int = 3
    """Number of rounds."""
    threads: int = 1
    """Number of CPU threads for torch."""
    device: str = "cpu"
    """Torch device: `cpu`, `cuda` …"""

    def __post_init__(self) -> None:
        for name, minimum in (("batch", 2), ("rounds", 1), ("threads", 1)):
            if getattr(self, name) < minimum:
                raise BadRequest(
                    f"{name} is {getattr(self, name)}; it must be {minimum} or more.",
                    fix=f"set it to {minimum} or more.",
                )


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Examples per second, by round."""

    running: tuple[float, ...]
    """Inference, in evaluation mode without gradients."""
    training: tuple[float, ...]
    """Training steps."""

    def to_json(self, first: "Speed") -> dict[str, Any]:
        """Return medians, rounds, and the median ratio to `first` within a round."""
        said: dict[str, Any] = {}
        for name in ("running", "training"):
            own, others = getattr(self, name), getattr(first, name)
            said[name] = {
                "per_second": median(own),
                "rounds": list(own),
                "ratio": median(one / other for one, other in zip(own, others, strict=True)),
            }
        return said


def measured(networks: Sequence[tuple[Family, Card]], timing: Timing) -> Generator[Event, None, tuple[Speed, ...]]:
    """Measure each network, yielding progress; return the speeds in the order of the networks."""
    began, total = time.perf_counter(), timing.rounds * len(networks)
    found: list[list[tuple[float, float]]] = [[] for _ in networks]
    for done in range(total):
        found[done % len(networks)].append(_once(*networks[done % len(networks)], timing))
        seconds = time.perf_counter() - began
        left = seconds / (done + 1) * (total - done - 1)
        yield Progress(phase="measuring", done=done + 1, total=total, seconds=seconds, seconds_left=left)
    return tuple(Speed(running=tuple(r for r, _ in one), training=tuple(t for _, t in one)) for one in found)


def _once(family: Family, card: Card, timing: Timing) -> tuple[float, float]:
    """Measure inference and training once, in examples per second. The network is built for it and then freed."""
    import torch

    from regraft.backbones.costs import Whole
    from regraft.contracts.family import built

    device = torch.device(timing.device)
    shape = (timing.batch, *card.preparation.input_px, card.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = Whole(built(family, card).network)
        inputs = {"pixels": torch.randint(0, 256, shape, dtype=torch.uint8).to(device)}
    whole.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run() -> None:
        with torch.inference_mode():
            whole(inputs)

    whole.eval()
    running = timing.batch / _seconds(run, timing)
    whole.train()
    step = _step(whole, inputs, torch.zeros(timing.batch, dtype=torch.int64, device=device))
    return running, timing.batch / _seconds(step, timing)


def _step(whole: "nn.Module", inputs: "dict[str, Tensor]", targets: "Tensor") -> Callable[[], None]:
    import torch
    from torch.nn import functional

    optimiser = torch.optim.SGD(whole.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimiser.zero_grad()
        torch.autograd.backward(functional.cross_entropy(whole(inputs), targets))
        optimiser.step()

    return step


def _seconds(work: Callable[[], None], timing: Timing) -> float:
    """Return the mean seconds per call over at least `MINIMUM_S`, after one warm-up call."""
    from torch.utils.benchmark import Timer

    timer = Timer("work()", globals={"work": work}, num_threads=timing.threads)
    return float(timer.blocked_autorange(min_run_time=MINIMUM_S).mean)
