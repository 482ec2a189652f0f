"""BSS, batch spectral shrinkage: penalises the smallest singular values of a batch's features.

    eta * (sum of the k smallest squared singular values of F)

F (b d) holds the features of the batch, the inputs of the head. Components with small singular values transfer badly;
the term suppresses them during training.

Source: Chen et al. 2019, "Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer
Learning", NeurIPS 2019. eta = 0.001 and k = 1 are those of thuml's Transfer-Learning-Library, by the same group.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from regraft.contracts.strategy import Problem
from regraft.errors import BadData
from regraft.strategies.regularisers.regulariser import Kind, Regulariser
from regraft.strategies.tail import Batch, Tail

WEIGHT = 0.001
"""eta."""
SMALLEST = 1
"""k, the number of singular values to shrink."""


class SpectralShrinkage(Regulariser):
    """The smallest squared singular value of a batch's features."""

    min_rows = 2

    def forward(self, tail: Tail, batch: Batch) -> Float[Tensor, ""]:
        values = torch.linalg.svdvals(batch.passed.features.flatten(1).float())
        return self.weight * values[-SMALLEST:].square().sum()


def build(problem: Problem, tail: Tail, weight: float) -> SpectralShrinkage:
    """Return the regulariser, which needs no preparation.

    Raises:
        BadData: there is a single training example, but a spectrum needs two.
    """
    if len(problem.train) < SpectralShrinkage.min_rows:
        raise BadData(
            f"The regulariser 'bss' compares the rows of a batch, but there is only {len(problem.train)} training "
            f"example.",
            fix="add examples, or leave out options.regulariser.",
        )
    return SpectralShrinkage(weight)


ENTRY = Kind(weight=WEIGHT, build=build)
