"""The states that a strategy trains on: read from the activation store, or computed on demand.

A *state* holds the named tensors between two stages of a backbone (`contracts/backbone.py`). A *view* is an augmented
copy of an example; view 0 is the example itself. The stages below the cut are frozen, so the state of an example in one
view never changes: it is computed once and kept in the activation store (at cut `output`: only what the head reads).
Letters: b requested rows; the other axes are the state's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

if TYPE_CHECKING:
    from torch import Tensor

Arrays = Mapping[str, np.ndarray]
"""Named arrays in the form a stage takes, with the row on the first axis (except shared ones)."""
Numbers = Int[np.ndarray, " b"]
"""One number per requested row."""


class States(ABC):
    """States at one cut. A *row* is one (example, view, piece): position in the data set, number of the view, number of
    the piece. Most examples have one piece; long texts have windows, volumes slices. `pieces=None` is piece 0 of each.
    """

    @property
    @abstractmethod
    def num_views(self) -> int | None:
        """Number of stored views; None if views are computed on demand, and every number is a new one."""

    @abstractmethod
    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        """Return the states of these rows, in this order, with floats as float32. Rows of different lengths are
        zero-padded; the boolean array `mask` (b t) is False at padding."""

    def pieces_of(self, examples: Numbers) -> Numbers:
        """Return the number of pieces of each of these examples; 1 by default."""
        return np.ones(len(examples), dtype=np.int64)

    def placements(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        """Return how each row was cut out of its example, for moving targets along: named arrays (b ...) such as crop
        geometry or token offsets. Empty if the inputs have none."""
        return {}

    def on_device(self, examples: Int[np.ndarray, " b"], views: Int[np.ndarray, " b"]) -> "Mapping[str, Tensor] | None":
        """Return the states of these examples in views above 0, as tensors already on the training device; None if only
        `batch` is available."""
        return None
