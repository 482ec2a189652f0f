"""How long a cell will take: one step is timed before anything is trained, and what was trained tells better."""

import time
from typing import TYPE_CHECKING

import numpy as np

from regraft.contracts.study import Arm
from regraft.lab._costs import Cost
from regraft.lab._examples import Examples
from regraft.lab._family import family_of
from regraft.lab._setting import Setting

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from regraft.strategies.tail import Tail

REPEATS = 2
"""Steps that are timed, after one that warms up; the quickest counts."""


def seconds_to_load(examples: Examples, setting: Setting) -> float:
    """Wall seconds in which a batch is decoded and cut; it runs beside training, so it counts where cores are few."""
    positions = examples.drawn(examples.sizes[0], 0)[: setting.batch]
    began = time.perf_counter()
    examples.states.batch(positions, np.ones_like(positions))
    return time.perf_counter() - began


def seconds_a_step(arm: Arm, cost: Cost, setting: Setting, num_classes: int, device: str) -> float:
    """Wall seconds of a step on a batch of noise: forward, backward, update; auxiliary classifiers included."""
    import torch

    from regraft.contracts.family import built
    from regraft.nn.heads import PooledHead
    from regraft.strategies.tail import Tail

    family = family_of(arm.design, cost.widths, setting.input_px)
    with torch.random.fork_rng(devices=[]):
        network = built(family, family.card(family.variants[0])).network
        sides = num_classes if arm.options.get("side_heads") else 0
        head = PooledHead(family.card(family.variants[0]).width, num_classes)
        tail = Tail(network, "input", head, "pooled", batch_norm="train", side_outputs=sides)
        tail.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (setting.batch, setting.input_px, setting.input_px, 3)
        noise = torch.randint(256, shape, dtype=torch.uint8).to(device)
        optimiser = torch.optim.AdamW(tail.parameters(), lr=0.0, fused=device in ("cpu", "cuda"))
        taken = [_step(tail, optimiser, {"pixels": noise}, device) for _ in range(1 + REPEATS)]
    return float(np.min(taken[1:]))


def _step(tail: "Tail", optimiser: "Optimizer", state: "dict[str, Tensor]", device: str) -> float:
    import torch

    began = time.perf_counter()
    passed = tail.train().passed(state)
    torch.stack([one.square().mean() for one in (passed.logits, *passed.sides.values())]).sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began


def seconds_a_cell(step_s: float, setting: Setting, num_tried: int) -> float:
    """Of all steps, and of trying `num_tried` examples, which costs a third of a step's arithmetic each."""
    return step_s * (setting.steps + num_tried / setting.batch / 3)
