"""The cache: what lies in it, and clearing it. Everything in it can be made or fetched again."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from regraft.activations.disk import bytes_under, disk_of
from regraft.activations.entry import EntryInfo
from regraft.activations.store import Store
from regraft.data import scan as memory
from regraft.data.archives import clear_unpacked
from regraft.errors import BadRequest
from regraft.files import cache_home

PREPARED = "(prepared inputs)"
"""Stands for the backbone where an entry lies below every backbone."""
_DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class StoredEntry:
    """Activations of one data set's examples at one cut of one backbone."""

    id: str
    """First digits of the digest of its key."""
    backbone: str
    """`family:variant`; the entry knows its weights by their digest, not by a name."""
    cut: str
    """Where the backbone is cut."""
    dtype: str
    """How numbers are kept."""
    rows: int
    """Rows: examples times views."""
    bytes: int
    """Bytes on the disk."""
    used: float
    """When it was last used, in seconds since 1970."""
    pinned: bool
    """Whether a living process uses it."""


@dataclass(frozen=True, kw_only=True)
class CacheFacts:
    """What lies in the cache."""

    path: Path
    """The cache's folder."""
    bytes: int
    """Bytes in it, all together."""
    store_bytes: int
    """Bytes of the activation store: the entries, and the networks exported to fill them."""
    limit_bytes: int
    """Most bytes that the activation store may hold."""
    free_bytes: int
    """Bytes free on its disk."""
    entries: tuple[StoredEntry, ...]
    """Stored activations, the last used first."""
    others: Mapping[str, int]
    """Bytes of what else there is, by folder: `downloads`, `weights` …"""


@dataclass(frozen=True, kw_only=True)
class ClearedCache:
    """What clearing did."""

    removed: tuple[StoredEntry, ...]
    """Entries that are gone."""
    kept: tuple[StoredEntry, ...]
    """Entries that were meant but are in use."""
    freed_bytes: int
    """Bytes that these entries took."""
    scan_bytes: int = 0
    """Bytes of what scans remembered of files and of near-duplicates, that is gone too; 0 where it was left."""
    unpacked_bytes: int = 0
    """Bytes of unpacked archives that are gone too; 0 where they were left."""
    unpacked_kept: int = 0
    """Unpacked archives that were meant but are in use."""


def look() -> CacheFacts:
    """What lies in the cache. Deletes nothing, makes nothing."""
    home = cache_home()
    store = Store(home / "store")
    folders = sorted(path for path in home.glob("*") if path.is_dir() and path.name != "store")
    return CacheFacts(
        path=home,
        bytes=bytes_under(home),
        store_bytes=store.size_bytes(),
        limit_bytes=store.limit_bytes,
        free_bytes=disk_of(home)[1],
        entries=tuple(map(_stored, store.entries())),
        others={path.name: bytes_under(path) for path in folders},
    )


def clear(*, backbone: str = "", older_than_days: float | None = None) -> ClearedCache:
    """Delete stored activations that nobody uses: all, those of one backbone, those not used for so many days.

    `backbone` is a family (`googlenet`) or one of its variants (`googlenet:bn`). Where all is asked for, what scans
    remembered and unpacked archives go too. Weights and downloads stay.

    Raises:
        BadRequest: `backbone` names weights.
    """
    if "@" in backbone:
        raise BadRequest(
            f"{backbone!r} names weights; stored activations know theirs by digest, and are cleared by architecture.",
            fix=f"write {backbone.partition('@')[0]}: it clears those of all its weights.",
        )
    before = None if older_than_days is None else time.time() - older_than_days * _DAY_S

    def meant(entry: EntryInfo) -> bool:
        name = str(entry.key.get("backbone") or "")
        of_it = not backbone or (bool(name) and backbone in (name, name.partition(":")[0]))
        return of_it and (before is None or entry.used <= before)

    everything = not backbone and before is None
    done = Store(cache_home() / "store").clear(None if everything else meant)
    cleared = ClearedCache(
        removed=tuple(map(_stored, done.removed)), kept=tuple(map(_stored, done.kept)), freed_bytes=done.freed_bytes
    )
    if not everything:
        return cleared
    scan_bytes = memory.size_bytes()
    memory.clear()
    unpacked_bytes, unpacked_kept = clear_unpacked()
    return replace(cleared, scan_bytes=scan_bytes, unpacked_bytes=unpacked_bytes, unpacked_kept=unpacked_kept)


def _stored(entry: EntryInfo) -> StoredEntry:
    key = entry.key
    return StoredEntry(
        id=entry.id[:12],
        backbone=str(key.get("backbone") or (PREPARED if key else "(description damaged)")),
        cut=str(key.get("cut", "")),
        dtype=str(key.get("dtype", "")),
        rows=entry.rows,
        bytes=entry.bytes,
        used=entry.used,
        pinned=entry.pinned,
    )
