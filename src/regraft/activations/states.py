"""What a strategy trains on: states at a cut, by example and view, wherever they come from.

Letters: b rows asked for; the axes of a row are the state's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.activations.shards import Column

Record = Mapping[str, np.ndarray]
"""Named arrays with the row on the first axis (shared ones without), as a stage wants them."""
Numbers = Int[np.ndarray, " b"]
"""One number for each row asked for."""
MASK = "mask"
"""Where rows are ragged, a batch is padded with zeros, and this array (b t) of bools is False at what was padded."""
PLACEMENT = "placement."
"""What the names of a row's slots begin with that hold its placement."""


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
        """The states of these rows, in this order; floats as float32."""

    def pieces_of(self, examples: Numbers) -> Numbers:
        """How many pieces these examples have; 1 each unless the inputs say otherwise."""
        return np.ones(len(examples), dtype=np.int64)

    def placements(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        """Where each of these rows lies in its example, so that targets can be moved along: named arrays (b ...) such
        as the geometry of a crop or the offsets of tokens. Empty where the inputs have none."""
        return {}

    def column(self, name: str, examples: Int[np.ndarray, "b"], views: Int[np.ndarray, "b"]) -> "Column | None":
        """One array of these examples in these views, to be sliced by row without reading the rest; None where states
        are not stored that way, and `batch` is all there is."""
        return None

    def on_device(self, examples: Int[np.ndarray, " b"], views: Int[np.ndarray, " b"]) -> "Mapping[str, Tensor] | None":
        """The states of these examples in views above 0 as tensors on the device that makes them; None where `batch`
        is all there is."""
        return None


def stacked(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """The rows as one record, with the row on the first axis; where their shapes differ, padded with zeros."""
    found = {}
    for name in records[0]:
        arrays = [record[name] for record in records]
        if len({array.shape for array in arrays}) > 1:
            sizes = np.max([array.shape for array in arrays], axis=0).tolist()
            arrays = [np.pad(array, [(0, n - m) for n, m in zip(sizes, array.shape, strict=True)]) for array in arrays]
        found[name] = np.stack(arrays)
    return found


def masked(state: Mapping[str, np.ndarray], lengths: Numbers | None) -> dict[str, np.ndarray]:
    """The state with a mask of what is no padding, unless it has one of its own or its rows are not ragged."""
    if lengths is None or MASK in state:
        return dict(state)
    return {**state, MASK: np.arange(int(lengths.max(initial=0)))[None] < lengths[:, None]}


def as_float32(array: np.ndarray) -> np.ndarray:
    """Half-precision floats widened; everything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array
