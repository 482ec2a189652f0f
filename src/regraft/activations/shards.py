"""Shards: safetensors files with some rows of an entry, written atomically by a rename.

A shard has the tensor `row digests` (k 16) and one column per slot (k ...), wider element types first. If slots are
ragged, `row lengths` (k) precedes the columns, and a ragged column has its rows concatenated along the first axis. The
metadata hold the number of rows k, the sum of their lengths, and a BLAKE2b digest of the slots, the row digests and the
lengths. The whole header is determined by these, so any change is detected, and a truncated file by its size. Source of
the layout: https://github.com/huggingface/safetensors#format.
"""

import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, Int64, Shaped

from regraft.activations.slots import DIGEST_BYTES, Slot
from regraft.bundle_format import safetensors_layout
from regraft.errors import RegraftError
from regraft.files import atomic
from regraft.identity import digest_json

INDEX = "row digests"
"""Name of the tensor with the row digests; slot names cannot contain a space."""
LENGTHS = "row lengths"
"""Name of the tensor with the rows' lengths along the ragged axis."""
ENDING = ".safetensors"
MAX_OPEN = 64
"""Maximum number of open shards, one file descriptor each; a quarter of the smallest common limit, 256. Our choice."""
_MAX_HEADER = 1 << 20
"""No header of ours is as long, so that a damaged length asks for no memory."""


class DamagedShard(RegraftError):
    """A file of the store is damaged."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"The stored activations in {path} are damaged: {found}.",
            fix="run the same command again to recompute them. If the error recurs, check the disk.",
        )
        self.found = found


@dataclass(frozen=True)
class Shard:
    """A shard with a validated header."""

    path: Path
    rows: int
    offsets: Mapping[str, int]
    """Offset of each tensor in the file; under "" the end of the file."""
    starts: Int64[np.ndarray, " _"]
    """Offset of each row in a ragged column, and the end of the last; a single 0 if no slot is ragged."""


def new_name(rows: int) -> str:
    """Return a unique file name, sortable by time, that contains the number of rows."""
    return f"{time.time_ns():016x}-{secrets.token_hex(4)}-{rows}{ENDING}"


def rows_in_name(path: Path) -> int:
    """Return the number of rows in a shard's name; 0 for other names."""
    count = path.stem.rpartition("-")[2]
    return int(count) if count.isascii() and count.isdigit() else 0


def write_shard(
    path: Path,
    slots: Sequence[Slot],
    digests: Shaped[np.ndarray, " k"],
    blocks: Sequence[Mapping[str, Shaped[np.ndarray, "_ ..."]]],
    lengths: Int64[np.ndarray, " _"] | None = None,
) -> Shard:
    """Write the rows of all `blocks` in order, identified by `digests`, to the shard `path`, without copying blocks.

    Ragged slots have their rows concatenated along the first axis, and need `lengths`.

    Raises:
        OutOfSpace: the disk is full; nothing is left behind.
    """
    lengths = lengths if lengths is not None and _ragged(slots) else np.zeros(0, np.int64)
    index = np.ascontiguousarray(digests).tobytes() + lengths.astype("<i8").tobytes()
    head, offsets = _head(slots, len(digests), int(lengths.sum()), _checksum(slots, index))
    with atomic(path) as file:
        file.write(head + index)
        for slot in _ordered(slots):
            for block in blocks:
                file.write(np.ascontiguousarray(block[slot.name], dtype=slot.stored_dtype).reshape(-1).data)
    return Shard(path, len(digests), offsets, _starts(lengths))


