"""Co-Tuning: the pretrained classifier is kept and trained along, on the source classes that a target class resembles.

    lambda * 1/b sum_i sum_s -p(s | t_i) log q_s(x_i)

q is the softmax of the source classifier on the features of x_i, t_i its class, p(s | t) the category relationship,
learnt beforehand from what the untouched source classifier says of the training examples (`_relationship`). The source
classifier learns at the learning rate of the highest stage and is thrown away in the end.

Source: You et al. 2020, "Co-Tuning for Transfer Learning", NeurIPS 2020; lambda = 2.3 is that of the authors' code
(thuml/CoTuning). They calibrate the source classifier on its own validation data; a backbone does not bring those
along, so its probabilities are taken as they are.

Letters: b rows, t target classes, s source classes.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regraft.contracts.strategy import Problem
from regraft.folds import folds
from regraft.identity import derive_seed
from regraft.strategies.probe import features_of
from regraft.strategies.regularisers._relationship import Relationship, direct, reverse
from regraft.strategies.regularisers.regulariser import Kind, Regulariser
from regraft.strategies.tail import Batch, Tail
from regraft.tasks.linear import linear
from regraft.tasks.losses import softmax

WEIGHT = 2.3
"""lambda."""
FOLDS = 5
"""Folds of the training examples in which the relationship is chosen and calibrated."""
MAX_EXAMPLES = 2000
"""Training examples that the relationship is learnt from, at most (our choice)."""
ROWS = 256
"""Rows that the source classifier is asked about at once."""


class CoTuning(Regulariser):
    """Cross entropy of the source classifier against the category relationship."""

    def __init__(self, source_head: nn.Module, relationship: Float[Tensor, "t s"], weight: float) -> None:
        super().__init__(weight)
        self.source_head = source_head
        self.relationship: Tensor
        self.register_buffer("relationship", relationship, persistent=False)

    def forward(self, tail: Tail, batch: Batch) -> Float[Tensor, ""]:
        said = torch.log_softmax(self.source_head(batch.passed.features), dim=1)
        return -self.weight * (self.relationship[batch.targets] * said).sum(dim=1).mean()


def build(problem: Problem, tail: Tail, weight: float) -> CoTuning:
    """Take the source classifier, and learn how its classes relate to the new ones."""
    source_head = problem.backbone.fresh_network().source_head
    assert source_head is not None
    found = _learnt(problem, source_head)
    made = CoTuning(source_head.requires_grad_(True), torch.from_numpy(found.given_target.astype(np.float32)), weight)
    made.facts, made.notes = {"source_classes": found.given_target.shape[1], **found.facts}, found.notes
    return made


def _learnt(problem: Problem, source_head: nn.Module) -> Relationship:
    """The relationship from the plain views of the training examples, by folds where there are any."""
    random = np.random.default_rng(derive_seed(problem.seed, "co_tuning"))
    positions = np.sort(random.permutation(problem.train)[:MAX_EXAMPLES])
    targets, groups = problem.targets[positions], problem.groups[positions]
    said = source_probabilities(problem, source_head, positions)
    if len(np.unique(groups)) < 2 or len(np.unique(targets)) < 2:
        return direct(said, targets, linear(problem.task).num_outputs)
    dealt = folds(targets, groups, FOLDS, derive_seed(problem.seed, "co_tuning", "folds"))
    return reverse(said, targets, linear(problem.task).num_outputs, dealt.of_example)


def source_probabilities(
    problem: Problem, source_head: nn.Module, positions: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n s"]:
    """What the untouched source classifier says of the plain views of these examples."""
    features, parts = features_of(problem, positions), []
    source_head.eval()
    with torch.no_grad():
        for first in range(0, len(positions), ROWS):
            rows = np.ascontiguousarray(features[first : first + ROWS], dtype=np.float32)
            parts.append(source_head(torch.from_numpy(rows)).numpy())
    source_head.train()
    return softmax(np.concatenate(parts))


ENTRY = Kind(weight=WEIGHT, relates_classes=True, build=build)
