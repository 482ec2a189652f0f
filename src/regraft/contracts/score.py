"""Transferability scores: estimates, without training, of how well a backbone's features suit a task.

Files in `advisor/scores/` define them. Letters: n examples, d features, z source classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.registry import Shelf


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A backbone's outputs on training examples with exclusive classes."""

    features: Float[np.ndarray, "n d"]
    """Pooled features."""
    targets: Int[np.ndarray, " n"]
    """Class indices from 0; every class occurs."""
    source: Float[np.ndarray, "n z"] | None = None
    """Probabilities of the source classifier; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A transferability score; higher is better for all of them."""

    title: str
    """Name in tables."""
    origin: str
    """Publication."""
    of: Callable[[Seen], float]
    """Compute the score; nan if undefined."""
    needs_source: bool = False
    """Whether it uses `source`."""


SCORES: Shelf[Score] = Shelf("transferability score", "regraft.advisor.scores")
