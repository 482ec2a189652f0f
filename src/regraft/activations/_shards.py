"""A shard: one file with some rows of an entry. It appears whole (written beside its goal, then renamed) or not at all.

Layout, little-endian, every part starting at a multiple of 64 bytes, so that columns can be memory-mapped as they are:

    magic "RGSHARD1" (8) · number of rows k (8) · digest of the slots (20) · zeros to 64
    k row digests of 16 bytes · BLAKE2b of all before (20)
    one column per slot: k rows after each other

Sizes follow from k and the slots, so a truncated file is known by its size alone. Our own format: `.npy` has no place
for the index, and a file per slot would cost a file descriptor per slot.
"""

import mmap
import secrets
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from regraft.activations.slots import DIGEST_BYTES, Slot
from regraft.errors import RegraftError
from regraft.files import atomic
from regraft.identity import digest_json

MAGIC = b"RGSHARD1"
_ALIGN = 64
_CHECKSUM_BYTES = 20


class DamagedShard(RegraftError):
    """A file of the store is not what was written."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"The stored activations in {path} are damaged: {found}.",
            fix="run the same command again; they are computed anew. If it comes back, check the disk.",
        )
        self.found = found


def new_name(rows: int) -> str:
    """A file name that no other process picks, in order of time, with the number of rows in it."""
    return f"{time.time_ns():016x}-{secrets.token_hex(4)}-{rows}.shard"


def rows_in_name(path: Path) -> int:
    """The number of rows that a shard's name tells; 0 for a name that is not ours."""
    count = path.stem.rpartition("-")[2]
    return int(count) if count.isascii() and count.isdigit() else 0


def size_on_disk(slots: Sequence[Slot], rows: int) -> int:
    """Bytes of a shard with `rows` rows."""
    return _offsets(slots, rows)[-1]


def write_shard(
    path: Path,
    slots: Sequence[Slot],
    digests: Shaped[np.ndarray, " k"],
    blocks: Sequence[Mapping[str, Shaped[np.ndarray, "_ ..."]]],
) -> None:
    """Write the rows of all `blocks` in order, named by `digests`, as the shard `path`; no block is copied.

    Raises:
        OutOfSpace: the disk is full; nothing is left behind.
    """
    offsets = _offsets(slots, len(digests))
    head = _head(slots, len(digests)) + np.ascontiguousarray(digests).tobytes()
    with atomic(path) as file:
        file.write(head + blake2b(head, digest_size=_CHECKSUM_BYTES).digest())
        for slot, offset in zip(slots, offsets, strict=False):
            file.write(bytes(offset - file.tell()))
            for block in blocks:
                file.write(np.ascontiguousarray(block[slot.name], dtype=slot.stored_dtype).data)
        file.write(bytes(offsets[-1] - file.tell()))


def read_index(path: Path, slots: Sequence[Slot]) -> Shaped[np.ndarray, " k"]:
    """The row digests of the shard `path`, after checking its size, its slots and its index.

    Raises:
        DamagedShard: any of the three is off.
        FileNotFoundError: it vanished.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(_ALIGN)
        rows = int.from_bytes(head[8:16], "little")
        if head[:8] != MAGIC or len(head) < _ALIGN:
            raise DamagedShard(path, "it does not begin like one of Regraft's files")
        if head != _head(slots, rows):
            raise DamagedShard(path, "its slots are not the entry's")
        if size != size_on_disk(slots, rows):
            raise DamagedShard(path, f"it has {size} bytes where {rows} rows take {size_on_disk(slots, rows)}")
        index = file.read(rows * DIGEST_BYTES)
        if blake2b(head + index, digest_size=_CHECKSUM_BYTES).digest() != file.read(_CHECKSUM_BYTES):
            raise DamagedShard(path, "the checksum of its index does not match")
    return np.frombuffer(index, dtype=f"S{DIGEST_BYTES}")


def map_columns(path: Path, slots: Sequence[Slot], rows: int) -> dict[str, Shaped[np.ndarray, "k ..."]]:
    """The columns of a shard of `rows` rows whose index was read, memory-mapped and read-only.

    The map lives as long as any array made from it.

    Raises:
        DamagedShard: the file vanished or changed its size since; it is not touched.
    """
    *offsets, size = _offsets(slots, rows)
    try:
        with path.open("rb") as file:
            if (found := file.seek(0, 2)) != size:
                raise DamagedShard(path, f"it has {found} bytes where {rows} rows take {size}")
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise DamagedShard(path, "the file vanished while it was in use") from error
    return {
        slot.name: np.ndarray((rows, *slot.shape), slot.stored_dtype, mapped, offset)
        for slot, offset in zip(slots, offsets, strict=True)
    }


def _head(slots: Sequence[Slot], rows: int) -> bytes:
    named = bytes.fromhex(digest_json([slot.describe() for slot in slots]))
    return (MAGIC + rows.to_bytes(8, "little") + named).ljust(_ALIGN, b"\0")


def _offsets(slots: Sequence[Slot], rows: int) -> list[int]:
    """Where each column starts and, last, where the file ends."""
    ends = [_align(_ALIGN + rows * DIGEST_BYTES + _CHECKSUM_BYTES)]
    for slot in slots:
        ends.append(_align(ends[-1] + rows * slot.row_bytes))
    return ends


def _align(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
