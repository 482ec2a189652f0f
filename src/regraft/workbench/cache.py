"""Cache: list and clear cached data. Everything in the cache can be recomputed or downloaded again."""

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
"""Displayed instead of a backbone for entries of prepared inputs."""
_DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class StoredEntry:
    """Activations of one data set at one cut of one backbone."""

    id: str
    """First digits of the digest of its key."""
    backbone: str
    """`family:variant`; the entry identifies weights by digest, not by name."""
    cut: str
    """Name of the cut."""
    dtype: str
    """Data type of stored numbers."""
    rows: int
    """Number of rows: examples times views."""
    bytes: int
    """Size on disk in bytes."""
    used: float
    """Time of last use in seconds since 1970."""
    pinned: bool
    """Whether a living process uses it."""


@dataclass(frozen=True, kw_only=True)
class CacheFacts:
    """Content of the cache."""

    path: Path
    """Folder of the cache."""
    bytes: int
    """Total size in bytes."""
    store_bytes: int
    """Size of the activation store in bytes: entries, and networks exported to fill them."""
    limit_bytes: int
    """Size limit of the activation store in bytes."""
    free_bytes: int
    """Free space on its disk in bytes."""
    entries: tuple[StoredEntry, ...]
    """Stored activations, most recently used first."""
    others: Mapping[str, int]
    """Size in bytes of everything else, by folder: `downloads`, `weights` …"""


@dataclass(frozen=True, kw_only=True)
class ClearedCache:
    """Result of clearing the cache."""

    removed: tuple[StoredEntry, ...]
    """Removed entries."""
    kept: tuple[StoredEntry, ...]
    """Matching entries that are in use, and were kept."""
    freed_bytes: int
    """Size of the removed entries in bytes."""
    scan_bytes: int = 0
    """Bytes of removed scan results (fingerprints, near-duplicates); 0 if kept."""
    unpacked_bytes: int = 0
    """Bytes of removed unpacked archives; 0 if kept."""
    unpacked_kept: int = 0
    """Number of matching unpacked archives that are in use, and were kept."""


def look() -> CacheFacts:
    """Describe the content of the cache. Does not change anything."""
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
    """Delete stored activations that nobody uses: all, those of one backbone, or those not used for this number of
    days.

    `backbone` is a family (`googlenet`) or one of its variants (`googlenet:bn`). Without restrictions, scan results and
    unpacked archives are deleted too. Weights and downloads are kept.

    Raises:
        BadRequest: `backbone` names weights.
    """
    if "@" in backbone:
        raise BadRequest(
            f"{backbone!r} names weights, but stored activations can only be cleared by architecture.",
            fix=f"use {backbone.partition('@')[0]}, which clears the activations of all its weights.",
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