def read_shard(path: Path, slots: Sequence[Slot]) -> tuple[Shard, Shaped[np.ndarray, " k"]]:
    """Open the shard `path`; check its size, header and index, and return it with its row digests.

    Raises:
        DamagedShard: one of the three is invalid.
        FileNotFoundError: the file has vanished.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(8)
        start += file.read(min(int.from_bytes(start, "little"), _MAX_HEADER))
        try:
            metadata = json.loads(start[8:])["__metadata__"]
            rows, length, checksum = int(metadata["rows"]), int(metadata["length"]), str(metadata["digest"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedShard(path, "its header cannot be read") from error
        head, offsets = _head(slots, rows, length, checksum)
        if start != head:
            raise DamagedShard(path, "its slots do not match the entry's")
        if size != offsets[""]:
            raise DamagedShard(path, f"it has {size} bytes; {rows} rows need {offsets['']}")
        index = file.read(rows * (DIGEST_BYTES + (8 if _ragged(slots) else 0)))
    if _checksum(slots, index) != checksum:
        raise DamagedShard(path, "the digest of its index does not match")
    shard = Shard(path, rows, offsets, _starts(np.frombuffer(index[rows * DIGEST_BYTES :], "<i8")))
    return shard, np.frombuffer(index, f"S{DIGEST_BYTES}", count=rows)


def _ordered(slots: Sequence[Slot]) -> list[Slot]:
    return sorted(slots, key=lambda slot: -slot.stored_dtype.itemsize)


def _checksum(slots: Sequence[Slot], index: bytes) -> str:
    return blake2b(digest_json([slot.describe() for slot in slots]).encode() + index, digest_size=20).hexdigest()


def _ragged(slots: Sequence[Slot]) -> bool:
    return any(slot.ragged is not None for slot in slots)


def _starts(lengths: Int64[np.ndarray, " _"]) -> Int64[np.ndarray, " _"]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _head(slots: Sequence[Slot], rows: int, length: int, checksum: str) -> tuple[bytes, dict[str, int]]:
    tensors: list[tuple[str, np.dtype[Any], tuple[int, ...]]]
    tensors = [(INDEX, np.dtype(np.uint8), (rows, DIGEST_BYTES))]
    tensors += [(LENGTHS, np.dtype(np.int64), (rows,))] if _ragged(slots) else []
    tensors += [
        (slot.name, slot.stored_dtype, (rows if slot.ragged is None else length, *slot.sizes))
        for slot in _ordered(slots)
    ]
    metadata = {"rows": str(rows), "length": str(length), "digest": checksum}
    return safetensors_layout(tensors, metadata=metadata, align=64)


class ShardFiles:
    """The shards of one entry by number, opened on demand, a few at a time. Thread-safe.

    Rows are read into the caller's arrays instead of being memory-mapped: this uses no memory of the process, and a
    truncated file raises an error instead of crashing.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots
        self._shards: list[Shard] = []
        self._open: OrderedDict[int, FileIO] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, shard: Shard) -> int:
        """Add a shard; return its number, which is never reused."""
        self._shards.append(shard)
        return len(self._shards) - 1

    def starts(self, number: int) -> Int64[np.ndarray, " _"]:
        """Return the offsets of the rows in a shard's ragged columns."""
        return self._shards[number].starts

    def read(self, number: int, slot: Slot, pieces: Iterable[tuple[int, np.ndarray]]) -> None:
        """Read rows of a slot's column into arrays. Each piece is (first row, contiguous array); in a ragged column the
        first is a position along the concatenated axis.

        Raises:
            DamagedShard: the file has vanished, or its size has changed since it was checked.
        """
        begin, row_bytes = self._shards[number].offsets[slot.name], slot.row_bytes
        with self._lock:
            file = self._file(number)
            for first, array in pieces:
                file.seek(begin + first * row_bytes)
                if file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[arg-type]
                    raise DamagedShard(self._shards[number].path, "it was truncated while in use")

    def close(self) -> None:
        """Close all files; they are reopened on demand."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def __del__(self) -> None:
        self.close()

    def _file(self, number: int) -> FileIO:
        if number not in self._open:
            shard = self._shards[number]
            try:
                file = self._open[number] = FileIO(shard.path)
            except FileNotFoundError as error:
                raise DamagedShard(shard.path, "the file was deleted while in use") from error
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            if (found := file.seek(0, 2)) != shard.offsets[""]:
                raise DamagedShard(shard.path, f"it has {found} bytes; {shard.rows} rows need {shard.offsets['']}")
        self._open.move_to_end(number)
        return self._open[number]


class Rows:
    """A selection of an entry's rows in a given order; not affected by later appends.

    Valid while the entry is open. Thread-safe.
    """

    def __init__(
        self, files: ShardFiles, slots: Sequence[Slot], shards: Int32[np.ndarray, " n"], places: Int32[np.ndarray, " n"]
    ) -> None:
        self._files = files
        self._slots = {slot.name: slot for slot in slots}
        self._shards = shards
        self._places = places

    def __len__(self) -> int:
        return len(self._shards)

    @property
    def names(self) -> tuple[str, ...]:
        """The slots of a row, without shared ones."""
        return tuple(self._slots)

    def lengths(self, positions: Int[np.ndarray, " k"]) -> Int64[np.ndarray, " k"] | None:
        """Return the lengths of the rows at `positions` along the ragged axis; None if no slot is ragged."""
        if not _ragged(tuple(self._slots.values())):
            return None
        rows = zip(self._shards[positions].tolist(), self._places[positions].tolist(), strict=True)
        starts = [self._files.starts(shard)[place : place + 2] for shard, place in rows]
        return np.array([end - start for start, end in starts], dtype=np.int64)

    def gather(
        self, positions: Int[np.ndarray, " k"], names: Iterable[str] | None = None
    ) -> dict[str, Shaped[np.ndarray, "k ..."]]:
        """Copy the rows at `positions`, in this order, of the slots `names` (None: all).

        Ragged slots are zero-padded to the longest of these rows.

        Raises:
            DamagedShard: a file has vanished or changed its size since the entry was opened.
        """
        chosen = [self._slots[name] for name in (self._slots if names is None else names)]
        shards, places = self._shards[positions], self._places[positions]
        lengths = self.lengths(positions) if _ragged(chosen) else None
        longest = int(lengths.max(initial=0)) if lengths is not None else 0
        out = {
            slot.name: np.empty((len(places), *slot.sizes), slot.stored_dtype)
            if slot.ragged is None
            else np.zeros((len(places), longest, *slot.sizes), slot.stored_dtype)
            for slot in chosen
        }
        starts, ends = _runs(shards, places)
        order = np.argsort(shards[starts], kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(shards[starts][order])) + 1) if len(order) else ():
            shard = int(shards[starts[group[0]]])
            runs = list(zip(starts[group].tolist(), ends[group].tolist(), places[starts[group]].tolist(), strict=True))
            for slot in chosen:
                array = out[slot.name]
                if slot.ragged is None:
                    pieces = [(place, array[first:last]) for first, last, place in runs]
                else:
                    begins = self._files.starts(shard).tolist()
                    pieces = [
                        (begin, array[row, : end - begin])
                        for first, last, place in runs
                        for row, (begin, end) in enumerate(pairwise(begins[place : place + last - first + 1]), first)
                    ]
                self._files.read(shard, slot, pieces)
        # The ragged axis comes first on the disk; it goes back to its place.
        return {
            slot.name: out[slot.name] if slot.ragged is None else np.moveaxis(out[slot.name], 1, 1 + slot.ragged)
            for slot in chosen
        }


def _runs(
    shards: Int32[np.ndarray, " k"], places: Int32[np.ndarray, " k"]
) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, " r"]]:
    """First positions, and positions behind the last, of the longest stretches that lie side by side in one shard."""
    if not len(places):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    breaks = np.flatnonzero((np.diff(shards) != 0) | (np.diff(places) != 1)) + 1
    return np.concatenate([[0], breaks]), np.concatenate([breaks, [len(places)]])
