"""The activation store: outputs of frozen stages, computed once and kept.

A folder that several processes share:

    entries/<digest of the key>/   key.json   everything the rows depend on, and their slots
                                   used       touched at each use
                                   pins/      one locked file per living user
                                   shards/    the rows
                                   shared/    arrays that all rows share
    prefixes/                      exported stages (see `disk.Memo`)
    facts/                         cached facts (see `disk.Memo`)
    trash/                         entries being deleted

If space is needed, the least recently used entries are evicted, never one that a living process has open. The store
does not depend on the kind of examples.
"""

import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.activations import disk
from regraft.activations.disk import Memo, Pin, StoreNotWritable, bytes_under, store_lock, writing
from regraft.activations.entry import Entry, EntryInfo, describe_entry, read_description
from regraft.activations.slots import Slot
from regraft.errors import OutOfSpace, RegraftError
from regraft.files import write_json
from regraft.identity import digest_json

FORMAT = 2
"""Part of every entry's digest: entries of other formats are never read, and get evicted as least recently used."""
SHARD_BYTES = 64 << 20
"""Size up to which rows are collected in memory before they are written. Our choice."""
RESTING_S = 600.0
"""Seconds for which a file beside the entries counts as in use after its last use. Our choice."""


class SlotsDiffer(RegraftError):
    """The rows under this key have other slots than expected: the key is incomplete."""


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """Result of clearing the store."""

    removed: tuple[EntryInfo, ...]
    """Removed entries."""
    kept: tuple[EntryInfo, ...]
    """Matching entries that are in use, and were kept."""
    freed_bytes: int
    """Bytes freed."""


class Store:
    """The store in the folder `root`, created on demand, with a limit of `limit_bytes` (None: `default_limit`)."""

    def __init__(self, root: Path, limit_bytes: int | None = None, *, shard_bytes: int = SHARD_BYTES) -> None:
        self.root = root
        self.limit_bytes = disk.default_limit(root) if limit_bytes is None else limit_bytes
        self.memo = Memo(root)
        self._shard_bytes = shard_bytes

    def open(self, key: Mapping[str, Any], slots: Sequence[Slot]) -> Entry:
        """Open the entry of `key`, creating it if needed; it is in use until closed.

        `key` is a JSON object with everything the rows depend on besides the example. A read-only store opens existing
        entries for reading.

        Raises:
            SlotsDiffer: the entry's rows have other slots.
            StoreNotWritable: there is no such entry, and it cannot be created.
            LocksUnsupported: the file system does not support locks.
        """
        folder = self.root / "entries" / digest_json({"format": FORMAT, "key": dict(key)})
        wanted = [slot.describe() for slot in slots]
        pin: Pin | StoreNotWritable
        try:
            with writing(folder), store_lock(self.root):
                if disk.remove_dead_pins(folder):
                    disk.remove_leftovers(folder)
                pin = Pin(folder)
        except StoreNotWritable as refusal:
            if not (folder / "key.json").is_file():
                raise
            pin = refusal
        try:
            self._describe(folder, key, wanted)
            return Entry(folder, slots, pin, self.make_room, self._shard_bytes)
        except BaseException:
            if isinstance(pin, Pin):
                pin.release()
            raise

    def entries(self) -> list[EntryInfo]:
        """Return all entries, most recently used first."""
        folders = [path for path in (self.root / "entries").glob("*") if path.is_dir()]
        return sorted(map(describe_entry, folders), key=lambda entry: entry.used, reverse=True)

    def size_bytes(self) -> int:
        """Return the total size of the store in bytes."""
        return bytes_under(self.root)

    def available(self) -> int:
        """Return how many bytes can be added within the limit and the disk after evicting unused entries. Open the
        entry that is to grow first, or it counts as evictable."""
        idle = sum(entry.bytes for entry in self.entries() if not entry.pinned)
        idle += sum(bytes_under(path) for path in self._resting_files())
        return max(0, disk.headroom(self.root, limit=self.limit_bytes, stored=self.size_bytes()) + idle)

    def make_room(self, bytes_needed: int) -> None:
        """Evict entries until `bytes_needed` more bytes fit within the limit and the disk.

        Raises:
            OutOfSpace: the entries in use leave too little.
        """
        short = bytes_needed - disk.headroom(self.root, limit=self.limit_bytes, stored=self.size_bytes())
        if short > 0 and self.evict(short) < short:
            used, limit, free = self.size_bytes(), self.limit_bytes, disk.disk_of(self.root)[1]
            raise OutOfSpace(
                f"The activation store at {self.root} has {disk.sized(used)} in use, of {disk.sized(limit)} "
                f"allowed, with {disk.sized(free)} free on the disk; {disk.sized(bytes_needed)} more do not fit.",
                fix="use fewer views or a higher cut, raise REGRAFT_CACHE_LIMIT, or set REGRAFT_CACHE to another disk.",
            )

    def evict(self, bytes_needed: int) -> int:
        """Delete the least recently used entries that nobody uses until `bytes_needed` bytes are freed.

        Return the number of bytes freed, which is smaller if nothing is left to delete.
        """
        self._empty_trash()
        found = [(entry.used, entry.bytes, entry.path) for entry in self.entries() if not entry.pinned]
        found += [(disk.used_at(path), bytes_under(path), path) for path in self._resting_files()]
        freed = 0
        for _, size, path in sorted(found):
            if freed >= bytes_needed:
                break
            freed += size if self._remove(path) else 0
        return freed

    def clear(self, predicate: Callable[[EntryInfo], bool] | None = None) -> Cleared:
        """Delete the entries that satisfy `predicate` (None: everything), except those in use."""
        self._empty_trash()
        meant = [entry for entry in self.entries() if predicate is None or predicate(entry)]
        removed = tuple(entry for entry in meant if self._remove(entry.path))
        kept = tuple(entry for entry in meant if entry not in removed)
        freed = sum(entry.bytes for entry in removed)
        if predicate is None:
            for name in ("prefixes", "facts"):
                size = bytes_under(self.root / name)
                freed += size if self._remove(self.root / name) else 0
        return Cleared(removed=removed, kept=kept, freed_bytes=freed)

    def _describe(self, folder: Path, key: Mapping[str, Any], slots: list[dict[str, Any]]) -> None:
        described = read_description(folder)
        if not described:
            written = {"format": FORMAT, "key": dict(key), "slots": slots, "created": time.time()}
            with writing(folder):
                write_json(folder / "key.json", written)
        elif described.get("slots") != slots:
            raise SlotsDiffer(
                f"The stored activations in {folder} have the slots {described.get('slots')}; expected {slots}.",
                fix="clear the store with `regraft cache --clear`, and report a bug: the rows' key is incomplete.",
            )
        disk.touch(folder / "used")

    def _resting_files(self) -> list[Path]:
        """Exported prefixes that nobody asked for of late."""
        now = time.time()
        return [path for path in (self.root / "prefixes").glob("*") if now - disk.used_at(path) > RESTING_S]

    def _remove(self, path: Path) -> bool:
        """Delete a folder or file of the store, unless a living process has a pin on it; whether it was deleted."""
        if not path.exists():
            return False
        trash = self.root / "trash" / secrets.token_hex(8)
        with writing(path), store_lock(self.root):
            if not disk.remove_dead_pins(path):
                return False
            trash.parent.mkdir(exist_ok=True)
            try:
                path.rename(trash)
            except OSError:
                return False
        self._empty_trash()
        return True

    def _empty_trash(self) -> None:
        for path in (self.root / "trash").glob("*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
