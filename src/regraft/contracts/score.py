"""What a transferability score is: a number that says, without training, how well a backbone's features suit a task.

Files in `advisor/scores/` define them. Letters: n examples, d features, z source classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.registry import Shelf


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What a backbone makes of training examples, each of which is of one class."""

    features: Float[np.ndarray, "n d"]
    """Pooled features."""
    targets: Int[np.ndarray, " n"]
    """Numbers of the classes, from 0, each of which occurs."""
    source: Float[np.ndarray, "n z"] | None = None
    """What the source classifier says, rows that sum to 1; None where the weights have none."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A transferability score; higher is better for all of them."""

    title: str
    """As tables call it."""
    origin: str
    """Where it was published."""
    of: Callable[[Seen], float]
    """The score; nan where it is not defined."""
    needs_source: bool = False
    """Whether it looks at `source`."""


SCORES: Shelf[Score] = Shelf("transferability score", "regraft.advisor.scores")
