"""Distillation in the training loop: the teacher's features beside the states, and the distance to them.

Letters: b rows of a batch, d features of the teacher.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regraft.activations.states import Numbers, States
from regraft.contracts.strategy import Problem
from regraft.identity import derive_seed
from regraft.strategies._steps import seeded
from regraft.strategies.tail import Batch, Tail, Term
from regraft.tasks.features import TAUGHT


class Taught(States):
    """The student's states, with the teacher's features of the same rows: in the state, for loss terms, and among the
    placements, for targets."""

    def __init__(self, own: States, teachers: States) -> None:
        self._own, self._teachers = own, teachers

    @property
    def num_views(self) -> int | None:
        return self._own.num_views

    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        return {**self._own.batch(examples, views, pieces), **self.placements(examples, views, pieces)}

    def pieces_of(self, examples: Numbers) -> Numbers:
        return self._own.pieces_of(examples)

    def placements(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        return {TAUGHT: self._teachers.batch(examples, views, pieces)["features"]}


class Distance(Term):
    """Mean squared error between the linearly projected features and the teacher's (b d) in the same views."""

    def __init__(self, problem: Problem, weight: float) -> None:
        super().__init__()
        self.weight, first = weight, problem.train[:1]
        width = problem.states.batch(first, np.zeros_like(first))[TAUGHT].shape[1]
        with seeded(derive_seed(problem.seed, "projector")):
            self.projector = nn.Linear(problem.backbone.card.width, width)

    def forward(self, tail: Tail, batch: Batch) -> Float[Tensor, ""]:
        read = batch.passed.features
        made = self.projector(read[tail.readout] if isinstance(read, dict) else read)
        return self.weight * functional.mse_loss(made.float(), batch.state[TAUGHT])
