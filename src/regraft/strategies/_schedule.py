"""How long, how large, how fast."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regraft.strategies._growth import Growth
    from regraft.strategies._mixing import Mixing
    from regraft.strategies._optimiser import OptimiserName

from regraft.strategies._phases import Phases


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What the loop is told; the strategy's options decide it."""

    epochs: int
    """Passes over the training examples."""
    batch: int
    """Examples per step."""
    warmup_share: float
    """Share of all steps over which the rate rises; a cosine to zero follows."""
    patience: int
    """Epochs without a lower validation loss before training stops; 0: never. Unused without validation examples."""
    clip_norm: float
    """Largest norm of the gradient; 0 is no limit."""
    smoothing: float
    """Label smoothing of the training loss, in [0, 1)."""
    balanced: bool
    """Whether every class weighs the same, in training and validation."""
    phases: Phases | None
    """When which stages are trained; None: all of them all the time."""
    judge_start: bool
    """Whether the start is a model in its own right, which is kept where no epoch has a lower validation loss."""
    average: float
    """Share that the average of the weights keeps at each step, in [0, 1); 0: none is made, and the weights themselves
    are judged and kept."""
    half: bool
    """Whether passes run in bfloat16."""
    mixing: "Mixing | None" = None
    """How the examples of a batch are mixed; None mixes none."""
    growth: "Growth | None" = None
    """How large the inputs are, epoch by epoch; None: whole all the time."""
    resample: float = 0.0
    """How far classes are drawn alike often, in [0, 1]; 0: every example once an epoch."""
    optimiser: "OptimiserName" = "adamw"
    """What turns gradients into steps."""


def rate(step: int, steps: int, warmup_share: float) -> float:
    """The factor on the peak rates at `step` of `steps`, in (0, 1]: `(step + 1) / w` over the first w steps, then
    `(1 + cos(pi t)) / 2`, t running from 0 towards 1 over the others.

    Source: Loshchilov & Hutter 2016, arXiv:1608.03983, without restarts; Goyal et al. 2017, arXiv:1706.02677 (warm-up).
    """
    warmup = round(steps * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
