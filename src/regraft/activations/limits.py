"""How much the store may hold, and whether a plan fits. Sizes are bytes; 1 GB is 10^9, 1 GiB is 2^30."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from regraft.activations._disk import disk_of
from regraft.activations.slots import DIGEST_BYTES
from regraft.errors import BadRequest

DEFAULT_LIMIT_BYTES = 20 * 10**9
"""Most that the store holds unless told otherwise. Our choice: 250,000 rows of 832 x 7 x 7 in float16."""
DEFAULT_LIMIT_SHARE = 0.2
"""Largest share of the disk that the store takes unless told otherwise. Our choice."""
RESERVE_BYTES = 10**9
"""Left free on the disk, or a twentieth of the disk where that is less: a full disk harms others. Our choice."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)b?\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class StorePlan:
    """Whether rows that are still missing will fit, told before any is computed."""

    bytes_needed: int
    """Bytes that the missing rows will take."""
    bytes_available: int
    """Most bytes that can be added within the limit and the disk, after evicting what nobody uses."""
    bytes_free: int
    """Bytes free on the disk now."""
    evictable_bytes: int
    """Bytes of entries and files in the store that nobody uses now."""
    fits: bool
    """Whether the rows can be stored; when not: fewer views, a higher cut, or recompute."""


def parse_size(written: str) -> int:
    """Bytes meant by `20GB`, `500 MB`, `1.5GiB` or `1000`.

    Raises:
        BadRequest: it is no size.
    """
    found = _SIZE.fullmatch(written)
    if not found or found[2].lower() not in _UNITS:
        raise BadRequest(f"{written!r} is no size in bytes.", fix="write it like 20GB, 500MB or 1.5GiB.")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def sized(size: int) -> str:
    """A number of bytes as people read it: `1.2 GB`."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def default_limit(root: Path) -> int:
    """Most bytes a store at `root` holds: `REGRAFT_CACHE_LIMIT`, else 20 GB or a fifth of the disk, whichever is less.

    Raises:
        BadRequest: `REGRAFT_CACHE_LIMIT` is no size.
    """
    if chosen := os.environ.get("REGRAFT_CACHE_LIMIT"):
        return parse_size(chosen)
    return min(DEFAULT_LIMIT_BYTES, int(DEFAULT_LIMIT_SHARE * disk_of(root)[0]))


def headroom(root: Path, *, limit: int, stored: int) -> int:
    """Bytes that a store of at most `limit` bytes, which holds `stored`, can grow by; negative when it must shrink."""
    disk, free = disk_of(root)
    return min(limit - stored, free - min(RESERVE_BYTES, disk // 20))


def plan(rows_missing: int, bytes_per_row: int, *, root: Path, limit: int, stored: int, evictable: int) -> StorePlan:
    """Whether `rows_missing` rows of `bytes_per_row` fit a store of at most `limit` bytes at `root` that holds `stored`
    bytes, `evictable` of them in use by nobody."""
    bytes_needed = rows_missing * (bytes_per_row + DIGEST_BYTES)
    available = max(0, headroom(root, limit=limit, stored=stored) + evictable)
    return StorePlan(
        bytes_needed=bytes_needed,
        bytes_available=available,
        bytes_free=disk_of(root)[1],
        evictable_bytes=evictable,
        fits=bytes_needed <= available,
    )
