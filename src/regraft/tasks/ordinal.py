"""One class per example, the classes having ranks: grades, stages, stars.

K classes are K - 1 questions, "is it above rank k?", each decided by a logistic regression of its own; the probability
of a class is that of being above the rank below it less that of being above its own (Frank and Hall 2001, A simple
approach to ordinal classification). Separately learned, these probabilities may rise with k, which they must not:
they are made to fall by taking at each rank the least so far (our choice), so that every class has a probability of 0
or more and they sum to 1.

Letters: n examples, b of a batch, k classes, c = k - 1 questions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.page import Words
from regraft.tasks.losses import sigmoid
from regraft.tasks.multilabel import BinaryTask
from regraft.words import counted, listed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ordinal(BinaryTask):
    """A sigmoid for each rank but the highest; solved by independent logistic regressions."""

    classes: tuple[str, ...]
    kind: str = "ordinal"
    ranked: bool = True

    def words(self) -> Words:
        """Ranked classes."""
        of = f"of {counted(len(self.classes), 'class', 'classes')}"
        return Words(
            output="class",
            outputs="classes, or their order,",
            asked=f"of {len(self.classes)} ranked classes",
            labelled=f"{of}, in rising order {listed(self.classes, limit=12)}",
            given=f"one {of} in rising order, with a probability for each",
            purpose="To put inputs of the kind it was trained on into the ranked classes above",
        )

    @property
    def num_outputs(self) -> int:
        """One less than there are classes."""
        return len(self.classes) - 1

    def encoded(self, targets: Int[np.ndarray, "n"], placements: Mapping[str, np.ndarray]) -> Float[np.ndarray, "n c"]:
        """1 for every rank that an example is above, else 0; float32."""
        return (targets[:, None] > np.arange(self.num_outputs)).astype(np.float32)

    def outputs(self, logits: Float[np.ndarray, "n c"], temperature: float = 1.0) -> Float[np.ndarray, "n k"]:
        """The probability of every class; rows sum to 1."""
        above = np.minimum.accumulate(sigmoid(logits.astype(np.float64) / temperature), axis=1)
        edges = np.pad(above, ((0, 0), (1, 1)), constant_values=((0, 0), (1.0, 0.0)))
        return edges[:, :-1] - edges[:, 1:]

    def graph(self, output: "Tensor", temperature: float, placed: Mapping[str, "Tensor"]) -> "Mapping[str, Tensor]":
        import torch

        above = list(torch.split((output / temperature).sigmoid(), 1, dim=1))
        for at in range(1, len(above)):
            above[at] = torch.minimum(above[at], above[at - 1])
        edges = torch.cat([torch.ones_like(above[0]), *above, torch.zeros_like(above[0])], dim=1)
        return {"outputs": edges[:, :-1] - edges[:, 1:]}

    def scores(self, logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, "n"]) -> dict[str, float]:
        """The share of right classes, and the mean distance in ranks."""
        ranks = self.outputs(logits).argmax(axis=1)
        return {"accuracy": float((ranks == targets).mean()), "rank_mae": float(np.abs(ranks - targets).mean())}


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Ordinal:
    """The task with these classes, from the lowest rank to the highest. There are no facts beside."""
    return Ordinal(tuple(dict.fromkeys(classes)))


ENTRY = task
