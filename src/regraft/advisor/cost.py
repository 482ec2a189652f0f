"""Estimated cost of a strategy on this machine: seconds, memory and disk, from the layers' costs and a few timed
batches.

The stages below the cut take a share of a forward pass equal to their share of its multiply-adds, once for each example
and view; a training step of the stages above is timed. Seconds are CPU seconds, which do not depend on other processes
on the machine; on an accelerator they are wall-clock seconds.
"""

from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regraft.backbones.costs import NetworkCosts

FLOAT = {"float16": 2, "float32": 4}
COPIES = 4
"""Copies in memory of each trained parameter: the parameter, its gradient, and two moments of the optimiser."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Amount of training to estimate the cost of."""

    cut: str
    examples: int
    """Number of training examples."""
    others: int
    """Number of validation and test examples, which need the plain view only."""
    validated: int = 0
    """Number of examples used for validation in every epoch."""
    trainings: float = 1.0
    """Number of trainings; more than one in cross-validation."""
    views: int
    """Stored views of each training example; 0: new views in every epoch."""
    epochs: int
    """Number of epochs; 0 if the head is solved directly."""
    batch: int
    min_steps: int
    checked: int
    """Maximum number of examples that the finished model is checked on: they go through the whole network again."""
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Measured seconds per example on this machine."""

    loading: float
    """Seconds to decode and prepare one view."""
    running: float
    """Seconds of a forward pass of the whole network in evaluation mode."""
    training: float
    """Seconds of a training step of the stages above the cut."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Estimated cost of a plan."""

    filling_s: float
    """Seconds to compute the stored activations."""
    training_s: float
    """Seconds of training, without early stopping."""
    rest_s: float = 0.0
    """Seconds of everything else: opening data and weights, the probe baseline, evaluation, saving the model."""
    memory_bytes: int
    """Bytes of the activations kept for a batch, the trained parameters, and their gradients and optimiser state."""
    disk_bytes: int
    """Bytes stored on disk."""

    @property
    def seconds(self) -> float:
        """Total seconds."""
        return self.filling_s + self.training_s + self.rest_s


def cost(network: "NetworkCosts", stages: tuple[str, ...], plan: Plan, rates: Rates) -> Cost:
    """Return the estimated cost of a plan, given the seconds per example."""
    below = stages if plan.cut == "output" else () if plan.cut == "input" else stages[: stages.index(plan.cut) + 1]
    whole = sum(part.multiply_adds for part in network.stages)
    share = sum(part.multiply_adds for part in network.stages if part.name in below) / max(whole, 1)
    above = [part for part in network.stages if part.name not in below]
    again = plan.views == 0  # new views in every epoch: nothing is stored below the cut
    rows = 0 if again else plan.examples * plan.views + plan.others
    plain = plan.examples + plan.others  # stored at the output, for the probe and the test
    steps = max(plan.min_steps, plan.epochs * ceil(plan.examples / plan.batch)) if plan.epochs else 0
    step = rates.training + (rates.loading + share * rates.running if again else 0.0)
    epochs = steps / ceil(plan.examples / plan.batch)
    training = steps * plan.batch * step + epochs * plan.validated * (1 - share) * rates.running
    last = network.stages[len(below) - 1].output if below else None
    row = (
        prod(last)
        if last and plan.cut != "output"
        else network.stages[-1].output[0]
        if network.stages[-1].output
        else 0
    )
    stored = rows * row * FLOAT.get(plan.dtype, 4) if plan.cut != "input" else 0
    return Cost(
        filling_s=rows * (rates.loading + share * rates.running)
        + plain * ((1 - share) * rates.running + (0.0 if rows else rates.loading + share * rates.running)),
        training_s=training * plan.trainings,
        rest_s=min(plan.checked, plain) * (rates.loading + rates.running) + (plan.others * (1 - share) * rates.running),
        memory_bytes=sum(part.kept_bytes for part in above) * plan.batch
        + 4 * COPIES * sum(part.parameters for part in above),
        disk_bytes=stored,
    )
