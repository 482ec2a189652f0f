"""What a strategy costs on this machine: seconds, memory and disk, from the layers' account and a few timed batches.

Of a run of the network the stages below the cut take the share that their multiply-adds are of all, once for each
example and view; a training step of those above is timed. Seconds are CPU seconds, which do not depend on what else the
machine does; where an accelerator does the work they are wall seconds.
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
    validated: int = 0
    """Examples that every epoch is validated on."""
    trainings: float = 1.0
    """How many times as much is trained: more than once in cross-validation."""
    views: int
    """Stored views of each training example; 0: new ones in every epoch."""
    epochs: int
    """0: the head is solved."""
    batch: int
    min_steps: int
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Seconds for one example here."""

    loading: float
    """To decode and prepare one view."""
    running: float
    """To run the whole network in evaluation mode."""
    training: float
    """Of a training step of what lies above the cut."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it takes."""

    filling_s: float
    """Seconds for what is computed once."""
    training_s: float
    """Seconds of training, without early stopping."""
    rest_s: float = 0.0
    """Seconds of everything else (opening, the probe beside it, evaluation, the saved model), where it was measured."""
    memory_bytes: int
    """Activations that are kept for a batch, and trained parameters with what the optimiser has of them."""
    disk_bytes: int
    """What is stored."""

    @property
    def seconds(self) -> float:
        """In all."""
        return self.filling_s + self.training_s + self.rest_s


def cost(network: "NetworkCosts", stages: tuple[str, ...], plan: Plan, rates: Rates) -> Cost:
    """The cost of a plan where an example takes so many seconds."""
    below = stages if plan.cut == "output" else () if plan.cut == "input" else stages[: stages.index(plan.cut) + 1]
    whole = sum(part.multiply_adds for part in network.stages)
    share = sum(part.multiply_adds for part in network.stages if part.name in below) / max(whole, 1)
    above = [part for part in network.stages if part.name not in below]
    again = plan.views == 0  # new views in every epoch: nothing is stored below the cut
    rows = 0 if again else plan.examples * plan.views + plan.others
    plain = plan.examples + plan.others  # read at the top, for the probe and the test
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
        memory_bytes=sum(part.kept_bytes for part in above) * plan.batch
        + 4 * COPIES * sum(part.parameters for part in above),
        disk_bytes=stored,
    )
