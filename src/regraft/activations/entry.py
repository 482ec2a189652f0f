"""An entry of the store: all rows under one key. Rows are appended in shards and looked up by digest.

Several processes may fill one entry at once; each writes its own shards. A row written twice is read from the shard
seen first; both hold the same values, because the key contains everything they depend on.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64, Shaped

from regraft.activations import shards
from regraft.activations.disk import Pin, StoreNotWritable, bytes_under, is_pinned, touch, used_at, writing
from regraft.activations.shards import ENDING, DamagedShard, Rows, Shard, ShardFiles
from regraft.activations.slots import DIGEST_BYTES, RowKey, Slot, row_digests
from regraft.errors import RegraftError
from regraft.values import Notice

FLUSH_AFTER_S = 30.0
"""Maximum seconds that rows wait in memory (checked when rows are added), and so the loss if the process is killed. Our
choice."""


class RowIndex:
    """Location of each row: a sorted in-memory table, 24 bytes per row, with binary search.

    Maps row digests to (shard number, row within the shard); the first of equal digests is kept.
    """

    def __init__(self) -> None:
        self._digests = np.empty(0, dtype=f"S{DIGEST_BYTES}")
        self._shards = np.empty(0, dtype=np.int32)
        self._rows = np.empty(0, dtype=np.int32)

    def __len__(self) -> int:
        return len(self._digests)

    def add(
        self, digests: Shaped[np.ndarray, " k"], shards: Int32[np.ndarray, " k"], rows: Int32[np.ndarray, " k"]
    ) -> None:
        """Add locations; a known or repeated digest keeps its first location."""
        new, first = np.unique(digests, return_index=True)
        unknown = ~self.find(new)[0]
        new, first = new[unknown], first[unknown]
        at = np.searchsorted(self._digests, new)
        self._digests = np.insert(self._digests, at, new)
        self._shards = np.insert(self._shards, at, shards[first])
        self._rows = np.insert(self._rows, at, rows[first])

    def find(
        self, digests: Shaped[np.ndarray, " n"]
    ) -> tuple[Bool[np.ndarray, " n"], Int32[np.ndarray, " n"], Int32[np.ndarray, " n"]]:
        """Return which of `digests` are known, their shards and their rows (undefined where unknown)."""
        if not len(self):
            zeros = np.zeros(len(digests), dtype=np.int32)
            return zeros.astype(bool), zeros, zeros
        at = np.minimum(np.searchsorted(self._digests, digests), len(self) - 1)
        return self._digests[at] == digests, self._shards[at], self._rows[at]


class Entry:
    """The rows under one key; created by `Store.open`. Protected from eviction until `close` or the end of the process.

    Append from one thread only; read from any.
    """

    def __init__(
        self,
        folder: Path,
        slots: Sequence[Slot],
        pin: Pin | StoreNotWritable,
        make_room: Callable[[int], None],
        shard_bytes: int,
    ) -> None:
        self.folder = folder
        self.row_slots = tuple(slot for slot in slots if not slot.shared)
        self.shared_slots = tuple(slot for slot in slots if slot.shared)
        self._pin = pin
        self._make_room = make_room
        self._shard_bytes = shard_bytes
        self._files = ShardFiles(self.row_slots)
        self._index = RowIndex()
        self._known: set[str] = set()
        self._shared_stored: set[str] = set()
        self._notices: list[Notice] = []
        self._pending: set[bytes] = set()
        self._blocks: list[dict[str, np.ndarray]] = []
        self._digests: list[np.ndarray] = []
        self._lengths: list[np.ndarray] = []
        self._seen_rows, self._seen_length, self._pending_bytes = 0, 0, 0
        self._since: float | None = None
        self.refresh()

    def __len__(self) -> int:
        """Number of distinct stored rows, without those still in memory."""
        return len(self._index)

    @property
    def row_bytes(self) -> int:
        """Size of one row in bytes, over all slots; for ragged slots, at the mean length seen so far."""
        return self.row_bytes_of(self._seen_length / self._seen_rows if self._seen_rows else 1.0)

    def row_bytes_of(self, length: float) -> int:
        """Return the size in bytes of a row whose ragged slots have this length."""
        return round(sum(slot.row_bytes * (1.0 if slot.ragged is None else length) for slot in self.row_slots))

    def missing(self, keys: Iterable[RowKey]) -> Int[np.ndarray, " m"]:
        """Return the positions in `keys`, ascending, of rows neither stored nor appended."""
        digests = row_digests(keys)
        absent = np.flatnonzero(~self._index.find(digests)[0])
        if self._pending:
            return np.array([i for i in absent.tolist() if digests[i] not in self._pending], dtype=np.intp)
        return absent

    def append(
        self,
        keys: Iterable[RowKey],
        arrays: Mapping[str, Shaped[np.ndarray, "k ..."]],
        lengths: Int[np.ndarray, " k"] | None = None,
    ) -> None:
        """Append rows: for every slot an array with one element per key. The arrays are copied.

        Ragged slots are passed padded, with the `lengths` of the rows. Known rows are skipped. Rows are written to disk
        in batches of about 64 MB, or after half a minute.

        Raises:
            ValueError: the arrays do not match the entry's slots.
            OutOfSpace: as `flush`.
            StoreNotWritable: the store's folder is read-only.
        """
        self._check_writable()
        digests = row_digests(keys)
        self._check_arrays(arrays, len(digests), lengths)
        fresh = []
        for i in np.flatnonzero(~self._index.find(digests)[0]).tolist():
            if (digest := digests[i]) not in self._pending:
                self._pending.add(digest)
                fresh.append(i)
        if not fresh:
            return
        kept = np.zeros(len(fresh), np.int64) if lengths is None else lengths[fresh].astype(np.int64)
        self._blocks.append({slot.name: _taken(arrays[slot.name], slot, fresh, kept) for slot in self.row_slots})
        self._digests.append(digests[fresh])
        self._lengths.append(kept)
        self._seen_rows, self._seen_length = self._seen_rows + len(fresh), self._seen_length + int(kept.sum())
        self._pending_bytes += sum(array.nbytes for array in self._blocks[-1].values())
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if self._pending_bytes >= self._shard_bytes or now - self._since >= FLUSH_AFTER_S:
            self.flush()

    def flush(self) -> None:
        """Write the rows in memory as one shard.

        Raises:
            OutOfSpace: the disk, or the store's limit, is full. The rows are dropped and count as missing; stored rows
                are not affected.
        """
        if not self._pending:
            return
        digests, lengths, blocks = np.concatenate(self._digests), np.concatenate(self._lengths), self._blocks
        needed = self._pending_bytes + len(digests) * DIGEST_BYTES
        self._forget_pending()
        path = self.folder / "shards" / shards.new_name(len(digests))
        self._make_room(needed)
        with writing(path):
            shard = shards.write_shard(path, self.row_slots, digests, blocks, lengths)
        self._add_shards([(shard, digests)])

    def write_shared(self, name: str, array: Shaped[np.ndarray, "..."]) -> None:
        """Store an array that all rows share, unless it is stored already.

        Raises:
            ValueError: no shared slot has this name, shape and dtype.
            OutOfSpace, StoreNotWritable: as `append`.
        """
        self._check_writable()
        slot = next((slot for slot in self.shared_slots if slot.name == name), None)
        if slot is None or array.shape != slot.shape or array.dtype != slot.stored_dtype:
            raise ValueError(
                f"{name!r} {array.dtype} {array.shape} matches none of the shared slots {self.shared_slots}."
            )
        if name not in self._shared_stored and name not in self.shared():
            path = self._shared_path(slot)
            self._make_room(slot.row_bytes)
            with writing(path):
                shards.write_shard(path, [slot], row_digests([RowKey(name, "shared")]), [{name: array[None]}])
        self._shared_stored.add(name)

    def shared(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Read the stored shared arrays into memory; names that are absent have not been written yet."""
        arrays = {}
        for slot in self.shared_slots:
            path = self._shared_path(slot)
            try:
                files = ShardFiles([slot])
                files.add(shards.read_shard(path, [slot])[0])
                arrays[slot.name] = np.empty(slot.sizes, slot.stored_dtype)
                files.read(0, slot, [(0, arrays[slot.name])])
                files.close()
            except FileNotFoundError:
                continue
            except DamagedShard as damage:
                self._discard(path, damage.found)
        return arrays

    def rows(self, keys: Iterable[RowKey]) -> Rows:
        """Return the rows of `keys`, in this order, for reading. Flushes rows in memory first.

        Raises:
            ValueError: some are not stored; see `missing`.
        """
        self.flush()
        touch(self.folder / "used")
        digests = row_digests(keys)
        found, numbers, places = self._index.find(digests)
        if not found.all():
            self.refresh()
            found, numbers, places = self._index.find(digests)
        if not found.all():
            raise ValueError(
                f"{np.count_nonzero(~found)} of {len(digests)} requested rows are not stored; see `Entry.missing`."
            )
        return Rows(self._files, self.row_slots, numbers, places)

    def refresh(self) -> None:
        """Look for shards that other processes wrote or removed. Damaged files are deleted, with a notice."""
        folder = self.folder / "shards"
        present = {path.name for path in folder.glob(f"*{ENDING}")}
        if not self._known <= present:
            self._index, self._known = RowIndex(), set()
        found = []
        for name in sorted(present - self._known):
            path = folder / name
            try:
                found.append(shards.read_shard(path, self.row_slots))
                self._seen_rows += found[-1][0].rows
                self._seen_length += int(found[-1][0].starts[-1])
            except FileNotFoundError:
                continue
            except PermissionError as error:
                self._notices.append(Notice(text=f"{path} is skipped: {error.strerror}.", topic="store"))
            except DamagedShard as damage:
                self._discard(path, damage.found)
        self._add_shards(found)

    def take_notices(self) -> list[Notice]:
        """Return and clear notices for the user: discarded files, and why."""
        notices, self._notices = self._notices, []
        return notices

    def close(self) -> None:
        """Flush rows in memory and release the entry."""
        try:
            self.flush()
        finally:
            self._files.close()
            if isinstance(self._pin, Pin):
                touch(self.folder / "used")
                self._pin.release()

    def __enter__(self) -> "Entry":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with contextlib.suppress(RegraftError):
            self.close()

    def _forget_pending(self) -> None:
        self._pending, self._blocks, self._digests, self._lengths = set(), [], [], []
        self._since, self._pending_bytes = None, 0

    def _add_shards(self, added: Sequence[tuple[Shard, Shaped[np.ndarray, " _"]]]) -> None:
        if not added:
            return
        counts = [len(digests) for _, digests in added]
        numbers = [self._files.add(shard) for shard, _ in added]
        self._known.update(shard.path.name for shard, _ in added)
        self._index.add(
            np.concatenate([digests for _, digests in added]),
            np.repeat(np.array(numbers, dtype=np.int32), counts),
            np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        )

    def _discard(self, path: Path, found: str) -> None:
        with contextlib.suppress(OSError):
            path.unlink()
        said = f"The stored activations in {path} are damaged ({found}); they are discarded and recomputed."
        self._notices.append(Notice(text=said, topic="store"))

    def _shared_path(self, slot: Slot) -> Path:
        return self.folder / "shared" / f"{slot.name}{ENDING}"

    def _check_writable(self) -> None:
        if not isinstance(self._pin, Pin):
            raise self._pin

    def _check_arrays(self, arrays: Mapping[str, np.ndarray], rows: int, lengths: Int[np.ndarray, " k"] | None) -> None:
        longest = None if lengths is None else int(lengths.max(initial=0))
        expected = {
            slot.name: ((rows, *(longest if size is None else size for size in slot.shape)), slot.stored_dtype)
            for slot in self.row_slots
        }
        found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if found != expected:
            raise ValueError(f"The rows to add are {found}; the entry's slots expect {expected}.")


