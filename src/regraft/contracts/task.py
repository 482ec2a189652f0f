"""What is asked of a model: targets, head, loss, outputs, predictions.

One file in `tasks/` defines one task: its `ENTRY` is a function `(classes, facts) -> Task`; `facts` are what
`Task.facts` gave for a saved model, or what the recipe's [target] says. Whatever depends on the kind of target stands
in the task, so that nothing else asks for its name. Tasks whose head is convex are `tasks.linear.LinearTask`.

A *target* is what metrics compare with, an *encoded* one what the loss takes. Targets of all examples are one numpy
array: of numbers where they have one shape, of objects where each is a record (boxes, a span). Letters: n examples,
b rows of a batch (an example has one per view and piece).
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Int, Shaped

from regraft.contracts.example import Exported, Labelling
from regraft.contracts.page import Words
from regraft.registry import Shelf
from regraft.values import Prediction

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Reads:
    """What the head reads of a network."""

    readout: str = "pooled"
    """A readout of the top state: `pooled` (n d), `tokens` (n t d) or `grid` (n c h w)."""
    strides: tuple[int, ...] = ()
    """Strides of the taps that it reads besides, as a feature pyramid does; the card says which tap has which."""
    whole: bool = False
    """Whether inputs must show all of the example, nothing cut off: what is asked for may lie at its edge."""


class Task(Labelling, Exported):
    """A kind of question; a value made from the labels that occur. How these become targets: `Labelling`."""

    reads: Reads = Reads()
    """What the head reads; with strides it is given a mapping of all it reads by name, else the readout alone."""
    answers: Literal["probabilities", "values", "records"] = "records"
    """What `outputs` hold: probabilities or numbers (n k), or a record for each example."""
    ranked: bool = False
    """Whether the classes have ranks, and so an order that is part of the task."""
    moves: bool = False
    """Whether targets move with views and pieces, so that `encoded` and `gathered` want placements."""
    generates: bool = False
    """Whether predictions are generated step by step (a translation) instead of read off the head's output."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a saved model must know of the task beside kind and classes, as JSON."""
        return {}

    def words(self) -> Words:
        """What its outputs are called; a task with better words than these gives them."""
        return Words.plain(self.kind)

    def for_preparation(self, preparation: Any) -> "Task":
        """The task, knowing what it must of how records are made: one that writes text takes its vocabulary there."""
        return self

    @abstractmethod
    def encoded(self, targets: Shaped[np.ndarray, "b ..."], placements: Mapping[str, np.ndarray]) -> Any:
        """The targets of a batch as the loss takes them: an array, or a mapping of arrays by name.

        `placements` say how each row was cut out of its example, so that boxes and spans move with it; may be empty.
        """

    @abstractmethod
    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """A fresh head: what it reads -> a tensor with the row on the first axis, or a mapping of such by name.

        `widths` are the channels of all that it reads, by readout and tap; `source_head` is the pretrained network's
        own, for a task that goes on with it.
        """

    @abstractmethod
    def objective(
        self, targets: Shaped[np.ndarray, "n ..."], *, balanced: bool, smoothing: float
    ) -> "Callable[[Any, Any], Tensor]":
        """The loss to train with: (head's output, encoded targets) -> mean loss of a batch, a scalar.

        `targets` are those of the training examples, for what the loss must know of them. `balanced`: every class
        weighs the same; `smoothing`: label smoothing in [0, 1).
        """

    @abstractmethod
    def gathered(self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any) -> np.ndarray:
        """Raw outputs of examples from the head's outputs of batches (numpy), in their order: pieces are merged here.
        With `generates`, the batches hold what the network generated."""

    def judged(
        self, raw: np.ndarray, targets: np.ndarray, mean_loss: float, loss: "Callable[[Any, Any], Tensor]"
    ) -> tuple[float, float]:
        """The validation loss, and what chooses the epoch to keep: the same unless confidence can be mended."""
        return mean_loss, mean_loss

    def scores(self, raw: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """A few numbers to watch while training, by name; they decide nothing."""
        return {}

    def outputs(self, raw: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Raw outputs as metrics take them: probabilities, values in the user's units, or records."""
        return raw

    def stated(self, raw: np.ndarray, targets: np.ndarray) -> "tuple[np.ndarray, np.ndarray, np.ndarray] | None":
        """Every probability that is stated, as a choice between some options: their logits (s o), which option is true
        (s), and which example it is of (s). Calibration looks at these; None where no probability is stated."""
        return None

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> list[str]:
        """The label that each output says, as `encode` takes it."""

    @abstractmethod
    def predictions(self, outputs: np.ndarray) -> list[Prediction]:
        """What the user is told of each output, not yet named."""


MakeTask = Callable[..., Task]
"""(classes, facts) -> the task; without facts, those of a task that has seen no data."""

TASKS: Shelf[MakeTask] = Shelf("task", "regraft.tasks")
