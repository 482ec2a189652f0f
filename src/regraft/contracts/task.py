"""A task: what a model predicts. It defines targets, head, loss, outputs and predictions.

To add one, put a file in `tasks/` whose `ENTRY` is a function `(classes, facts) -> Task`; `facts` is what `Task.facts`
returned for a saved model, or the recipe's [target] table. Everything specific to a target type lives in the task; no
other code branches on its name. Tasks with a linear head and a convex loss subclass `tasks.linear.LinearTask`.

Metrics compare outputs with *targets*; the loss takes *encoded* targets. The targets of all examples are one numpy
array: numeric if they have a common shape, else of objects (boxes, spans). Letters: n examples, b rows of a batch. A
*row* is one (example, view, piece): a view is an augmented copy, a piece a window of a text or a slice of a volume.
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
    """Which activations the head reads."""

    readout: str = "pooled"
    """The readout of the last stage: `pooled` (n d), `tokens` (n t d) or `grid` (n c h w)."""
    strides: tuple[int, ...] = ()
    """Strides of the taps it reads as well, for a feature pyramid; the card maps taps to strides."""
    whole: bool = False
    """Whether inputs must show the whole example, uncropped, because a target may lie at its edge."""
    itself: Literal["", "tokens", "values"] = ""
    """Which parts of the input are predicted (its next or its hidden tokens; its hidden values): `Modality.itself`."""


class Task(Labelling, Exported):
    """One prediction problem, built from the labels in the data. `Labelling` converts labels to targets."""

    reads: Reads = Reads()
    """What the head reads: the readout alone, or, with strides, a mapping with the readout and the taps by name."""
    answers: Literal["probabilities", "values", "structured"] = "structured"
    """What `outputs` returns: probabilities or values (n k), or one structured object per example (boxes, a span)."""
    ranked: bool = False
    """Whether the classes are ordered (ordinal classification)."""
    moves: bool = False
    """Whether targets move with views and pieces (boxes, spans), so that `encoded` and `gathered` need placements."""
    generates: bool = False
    """Whether predictions are generated step by step (a translation) instead of read off the head's output."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a saved model needs to rebuild the task besides kind and classes, as JSON."""
        return {}

    def words(self) -> Words:
        """Return the names reports use for the outputs. Override where better names than the defaults exist."""
        return Words.plain(self.kind)

    def for_preparation(self, preparation: Any) -> "Task":
        """Return the task adapted to the fitted preparation; a task that generates text takes its vocabulary there."""
        return self

    @abstractmethod
    def encoded(self, targets: Shaped[np.ndarray, "b ..."], placements: Mapping[str, np.ndarray]) -> Any:
        """Return the targets of a batch in the form the loss takes: an array, or a mapping of arrays. `placements` say
        how each row was cut out of its example, for moving boxes and spans along; may be empty."""

    @abstractmethod
    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """Return a new head: what it reads -> a tensor with the row on the first axis, or a mapping of such tensors.

        `widths` are the channels of the readout and the taps, by name. `source_head` is the pretrained network's head,
        for tasks that start from it.
        """

    @abstractmethod
    def objective(
        self, targets: Shaped[np.ndarray, "n ..."], *, balanced: bool, smoothing: float
    ) -> "Callable[[Any, Any], Tensor]":
        """Return the training loss: (head's output, encoded targets) -> mean loss of the batch, a scalar.

        `targets` are the training examples', for example for class weights. `balanced` weights classes inversely to
        their frequency; `smoothing` is label smoothing in [0, 1).
        """

    @abstractmethod
    def gathered(self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any) -> np.ndarray:
        """Return raw outputs per example, pieces merged, from the head's outputs per batch (numpy, in order). With
        `generates`, the batches hold generated tokens instead."""

    def judged(
        self, raw: np.ndarray, targets: np.ndarray, mean_loss: float, loss: "Callable[[Any, Any], Tensor]"
    ) -> tuple[float, float]:
        """Return (validation loss, model-selection criterion), equal unless confidence is recalibrated afterwards."""
        return mean_loss, mean_loss

    def scores(self, raw: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Return a few numbers to display during training, by name; nothing depends on them."""
        return {}

    def outputs(self, raw: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Return outputs in the form metrics take: probabilities, values in the user's units, or structured objects."""
        return raw

    def stated(self, raw: np.ndarray, targets: np.ndarray) -> "tuple[np.ndarray, np.ndarray, np.ndarray] | None":
        """Return logits for calibration: (logits (s o), index of the true option (s), example index (s)), with a row s
        for each predicted distribution over o options; None if the task predicts no probabilities."""
        return None

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> list[str]:
        """Return the predicted label of each output, in the form `encode` accepts."""

    @abstractmethod
    def predictions(self, outputs: np.ndarray) -> list[Prediction]:
        """Return user-facing predictions, before example names are attached."""


MakeTask = Callable[..., Task]
"""(classes, facts) -> the task. Without `facts`, a task that has not seen data."""

TASKS: Shelf[MakeTask] = Shelf("task", "regraft.tasks")
