"""What a strategy trains on: states at a cut, by example and view, wherever they come from.

A *state* is the record of named tensors between two stages of a backbone (`contracts/backbone.py`). What lies below the
cut is frozen, so the state that it makes of an example in one *view* (an augmented copy of it; view 0 is the example as
it is) never changes: it is computed once and kept in the activation store, and a strategy asks for it here. Letters: b
rows asked for; the axes of a row are the state's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

if TYPE_CHECKING:
    from torch import Tensor

Record = Mapping[str, np.ndarray]
"""Named arrays with the row on the first axis (shared ones without), as a stage wants them."""
Numbers = Int[np.ndarray, " b"]
"""One number for each row asked for."""


class States(ABC):
    """States at one cut, addressed by example (its position in the data set), view number and piece.

    View 0 is plain. An example may have several rows, its pieces (windows of a text, slices of a volume); `pieces` of
    None means the first piece of each.
    """

    @property
    @abstractmethod
    def num_views(self) -> int | None:
        """How many views there are; None when every number is a new view."""

    @abstractmethod
    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        """The states of these rows, in this order; floats as float32. Rows of different lengths are padded with zeros,
        and an array `mask` (b t) of bools is False at what was padded."""

    def pieces_of(self, examples: Numbers) -> Numbers:
        """How many pieces these examples have; 1 each unless the inputs say otherwise."""
        return np.ones(len(examples), dtype=np.int64)

    def placements(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        """Where each of these rows lies in its example, so that targets can be moved along: named arrays (b ...) such
        as the geometry of a crop or the offsets of tokens. Empty where the inputs have none."""
        return {}

    def on_device(self, examples: Int[np.ndarray, " b"], views: Int[np.ndarray, " b"]) -> "Mapping[str, Tensor] | None":
        """The states of these examples in views above 0 as tensors on the device that makes them; None where `batch`
        is all there is."""
        return None
