"""Disk access of the store: space limits, locks that are released when a process dies, errors, and cached facts.

Sizes are in bytes; 1 GB is 10^9, 1 GiB is 2^30.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from regraft.errors import BadRequest, OutOfSpace, RegraftError
from regraft.files import FULL, Lock, write_json
from regraft.identity import digest_json
from regraft.values import Json

DEFAULT_LIMIT_BYTES = 20 * 10**9
"""Default size limit of the store. Our choice: 250,000 rows of 832 x 7 x 7 in float16."""
DEFAULT_LIMIT_SHARE = 0.2
"""Default size limit as a share of the disk. Our choice."""
RESERVE_BYTES = 10**9
"""Bytes to leave free on the disk, or a twentieth of the disk if that is less. Our choice."""
PATIENCE_S = 60.0
"""Timeout for the store's lock in seconds; it is normally held for milliseconds. Our choice."""

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)b?\s*", re.IGNORECASE)


class StoreNotWritable(BadRequest):
    """The store's folder is not writable."""


class LocksUnsupported(RegraftError):
    """The store's file system does not support locks, or another process does not release one."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The lock {path} was not released within {PATIENCE_S:.0f} s; it is normally held for milliseconds.",
            fix="set REGRAFT_CACHE to a folder on a local disk, or stop the process that holds the lock.",
        )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate system errors about full disks and refused writes to errors that name `path`.

    Raises:
        OutOfSpace: the disk, or the user's quota on it, is full.
        StoreNotWritable: the folder is read-only, belongs to another user, or is not a folder.
    """
    try:
        yield
    except (OSError, OutOfSpace) as error:
        if isinstance(error, OutOfSpace) or error.errno in FULL:
            raise OutOfSpace(
                f"The disk is full: the activation store could not write {path}.",
                fix="free some space, clear the store with `regraft cache --clear`, or set REGRAFT_CACHE to another "
                "disk.",
            ) from error
        if error.errno in _REFUSED:
            raise StoreNotWritable(
                f"The activation store cannot write to {error.filename or path}: {error.strerror}.",
                fix="set REGRAFT_CACHE to a folder of your own, or get write permission for this one.",
            ) from error
        raise


def bytes_under(path: Path) -> int:
    """Return the total size of the folder or file `path` in bytes; files that vanish meanwhile count zero."""
    total = 0
    try:
        with os.scandir(path) as items:
            for item in items:
                with contextlib.suppress(FileNotFoundError):
                    folder = item.is_dir(follow_symlinks=False)
                    total += bytes_under(Path(item.path)) if folder else item.stat(follow_symlinks=False).st_size
    except NotADirectoryError:
        total = path.stat().st_size
    except FileNotFoundError:
        return 0
    return total


def disk_of(path: Path) -> tuple[int, int]:
    """Return size and free space, in bytes, of the disk that holds (or will hold) `path`."""
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


def touch(path: Path) -> None:
    """Mark `path` as used now; do nothing if the disk is read-only, as in a shared store."""
    with contextlib.suppress(OSError):
        path.touch()


def used_at(path: Path) -> float:
    """Return when `path` was last touched, in seconds since 1970; 0 if it does not exist."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def remove_leftovers(folder: Path) -> None:
    """Delete partial files in `folder` left by killed writers; call only while nobody writes."""
    for partial in folder.rglob(".*.part"):
        with contextlib.suppress(OSError):
            partial.unlink()


def parse_size(written: str) -> int:
    """Parse a size like `20GB`, `500 MB`, `1.5GiB` or `1000` into bytes.

    Raises:
        BadRequest: it is not a size.
    """
    found = _SIZE.fullmatch(written)
    if not found or found[2].lower() not in _UNITS:
        raise BadRequest(f"{written!r} is not a size in bytes.", fix="write it as 20GB, 500MB or 1.5GiB, for example.")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def sized(size: int) -> str:
    """Format a number of bytes: `1.2 GB`."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def default_limit(root: Path) -> int:
    """Return the size limit of a store at `root`: `REGRAFT_CACHE_LIMIT`, else 20 GB or a fifth of the disk, whichever
    is less.

    Raises:
        BadRequest: `REGRAFT_CACHE_LIMIT` is not a size.
    """
    if chosen := os.environ.get("REGRAFT_CACHE_LIMIT"):
        return parse_size(chosen)
    return min(DEFAULT_LIMIT_BYTES, int(DEFAULT_LIMIT_SHARE * disk_of(root)[0]))


