"""Regression of another network's features: a task without labels, for distillation.

Targets are the teacher's features, standardised over the training examples; so are the head's outputs. The loss is then
0 for a perfect match, and 1 for always predicting the mean.

Letters: n examples, b examples of a batch, d features of the teacher.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.contracts.example import check_weighable
from regraft.contracts.page import Words
from regraft.tasks.linear import LinearTask
from regraft.tasks.losses import Squares
from regraft.values import Prediction

if TYPE_CHECKING:
    from torch import Tensor

TAUGHT = "taught"
"""Name of the teacher's features of a view, among the placements of a batch."""


@dataclass(frozen=True)
class Features(LinearTask):
    """A linear function for each of the teacher's features; the linear head is solved by ridge regression."""

    num_outputs: int = 0
    """Number of the teacher's features; 0 before it is known."""
    moves: bool = False
    """Whether the teacher's features of every view are known, and given to `encoded` among the placements."""
    classes: tuple[str, ...] = ()
    kind: str = "features"
    answers: Literal["probabilities", "values", "structured"] = "structured"
    exclusive: bool = False
    needs_labels: bool = False
    taught: bool = True

    def words(self) -> Words:
        """Return the names that reports use: features."""
        return replace(
            super().words(),
            output="feature",
            outputs="features",
            labelled="without labels",
            given="an approximation of its teacher's features",
            purpose="Serves as the backbone for other transfers: `--backbone bundle:PATH`",
            caution="It predicts only the features of its teacher.",
        )

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the number of the teacher's features."""
        return {"num_outputs": self.num_outputs}

    def prepared(self, targets: Float[np.ndarray, "n d"]) -> "Features":
        """Return the task with as many outputs as the teacher has features."""
        return replace(self, num_outputs=targets.shape[1])

    def named(self, label: str) -> Sequence[str]:
        return ()

    def encode(self, labels: Sequence[str]) -> Float[np.ndarray, "n 0"]:
        """Return no numbers, since labels do not hold the targets."""
        return np.zeros((len(labels), 0), dtype=np.float32)

    def encoded(
        self, targets: Float[np.ndarray, "b d"], placements: Mapping[str, np.ndarray]
    ) -> Float[np.ndarray, "b d"]:
        """Return the teacher's features of each row's view, or of the plain view if those are not known."""
        return placements.get(TAUGHT, targets)

    def strata(self, targets: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
        """Return one stratum for all."""
        return np.zeros(len(targets), dtype=np.int64)

    def untaught(self, outside: Float[np.ndarray, "n d"], inside: Float[np.ndarray, "m d"]) -> Bool[np.ndarray, " m"]:
        """Return False for all: features have no classes."""
        return np.zeros(len(inside), dtype=bool)

    def decode(self, outputs: Float[np.ndarray, "n d"]) -> list[str]:
        """Return empty labels: features have none."""
        return [""] * len(outputs)

    def predictions(self, outputs: Float[np.ndarray, "n d"]) -> list[Prediction]:
        """Return the features by index."""
        return [
            Prediction(id="", label="", probabilities={}, values={str(at): one for at, one in enumerate(row)})
            for row in outputs.tolist()
        ]

    def rescaled(self, logits: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Return the outputs unchanged: no probabilities are predicted."""
        return logits

    def solved_loss(self, targets: Float[np.ndarray, "n d"], *, balanced: bool = False) -> Squares:
        """Return the loss of ridge regression."""
        check_weighable(self, balanced=balanced)
        return Squares(targets.astype(np.float64))

    def objective(
        self, targets: Float[np.ndarray, "n d"], *, balanced: bool, smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Return the mean squared error, which ridge regression minimises as well."""
        from torch.nn.functional import mse_loss

        check_weighable(self, balanced=balanced, smoothing=smoothing)
        return mse_loss


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Features:
    """Return the task, which has no classes; `facts` may have `num_outputs`."""
    return Features(num_outputs=int((facts or {}).get("num_outputs", 0)))


ENTRY = task
