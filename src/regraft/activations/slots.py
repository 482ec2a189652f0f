"""Stored rows: their arrays and keys, and how rows are batched, padded and rounded.

A row consists of named arrays, the *slots*; all rows of an entry have the same slots. A row's key is the digest of the
example's content, the view and the piece. On disk and in memory a key is its 16-byte BLAKE2b digest: among a thousand
million rows the probability of a collision is below 1e-20.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from regraft.activations.states import Arrays, Numbers

DIGEST_BYTES = 16
MASK = "mask"
"""Name of the boolean array (b t) that is False at the zero-padding of a batch of ragged rows."""
HALF_LIMIT = 1e-2
"""Maximum error of features, relative to their standard deviation, for storing activations in float16. Our choice;
0.0001 to 0.003 is typical (GoogLeNet and ResNet-18, trained and random)."""
OVERFLOW = 1e9
"""Error value if a value does not fit into float16."""
PLACEMENT = "placement."
"""Prefix of slot names that hold a row's placement."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One named array of a row or, if shared, of the whole entry.

    Raises:
        ValueError: the name is not valid in a file name, a size is below 1, or the dtype is not numeric or boolean.
    """

    name: str
    """Up to 64 letters, digits, `_`, `.` and `-`."""
    shape: tuple[int | None, ...]
    """Shape of one row's array (of the whole array if shared); `()` for a scalar. None marks the ragged axis, along
    which rows differ in length; all ragged slots of a row have the same length."""
    dtype: str
    """Name of the numpy dtype: `float16`, `bool`, `int64` …"""
    shared: bool = False
    """Whether all rows of the entry share this array, which is then stored once."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"Slot name {self.name!r} must be 1 to 64 letters, digits, '_', '.' or '-'.")
        if any(size is not None and size < 1 for size in self.shape):
            raise ValueError(f"Slot {self.name!r} needs sizes of at least 1, got {self.shape}.")
        if self.shape.count(None) > (0 if self.shared else 1):
            raise ValueError(
                f"Slot {self.name!r} may be ragged along one axis at most, and not at all if it is shared."
            )
        if np.dtype(self.dtype).kind not in "biuf":
            raise ValueError(f"Slot {self.name!r} must hold bools, integers or floats, got {self.dtype!r}.")

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The dtype on disk: always little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def ragged(self) -> int | None:
        """The ragged axis of a row; None if the shape is fixed."""
        return self.shape.index(None) if None in self.shape else None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Shape of one row's array, without the ragged axis."""
        return tuple(size for size in self.shape if size is not None)

    @property
    def row_bytes(self) -> int:
        """Size in bytes of one row's array (of the whole array if shared); if ragged, per unit of length."""
        return math.prod(self.sizes) * np.dtype(self.dtype).itemsize

    def describe(self) -> dict[str, Any]:
        """Return the slot as JSON."""
        return {**asdict(self), "shape": list(self.shape)}


class RowKey(NamedTuple):
    """Identifies a row of an entry."""

    content: str
    """Hex digest of the example's content."""
    view: str
    """Unique name of the view: `plain`, or number, seed and augmentation."""
    piece: int = 0
    """Number of the piece (a window, a slice); 0 if an example is one row."""


def row_digests(keys: Iterable[RowKey]) -> Shaped[np.ndarray, " n"]:
    """Return the 16-byte digests of `keys` as an array of dtype `S16`. Takes about 1.3 µs per key on one core."""
    joined = b"".join(
        blake2b(
            (f"{content}\x1f{view}\x1f{piece}" if piece else f"{content}\x1f{view}").encode(), digest_size=DIGEST_BYTES
        ).digest()
        for content, view, piece in keys
    )
    return np.frombuffer(joined, dtype=f"S{DIGEST_BYTES}")


def stacked(records: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """Stack rows along a new first axis, zero-padded if their shapes differ."""
    found = {}
    for name in records[0]:
        arrays = [record[name] for record in records]
        if len({array.shape for array in arrays}) > 1:
            sizes = np.max([array.shape for array in arrays], axis=0).tolist()
            arrays = [np.pad(array, [(0, n - m) for n, m in zip(sizes, array.shape, strict=True)]) for array in arrays]
        found[name] = np.stack(arrays)
    return found


def padded(inputs: Arrays, size: int) -> dict[str, np.ndarray]:
    """Pad a batch to `size` rows by repeating the last one."""
    rows = len(next(iter(inputs.values())))
    if rows == size:
        return dict(inputs)
    return {name: np.concatenate([array, np.repeat(array[-1:], size - rows, axis=0)]) for name, array in inputs.items()}


def masked(state: Mapping[str, np.ndarray], lengths: Numbers | None) -> dict[str, np.ndarray]:
    """Add a padding mask to a state of ragged rows, unless it has one."""
    if lengths is None or MASK in state:
        return dict(state)
    return {**state, MASK: np.arange(int(lengths.max(initial=0)))[None] < lengths[:, None]}


def numbered(counts: Int[np.ndarray, " n"]) -> Numbers:
    """Number the elements of each group: `[2, 1, 3]` gives `[0, 1, 0, 0, 1, 2]`."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def averaged(rows: Shaped[np.ndarray, "b ..."], counts: Int[np.ndarray, " n"]) -> Shaped[np.ndarray, "n ..."]:
    """Average consecutive groups of rows of these sizes (each above 0)."""
    if counts.max(initial=1) == 1:
        return rows
    sums = np.add.reduceat(rows.astype(np.float64), np.cumsum(counts) - counts, axis=0)
    return (sums / counts.reshape(-1, *[1] * (rows.ndim - 1))).astype(rows.dtype)


def as_float32(array: np.ndarray) -> np.ndarray:
    """Convert float16 to float32; return other arrays unchanged."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def as_half(array: np.ndarray) -> np.ndarray:
    """Convert floats to float16; return other arrays unchanged."""
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float16)


def overflows(array: np.ndarray) -> bool:
    """Return whether a finite value of `array` overflows float16."""
    if array.dtype.kind != "f":
        return False
    return bool((np.isinf(as_half(array)) & np.isfinite(array)).any())