def headroom(root: Path, *, limit: int, stored: int) -> int:
    """Return by how many bytes a store with this `limit`, holding `stored`, can grow; negative if it must shrink."""
    disk, free = disk_of(root)
    return min(limit - stored, free - min(RESERVE_BYTES, disk // 20))


@contextlib.contextmanager
def store_lock(root: Path) -> Iterator[None]:
    """Hold the lock of the store at `root`.

    Pinning an entry, and checking that it has no pins before moving it away, both happen under this lock, so an entry
    is never removed while another process opens it.

    Raises:
        LocksUnsupported: it could not be acquired within a minute.
    """
    lock = Lock(root / "store.lock")
    give_up_at = time.monotonic() + PATIENCE_S
    while not lock.acquire():
        if time.monotonic() > give_up_at:
            raise LocksUnsupported(lock.path)
        time.sleep(0.002)
    try:
        yield
    finally:
        lock.release()


class Pin:
    """Marks an entry as used by this process: a locked file, whose lock the system releases when the process dies."""

    def __init__(self, entry: Path) -> None:
        for _ in range(10):
            self._lock = Lock(entry / "pins" / f"{os.getpid()}-{secrets.token_hex(4)}.pin")
            if self._lock.acquire():
                break
        else:
            raise LocksUnsupported(self._lock.path)
        self._owner = os.getpid()

    def release(self) -> None:
        """Release the pin; safe to call twice. A forked child does not delete its parent's file."""
        self._lock.release()
        if os.getpid() == self._owner:
            with contextlib.suppress(OSError):
                self._lock.path.unlink(missing_ok=True)


def is_pinned(entry: Path) -> bool:
    """Return whether a living process holds a pin on `entry`; True if that cannot be determined."""
    return any(_is_held(path) for path in (entry / "pins").glob("*.pin"))


def remove_dead_pins(entry: Path) -> bool:
    """Delete the pins of dead processes; return True if none is left. Requires the store's lock."""
    alive = False
    for path in sorted((entry / "pins").glob("*.pin")):
        if _is_held(path):
            alive = True
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return not alive


def _is_held(path: Path) -> bool:
    lock = Lock(path)
    try:
        held = not lock.acquire()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    lock.release()
    return held


class Memo:
    """A cache for expensive facts and exported prefixes in the store's folder `root`, keyed by a digest of what they
    depend on. Everything in it can be recomputed.

    Safe for concurrent use: a fact is one file, written atomically.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, key: Json) -> Json:
        """Return the fact stored under `key`; None if there is none, or its file is damaged."""
        try:
            kept = json.loads(self._fact(key).read_bytes())
        except (OSError, ValueError):
            return None
        return kept.get("value") if isinstance(kept, dict) and kept.get("key") == key else None

    def put(self, key: Json, value: Json) -> None:
        """Store `value` under `key`, replacing the previous value.

        Raises:
            OutOfSpace: the disk is full.
            StoreNotWritable: the folder is read-only.
        """
        path = self._fact(key)
        with writing(path):
            write_json(path, {"key": key, "value": value})

    def file(self, key: Json, suffix: str) -> Path:
        """Return the path of the file for `key`, to be written with `files.atomic`. If it exists, mark it as used,
        which protects it from eviction for ten minutes."""
        path = self.root / "prefixes" / f"{digest_json(key)}{suffix}"
        if path.exists():
            touch(path)
        return path

    def _fact(self, key: Json) -> Path:
        return self.root / "facts" / f"{digest_json(key)}.json"
