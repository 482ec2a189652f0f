"""What is known of an entry without opening it: for listings, eviction and clearing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.activations._disk import bytes_under, used_at
from regraft.activations._pins import is_pinned
from regraft.activations._shards import rows_in_name


@dataclass(frozen=True, kw_only=True)
class EntryInfo:
    """One entry of the store, as seen from outside."""

    id: str
    """Digest of its key; the name of its folder."""
    path: Path
    """Its folder."""
    key: Mapping[str, Any]
    """What its rows depend on beside the example: backbone, cut, dtype …; empty when its description is damaged."""
    created: float
    """When it was made, in seconds since 1970; 0 when unknown."""
    used: float
    """When it was last used, in seconds since 1970."""
    rows: int
    """Rows stored; those written by two processes at once count twice."""
    bytes: int
    """Bytes on the disk."""
    pinned: bool
    """Whether a living process uses it."""


def describe_entry(folder: Path) -> EntryInfo:
    """What is known of the entry in `folder`."""
    described = read_description(folder)
    return EntryInfo(
        id=folder.name,
        path=folder,
        key=described.get("key", {}),
        created=described.get("created", 0.0),
        used=used_at(folder / "used"),
        rows=sum(map(rows_in_name, (folder / "shards").glob("*.shard"))),
        bytes=bytes_under(folder),
        pinned=is_pinned(folder),
    )


def read_description(folder: Path) -> dict[str, Any]:
    """The content of an entry's `key.json`; empty when it is absent or damaged."""
    try:
        described = json.loads((folder / "key.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}
