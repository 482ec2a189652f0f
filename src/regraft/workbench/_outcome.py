"""What a finished training leaves behind, before it is evaluated, written and reported."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from regraft.activations.stored import ahead
from regraft.backbones.backbone import Backbone
from regraft.contracts.modality import Placement, Record
from regraft.contracts.strategy import Fitted, Problem
from regraft.recipe import Recipe
from regraft.workbench._crossvalidate import HeldOut
from regraft.workbench._resolve import Resolved
from regraft.workbench._states import Stored
from regraft.workbench.session import Session


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Logits of one model on some examples."""

    positions: Int[np.ndarray, "n"]
    """Which examples."""
    logits: Shaped[np.ndarray, "n ..."]
    """Raw outputs on the plain view: logits (n c) of most tasks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """Everything that a finished training leaves behind."""

    session: Session
    resolved: Resolved
    backbone: Backbone
    stored: Stored
    problem: Problem
    probe_problem: Problem
    fitted: Fitted
    probe: Fitted
    held: HeldOut | None
    probe_held: HeldOut | None
    device: str
    threads: int

    @property
    def recipe(self) -> Recipe:
        """What was asked for."""
        return self.session.recipe

    @property
    def tuned(self) -> bool:
        """Whether anything but the head was trained."""
        return not self.resolved.strategy.solved

    def scores(self, positions: np.ndarray) -> Scores:
        """The model on some examples."""
        return Scores(positions=positions, logits=self.fitted.logits(self.problem, positions))

    def probe_scores(self, positions: np.ndarray) -> Scores:
        """The linear probe on some examples."""
        return Scores(positions=positions, logits=self.probe.logits(self.probe_problem, positions))

    def prepared(self, positions: np.ndarray) -> Iterator[list[list[tuple[Record, Placement]]]]:
        """Plain records of some examples with their placements, piece by piece, in batches of examples."""
        inputs = self.session.inputs(self.backbone.card, self.threads)

        def load(at: int) -> list[tuple[Record, Placement]]:
            return [inputs.load(at, 0, piece) for piece in range(inputs.pieces_of(at))]

        yield from (batch for _, batch in ahead(load, positions.tolist(), size=64, workers=self.threads))
