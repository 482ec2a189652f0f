"""What a strategy costs on this machine: seconds, memory and disk, from the layers' account and a few timed batches.

Of a step the stages above the cut take the share that their multiply-adds are of all; the frozen part is run once for
each example and view. Side costs, such as decoding and cross-validation, are left out.
"""

from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regraft.backbones.costs import NetworkCosts

FLOAT = {"float16": 2, "float32": 4}
COPIES = 4
"""Of each trained parameter: itself, its gradient, and two moments of the optimiser."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be trained."""

    cut: str
    examples: int
    """Training examples."""
    others: int
    """Examples that only the plain view is needed of: validation, test."""
    views: int
    """Stored views of each training example; 0: new ones in every epoch."""
    epochs: int
    """0: the head is solved."""
    batch: int
    min_steps: int
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it takes."""

    filling_s: float
    """Seconds for what is computed once."""
    training_s: float
    """Seconds of training, without early stopping."""
    memory_bytes: int
    """Activations that are kept for a batch, and trained parameters with what the optimiser has of them."""
    disk_bytes: int
    """What is stored."""

    @property
    def seconds(self) -> float:
        """In all."""
        return self.filling_s + self.training_s


def cost(network: "NetworkCosts", stages: tuple[str, ...], plan: Plan, *, running: float, training: float) -> Cost:
    """The cost of a plan; `running` and `training` are examples a second of the whole network."""
    below = stages if plan.cut == "output" else () if plan.cut == "input" else stages[: stages.index(plan.cut) + 1]
    whole = sum(part.multiply_adds for part in network.stages)
    share = sum(part.multiply_adds for part in network.stages if part.name in below) / max(whole, 1)
    above = [part for part in network.stages if part.name not in below]
    rows = plan.examples * max(plan.views, 1) + plan.others
    steps = max(plan.min_steps, plan.epochs * ceil(plan.examples / plan.batch)) if plan.epochs else 0
    seen = steps * plan.batch
    step = (1 - share) / training
    again = share / running if plan.views == 0 and plan.cut != "input" else 0.0
    last = network.stages[len(below) - 1].output if below else None
    row = (
        prod(last)
        if last and plan.cut != "output"
        else network.stages[-1].output[0]
        if network.stages[-1].output
        else 0
    )
    stored = rows * row * FLOAT.get(plan.dtype, 4) if plan.cut != "input" and plan.views else 0
    return Cost(
        filling_s=rows * share / running + plan.others * (1 - share) / running,
        training_s=seen * (step + again),
        memory_bytes=sum(part.kept_bytes for part in above) * plan.batch
        + 4 * COPIES * sum(part.parameters for part in above),
        disk_bytes=stored,
    )
