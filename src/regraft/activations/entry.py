"""An entry of the store: all rows under one key. Rows are added in shards, looked up by digest, read through maps.

Several processes may fill one entry at once. Each writes shards of its own; a row written twice is read from the
shard that was seen first, which is the same numbers by the promise that a key names everything.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Int, Shaped

from regraft.activations._disk import StoreNotWritable, touch, writing
from regraft.activations._index import RowIndex
from regraft.activations._maps import ShardMaps
from regraft.activations._pins import Pin
from regraft.activations._shards import DamagedShard, map_columns, new_name, read_index, size_on_disk, write_shard
from regraft.activations.rows import Rows
from regraft.activations.slots import RowKey, Slot, row_digests
from regraft.errors import RegraftError
from regraft.values import Notice

FLUSH_AFTER_S = 30.0
"""Rows wait in memory at most this many seconds (looked at when rows are added): what a kill can cost. Our choice."""


class Entry:
    """The rows under one key; made by `Store.open`. In use, and so never evicted, until `close` or the process ends.

    Adding is for one thread; reading is for any.
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
        self._maps = ShardMaps(self.row_slots)
        self._index = RowIndex()
        self._known: set[str] = set()
        self._shared_stored: set[str] = set()
        self._notices: list[Notice] = []
        self._pending: set[bytes] = set()
        self._blocks: list[dict[str, np.ndarray]] = []
        self._digests: list[np.ndarray] = []
        self._since: float | None = None
        self.refresh()

    def __len__(self) -> int:
        """How many different rows are stored and seen, those still in memory not counted."""
        return len(self._index)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, all slots together."""
        return sum(slot.row_bytes for slot in self.row_slots)

    def missing(self, keys: Sequence[RowKey]) -> Int[np.ndarray, " m"]:
        """The positions in `keys`, ascending, of rows neither stored nor added."""
        digests = row_digests(keys)
        absent = np.flatnonzero(~self._index.find(digests)[0])
        if self._pending:
            return np.array([i for i in absent.tolist() if digests[i] not in self._pending], dtype=np.intp)
        return absent

    def append(self, keys: Sequence[RowKey], arrays: Mapping[str, Shaped[np.ndarray, "k ..."]]) -> None:
        """Add rows: for every slot of a row an array with one element per key. The arrays are copied.

        Rows that are known already are passed over. Rows are written when some 64 MB, or half a minute, have gathered.

        Raises:
            ValueError: the arrays are not the entry's slots.
            OutOfSpace: as `flush`.
            StoreNotWritable: the store's folder is read-only.
        """
        self._check_writable()
        digests = row_digests(keys)
        self._check_arrays(arrays, len(digests))
        fresh = []
        for i in np.flatnonzero(~self._index.find(digests)[0]).tolist():
            if (digest := digests[i]) not in self._pending:
                self._pending.add(digest)
                fresh.append(i)
        if not fresh:
            return
        self._blocks.append({slot.name: arrays[slot.name][fresh] for slot in self.row_slots})
        self._digests.append(digests[fresh])
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        full = len(self._pending) * self.row_bytes >= self._shard_bytes
        if full or now - self._since >= FLUSH_AFTER_S:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait in memory as one shard.

        Raises:
            OutOfSpace: the disk or the store's limit does not hold them. They are dropped, and missing again; what was
                stored before stays whole.
        """
        if not self._pending:
            return
        digests, blocks = np.concatenate(self._digests), self._blocks
        self._forget_pending()
        path = self.folder / "shards" / new_name(len(digests))
        self._make_room(size_on_disk(self.row_slots, len(digests)))
        with writing(path):
            write_shard(path, self.row_slots, digests, blocks)
        self._add_shards([(path, digests)])

    def write_shared(self, name: str, array: Shaped[np.ndarray, "..."]) -> None:
        """Store the array that all rows have in common; nothing happens when it is stored already.

        Raises:
            ValueError: no shared slot has this name, shape and dtype.
            OutOfSpace, StoreNotWritable: as `append`.
        """
        self._check_writable()
        slot = next((slot for slot in self.shared_slots if slot.name == name), None)
        if slot is None or array.shape != slot.shape or array.dtype != slot.stored_dtype:
            raise ValueError(f"{name!r} {array.dtype} {array.shape} is none of the shared slots {self.shared_slots}.")
        if name not in self._shared_stored and name not in self.shared():
            path = self._shared_path(slot)
            self._make_room(size_on_disk([slot], 1))
            with writing(path):
                write_shard(path, [slot], row_digests([RowKey(name, "shared")]), [{name: array[None]}])
        self._shared_stored.add(name)

    def shared(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The shared arrays that are stored, read into memory; a name that is absent is still to be written."""
        arrays = {}
        for slot in self.shared_slots:
            path = self._shared_path(slot)
            try:
                read_index(path, [slot])
                arrays[slot.name] = map_columns(path, [slot], 1)[slot.name][0].copy()
            except FileNotFoundError:
                continue
            except DamagedShard as damage:
                self._discard(path, damage.found)
        return arrays

    def rows(self, keys: Sequence[RowKey]) -> Rows:
        """The rows of `keys`, in that order, to read from. Writes first what waits in memory.

        Raises:
            ValueError: some are not stored; `missing` tells which.
        """
        self.flush()
        touch(self.folder / "used")
        digests = row_digests(keys)
        found, shards, places = self._index.find(digests)
        if not found.all():
            self.refresh()
            found, shards, places = self._index.find(digests)
        if not found.all():
            raise ValueError(f"{np.count_nonzero(~found)} of {len(keys)} rows are not stored; see `Entry.missing`.")
        return Rows(self._maps, self.row_slots, shards, places)

    def refresh(self) -> None:
        """See what other processes have written or removed since. Damaged files are removed, with a notice."""
        folder = self.folder / "shards"
        present = {path.name for path in folder.glob("*.shard")}
        if not self._known <= present:
            self._index, self._known = RowIndex(), set()
        found = []
        for name in sorted(present - self._known):
            path = folder / name
            try:
                found.append((path, read_index(path, self.row_slots)))
            except FileNotFoundError:
                continue
            except PermissionError as error:
                self._notices.append(Notice(text=f"{path} is passed over: {error.strerror}.", topic="store"))
            except DamagedShard as damage:
                self._discard(path, damage.found)
        self._add_shards(found)

    def take_notices(self) -> list[Notice]:
        """What the user should know of since this was last asked: files that were discarded, and why."""
        notices, self._notices = self._notices, []
        return notices

    def close(self) -> None:
        """Write what waits in memory and let go of the entry."""
        try:
            self.flush()
        finally:
            self._maps.close()
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
        self._pending, self._blocks, self._digests, self._since = set(), [], [], None

    def _add_shards(self, shards: Sequence[tuple[Path, Shaped[np.ndarray, " _"]]]) -> None:
        if not shards:
            return
        counts = [len(digests) for _, digests in shards]
        numbers = [self._maps.add(path, len(digests)) for path, digests in shards]
        self._known.update(path.name for path, _ in shards)
        self._index.add(
            np.concatenate([digests for _, digests in shards]),
            np.repeat(np.array(numbers, dtype=np.int32), counts),
            np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        )

    def _discard(self, path: Path, found: str) -> None:
        with contextlib.suppress(OSError):
            path.unlink()
        said = f"Stored activations in {path} were damaged ({found}); they are discarded and computed again."
        self._notices.append(Notice(text=said, topic="store"))

    def _shared_path(self, slot: Slot) -> Path:
        return self.folder / "shared" / f"{slot.name}.shard"

    def _check_writable(self) -> None:
        if not isinstance(self._pin, Pin):
            raise self._pin

    def _check_arrays(self, arrays: Mapping[str, np.ndarray], rows: int) -> None:
        expected = {slot.name: ((rows, *slot.shape), slot.stored_dtype) for slot in self.row_slots}
        found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if found != expected:
            raise ValueError(f"The rows to add are {found}; the entry's slots ask for {expected}.")
