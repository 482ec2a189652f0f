"""Classification: one label per example.

Letters: n examples, b examples of a batch, c classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.page import Words
from regraft.tasks.linear import LinearTask
from regraft.tasks.losses import Softmax, fit_temperature, softmax
from regraft.words import counted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Classification(LinearTask):
    """Softmax over the classes; the linear head is solved by multinomial logistic regression."""

    classes: tuple[str, ...]
    kind: str = "classification"
    weighable: bool = True

    def words(self) -> Words:
        """Return the names that reports use: classes."""
        of = f"of {counted(len(self.classes), 'class', 'classes')}"
        return Words(
            output="class",
            outputs="classes",
            asked=of,
            labelled=of,
            given=f"one {of}, with a probability for each",
            purpose="Assigns inputs of the kind the model was trained on to the classes above",
        )

    def outputs(self, logits: Float[np.ndarray, "n c"], temperature: float = 1.0) -> Float[np.ndarray, "n c"]:
        """Return the softmax of the logits divided by `temperature`; rows sum to 1."""
        return softmax(logits.astype(np.float64) / temperature)

    def graph(self, output: "Tensor", temperature: float, placed: Mapping[str, "Tensor"]) -> "Mapping[str, Tensor]":
        return {"outputs": (output / temperature).softmax(dim=1)}

    def stated(
        self, logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, "n"]
    ) -> tuple[Float[np.ndarray, "n c"], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        """Return one distribution per example, over the classes."""
        return logits, targets, np.arange(len(targets))

    def scores(self, logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, "n"]) -> dict[str, float]:
        """Return the accuracy."""
        return {"accuracy": float((logits.argmax(axis=1) == targets).mean())}

    def rescaled(self, logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n c"]:
        """Return the logits divided by the temperature that minimises the log loss."""
        return logits / np.float32(fit_temperature(logits, targets))

    def solved_loss(self, targets: Int[np.ndarray, "n"], *, balanced: bool = False) -> Softmax:
        """Return the loss of multinomial logistic regression."""
        weights = class_weights(targets, self.num_outputs)[targets] if balanced else None
        return Softmax(targets, self.num_outputs, weights=weights)

    def objective(
        self, targets: Int[np.ndarray, "n"], *, balanced: bool, smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Return the cross entropy; with class weights, the batch mean is weighted as in torch."""
        import torch

        weights = class_weights(targets, self.num_outputs) if balanced else None
        tensor = None if weights is None else torch.from_numpy(weights.astype(np.float32))
        return partial(_cross_entropy, weights=tensor, smoothing=smoothing)


def _cross_entropy(logits: "Tensor", targets: "Tensor", weights: "Tensor | None", smoothing: float) -> "Tensor":
    from torch.nn.functional import cross_entropy

    weights = None if weights is None else weights.to(logits.device)
    return cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)


def class_weights(targets: Int[np.ndarray, "n"], num_classes: int) -> Float[np.ndarray, "c"]:
    """Return class weights that give every class the same total over `targets`; their mean over the examples is 1.

    A class without examples has weight 1.
    """
    counts = np.bincount(targets, minlength=num_classes)
    return np.where(counts > 0, len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 1.0)


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Classification:
    """Return the task with these classes, in this order; of two, the second is the positive one. `facts` is unused."""
    return Classification(tuple(dict.fromkeys(classes)))


ENTRY = task
