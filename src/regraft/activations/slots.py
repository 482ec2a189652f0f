"""What a stored row is made of, what it is called, and how rows make a batch: stacked, padded, rounded.

A row is a record of named arrays, the **slots**; all rows of an entry have the same. A row's key names the example by
the digest of its content, the view of it and the piece. On disk and in memory a key is 16 bytes, its BLAKE2b digest:
with a thousand million rows the chance of any two keys meeting is below 1e-20.
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
"""Where rows are ragged, a batch is padded with zeros, and this array (b t) of bools is False at what was padded."""
HALF_LIMIT = 1e-2
"""Largest error of the features, relative to their standard deviation, at which activations are kept in float16. Our
choice; 0.0001 to 0.003 is usual (GoogLeNet and ResNet-18, trained and random)."""
OVERFLOW = 1e9
"""Stands for the error where a value does not fit into float16 at all."""
PLACEMENT = "placement."
"""What the names of a row's slots begin with that hold its placement."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One named array of a row, or of the whole entry when it is shared.

    Raises:
        ValueError: the name cannot be part of a file name, a size is below 1, or the dtype is no plain number or bool.
    """

    name: str
    """Letters, digits, `_`, `.` and `-`; at most 64 of them."""
    shape: tuple[int | None, ...]
    """Sizes of one row's array (of the whole array when shared); `()` for a single number. None at one axis: it is
    ragged, each row has its own length there. All ragged slots of a row have the same length."""
    dtype: str
    """numpy's name of the element type: `float16`, `bool`, `int64` …"""
    shared: bool = False
    """Whether all rows of the entry have this array in common; it is then stored once."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"Slot name {self.name!r} must be 1 to 64 letters, digits, '_', '.' or '-'.")
        if any(size is not None and size < 1 for size in self.shape):
            raise ValueError(f"Slot {self.name!r} needs sizes of at least 1, got {self.shape}.")
        if self.shape.count(None) > (0 if self.shared else 1):
            raise ValueError(f"Slot {self.name!r} may be ragged along one axis, and along none if it is shared.")
        if np.dtype(self.dtype).kind not in "biuf":
            raise ValueError(f"Slot {self.name!r} must hold bools, integers or floats, got {self.dtype!r}.")

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The element type on disk: little-endian on every machine."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def ragged(self) -> int | None:
        """The axis of a row along which rows differ; None for a slot of one shape."""
        return self.shape.index(None) if None in self.shape else None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of one row's array, the ragged axis left out."""
        return tuple(size for size in self.shape if size is not None)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row's array (of the whole array when shared); of a ragged one, per unit of length."""
        return math.prod(self.sizes) * np.dtype(self.dtype).itemsize

    def describe(self) -> dict[str, Any]:
        """This slot as JSON."""
        return {**asdict(self), "shape": list(self.shape)}


class RowKey(NamedTuple):
    """Names one row of an entry."""

    content: str
    """Hex digest of the example's content."""
    view: str
    """Which view of it: `plain`, or whatever else names a view wholly (number, seed …)."""
    piece: int = 0
    """Which piece of it (a window, a slice); 0 where an example is one row."""


def row_digests(keys: Iterable[RowKey]) -> Shaped[np.ndarray, " n"]:
    """The 16-byte names of `keys`, as an array of dtype `S16`. About 1.3 µs a key on one core of the bench machine."""
    joined = b"".join(
        blake2b(
            (f"{content}\x1f{view}\x1f{piece}" if piece else f"{content}\x1f{view}").encode(), digest_size=DIGEST_BYTES
        ).digest()
        for content, view, piece in keys
    )
    return np.frombuffer(joined, dtype=f"S{DIGEST_BYTES}")


def stacked(records: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """The rows as one record, with the row on the first axis; where their shapes differ, padded with zeros."""
    found = {}
    for name in records[0]:
        arrays = [record[name] for record in records]
        if len({array.shape for array in arrays}) > 1:
            sizes = np.max([array.shape for array in arrays], axis=0).tolist()
            arrays = [np.pad(array, [(0, n - m) for n, m in zip(sizes, array.shape, strict=True)]) for array in arrays]
        found[name] = np.stack(arrays)
    return found


def padded(inputs: Arrays, size: int) -> dict[str, np.ndarray]:
    """The same rows, the last one repeated until there are `size`."""
    rows = len(next(iter(inputs.values())))
    if rows == size:
        return dict(inputs)
    return {name: np.concatenate([array, np.repeat(array[-1:], size - rows, axis=0)]) for name, array in inputs.items()}


def masked(state: Mapping[str, np.ndarray], lengths: Numbers | None) -> dict[str, np.ndarray]:
    """The state with a mask of what is no padding, unless it has one of its own or its rows are not ragged."""
    if lengths is None or MASK in state:
        return dict(state)
    return {**state, MASK: np.arange(int(lengths.max(initial=0)))[None] < lengths[:, None]}


def numbered(counts: Int[np.ndarray, " n"]) -> Numbers:
    """0, 1 … for each count, one behind the other: `[2, 1, 3]` gives `[0, 1, 0, 0, 1, 2]`."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def averaged(rows: Shaped[np.ndarray, "b ..."], counts: Int[np.ndarray, " n"]) -> Shaped[np.ndarray, "n ..."]:
    """One row for each count: the mean of so many rows, which stand one behind the other; every count is above 0."""
    if counts.max(initial=1) == 1:
        return rows
    sums = np.add.reduceat(rows.astype(np.float64), np.cumsum(counts) - counts, axis=0)
    return (sums / counts.reshape(-1, *[1] * (rows.ndim - 1))).astype(rows.dtype)


def as_float32(array: np.ndarray) -> np.ndarray:
    """Half-precision floats widened; everything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def as_half(array: np.ndarray) -> np.ndarray:
    """Floats as float16, everything else as it is."""
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float16)


def overflows(array: np.ndarray) -> bool:
    """Whether a finite value of `array` becomes infinite in float16."""
    if array.dtype.kind != "f":
        return False
    return bool((np.isinf(as_half(array)) & np.isfinite(array)).any())