def _taken(
    array: Shaped[np.ndarray, "k ..."], slot: Slot, which: list[int], lengths: Int64[np.ndarray, " m"]
) -> np.ndarray:
    """Return the rows `which` of an array; ragged rows are trimmed to their lengths and concatenated."""
    if slot.ragged is None:
        return array[which]
    moved = np.moveaxis(array, 1 + slot.ragged, 1)
    return np.concatenate([moved[row, :length] for row, length in zip(which, lengths.tolist(), strict=True)])


@dataclass(frozen=True, kw_only=True)
class EntryInfo:
    """Description of an entry of the store."""

    id: str
    """Digest of its key, the name of its folder."""
    path: Path
    """Its folder."""
    key: Mapping[str, Any]
    """Everything its rows depend on besides the example: backbone, cut, dtype …; empty if its description is
    damaged."""
    created: float
    """Time of creation in seconds since 1970; 0 if unknown."""
    used: float
    """Time of last use in seconds since 1970."""
    rows: int
    """Number of stored rows; rows written by two processes at once count twice."""
    bytes: int
    """Size on disk in bytes."""
    pinned: bool
    """Whether a living process uses it."""


def describe_entry(folder: Path) -> EntryInfo:
    """Describe the entry in `folder`."""
    described = read_description(folder)
    return EntryInfo(
        id=folder.name,
        path=folder,
        key=described.get("key", {}),
        created=described.get("created", 0.0),
        used=used_at(folder / "used"),
        rows=sum(map(shards.rows_in_name, (folder / "shards").glob(f"*{ENDING}"))),
        bytes=bytes_under(folder),
        pinned=is_pinned(folder),
    )


def read_description(folder: Path) -> dict[str, Any]:
    """Read an entry's `key.json`; empty if it is absent or damaged."""
    try:
        described = json.loads((folder / "key.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}
