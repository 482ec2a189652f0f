"""What another network sees in an example: a task without labels, for distillation.

Targets are the teacher's features, less their mean and divided by their standard deviation over the training examples;
so are the head's outputs. The loss is then 0 where both see the same, and 1 for always predicting the mean.

Letters: n examples, b of a batch, d features of the teacher.
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
"""The teacher's features of a view, among what a batch knows of it."""


@dataclass(frozen=True)
class Features(LinearTask):
    """A linear function for each of the teacher's features; solved by ridge regression."""

    num_outputs: int = 0
    """How many features the teacher has; 0 before it was asked."""
    moves: bool = False
    """Whether the teacher was asked about every view, so that `encoded` finds what it saw among the placements."""
    classes: tuple[str, ...] = ()
    kind: str = "features"
    answers: Literal["probabilities", "values", "structured"] = "structured"
    exclusive: bool = False
    needs_labels: bool = False
    taught: bool = True

    def words(self) -> Words:
        """Features."""
        return replace(
            super().words(),
            output="feature",
            outputs="features",
            labelled="without labels",
            given="the features of its teacher, as nearly as it can tell",
            purpose="To begin other transfers with: `--backbone bundle:PATH`",
            caution="It predicts nothing but what its teacher would see.",
        )

    @property
    def facts(self) -> Mapping[str, Any]:
        """How many features the teacher has."""
        return {"num_outputs": self.num_outputs}

    def prepared(self, targets: Float[np.ndarray, "n d"]) -> "Features":
        """With as many outputs as the teacher has features."""
        return replace(self, num_outputs=targets.shape[1])

    def named(self, label: str) -> Sequence[str]:
        return ()

    def encode(self, labels: Sequence[str]) -> Float[np.ndarray, "n 0"]:
        """No numbers: labels do not tell them."""
        return np.zeros((len(labels), 0), dtype=np.float32)

    def encoded(
        self, targets: Float[np.ndarray, "b d"], placements: Mapping[str, np.ndarray]
    ) -> Float[np.ndarray, "b d"]:
        """What the teacher saw in the view of each row, or in the plain one where that is not known."""
        return placements.get(TAUGHT, targets)

    def strata(self, targets: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
        """One for all."""
        return np.zeros(len(targets), dtype=np.int64)

    def untaught(self, outside: Float[np.ndarray, "n d"], inside: Float[np.ndarray, "m d"]) -> Bool[np.ndarray, " m"]:
        """None: no value of a feature stands for a class."""
        return np.zeros(len(inside), dtype=bool)

    def decode(self, outputs: Float[np.ndarray, "n d"]) -> list[str]:
        """Features have no label."""
        return [""] * len(outputs)

    def predictions(self, outputs: Float[np.ndarray, "n d"]) -> list[Prediction]:
        """The features by number."""
        return [
            Prediction(id="", label="", probabilities={}, values={str(at): one for at, one in enumerate(row)})
            for row in outputs.tolist()
        ]

    def rescaled(self, logits: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """The outputs as they are: no confidence is stated."""
        return logits

    def solved_loss(self, targets: Float[np.ndarray, "n d"], *, balanced: bool = False) -> Squares:
        """Ridge regression."""
        check_weighable(self, balanced=balanced)
        return Squares(targets.astype(np.float64))

    def objective(
        self, targets: Float[np.ndarray, "n d"], *, balanced: bool, smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Mean squared error, which is what ridge regression minimises too."""
        from torch.nn.functional import mse_loss

        check_weighable(self, balanced=balanced, smoothing=smoothing)
        return mse_loss


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Features:
    """The task; it has no classes, and `facts` may hold `num_outputs`."""
    return Features(num_outputs=int((facts or {}).get("num_outputs", 0)))


ENTRY = task
