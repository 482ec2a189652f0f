"""The activation store: what lies below a cut, computed once and kept.

A folder that several processes share:

    entries/<digest of the key>/   key.json   what the rows depend on, and their slots
                                   used       touched at each use
                                   pins/      one locked file per living user
                                   shards/    the rows
                                   shared/    arrays that all rows have in common
    prefixes/                      exported stages (see `disk.Memo`)
    facts/                         small facts (see `disk.Memo`)
    trash/                         what is being deleted

Least recently used entries go first when room is needed; never one that a living process has open. Nothing here knows
what an example is.
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
"""Part of every entry's digest: entries of another format are other entries, never read, and evicted as the least
recently used."""
SHARD_BYTES = 64 << 20
"""Rows gather in memory up to this size before they are written. Our choice."""
RESTING_S = 600.0
"""A file beside the entries counts as in use for this many seconds after it was asked for. Our choice."""


class SlotsDiffer(RegraftError):
    """The rows under this key are made of other arrays than expected: the key does not name everything."""


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """What clearing did."""

    removed: tuple[EntryInfo, ...]
    """Entries that are gone."""
    kept: tuple[EntryInfo, ...]
    """Entries that were meant too but are in use."""
    freed_bytes: int
    """Bytes that were freed."""


class Store:
    """The store in the folder `root`, which need not exist yet, of at most `limit_bytes` (None: `default_limit`)."""

    def __init__(self, root: Path, limit_bytes: int | None = None, *, shard_bytes: int = SHARD_BYTES) -> None:
        self.root = root
        self.limit_bytes = disk.default_limit(root) if limit_bytes is None else limit_bytes
        self.memo = Memo(root)
        self._shard_bytes = shard_bytes

    def open(self, key: Mapping[str, Any], slots: Sequence[Slot]) -> Entry:
        """The entry of `key`, made when there is none, and in use until it is closed.

        `key` is a JSON object that names everything the rows depend on beside the example. A store that may only be
        read gives entries that exist, to read.

        Raises:
            SlotsDiffer: the entry's rows are made of other slots.
            StoreNotWritable: there is no such entry, and none can be made.
            LocksUnsupported: the file system gives no locks.
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
        """All entries, the last used first."""
        folders = [path for path in (self.root / "entries").glob("*") if path.is_dir()]
        return sorted(map(describe_entry, folders), key=lambda entry: entry.used, reverse=True)

    def size_bytes(self) -> int:
        """Bytes of everything in the store."""
        return bytes_under(self.root)

    def available(self) -> int:
        """Most bytes that can be added within the limit and the disk, after evicting what nobody uses. Open the entry
        that is to grow first, or it counts as evictable."""
        idle = sum(entry.bytes for entry in self.entries() if not entry.pinned)
        idle += sum(bytes_under(path) for path in self._resting_files())
        return max(0, disk.headroom(self.root, limit=self.limit_bytes, stored=self.size_bytes()) + idle)

    def make_room(self, bytes_needed: int) -> None:
        """Evict so much that `bytes_needed` more keep within the limit and the disk.

        Raises:
            OutOfSpace: what is in use leaves too little.
        """
        short = bytes_needed - disk.headroom(self.root, limit=self.limit_bytes, stored=self.size_bytes())
        if short > 0 and self.evict(short) < short:
            used, limit, free = self.size_bytes(), self.limit_bytes, disk.disk_of(self.root)[1]
            raise OutOfSpace(
                f"The activation store at {self.root} holds {disk.sized(used)} that are in use, of {disk.sized(limit)} "
                f"allowed, with {disk.sized(free)} free on the disk; {disk.sized(bytes_needed)} more do not fit.",
                fix="take fewer views or a higher cut, raise REGRAFT_CACHE_LIMIT, or set REGRAFT_CACHE elsewhere.",
            )

    def evict(self, bytes_needed: int) -> int:
        """Delete what was used least recently, and is in use by nobody, until `bytes_needed` bytes are freed.

        Returns the bytes freed, which are fewer when nothing is left to delete.
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
        """Delete the entries that `predicate` holds for, save those in use; with None everything, save those in use."""
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
                f"The stored activations in {folder} have the slots {described.get('slots')}, not {slots} as expected.",
                fix="clear the store with `regraft cache --clear`, and report this: the rows' key is not complete.",
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
