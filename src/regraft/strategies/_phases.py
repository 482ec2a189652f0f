"""When which stages join training: the cut falls, phase by phase.

Letters: s stages above the lowest cut, f of them awake from the start, g stages that wake together.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from regraft.strategies._tail import Tail
from regraft.values import Notice


@dataclass(frozen=True, kw_only=True)
class Phases:
    """A plan that adapts to the number of epochs, which a time limit may lower."""

    stages: int
    """Stages above the lowest cut, s."""
    first: int
    """Stages that are awake from the start, f; 0: the head alone."""
    together: int
    """Stages that wake at once, g; the last may be fewer."""
    share: float
    """Share of all epochs, in [0, 1), that pass before every stage is awake."""
    epochs: int = 0
    """Epochs of each phase before the last, in place of `share`; 0: as `share` says."""

    @property
    def falls(self) -> int:
        """How often the cut falls."""
        return math.ceil(max(0, self.stages - self.first) / self.together)

    @property
    def least(self) -> int:
        """Epochs that it takes to come to the last phase, and one of that."""
        return self.falls * self.epochs + 1

    def last(self, epochs: int) -> int:
        """The epoch, counted from 0, at which the last phase begins where there are `epochs` in all."""
        if not self.falls:
            return 0
        return min(self.falls * self.epochs if self.epochs else round(epochs * self.share), epochs - 1)

    def awake(self, epoch: int, epochs: int) -> int:
        """Stages, from the top, that are trained in this epoch of `epochs`, counted from 0."""
        last = self.last(epochs)
        fallen = self.falls if epoch >= last else epoch * self.falls // last
        return min(self.stages, self.first + self.together * fallen)

    def begin(self, tail: Tail, epoch: int, epochs: int) -> Iterator[Notice]:
        """Wake the stages that are trained in this epoch; says so where some were asleep in the one before."""
        awake = self.awake(epoch, epochs)
        tail.wake(awake)
        before = self.awake(epoch - 1, epochs) if epoch else awake
        if awake > before:
            names = ", ".join(tail.names[self.stages - awake : self.stages - before])
            yield Notice(text=f"From epoch {epoch + 1} of {epochs} on trained as well: {names}.", topic="training")
