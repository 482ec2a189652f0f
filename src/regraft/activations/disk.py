"""What the store asks of a disk: room, locks that die with their process, errors in plain words, and small facts.

Sizes are bytes; 1 GB is 10^9, 1 GiB is 2^30.
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
"""Most that the store holds unless told otherwise. Our choice: 250,000 rows of 832 x 7 x 7 in float16."""
DEFAULT_LIMIT_SHARE = 0.2
"""Largest share of the disk that the store takes unless told otherwise. Our choice."""
RESERVE_BYTES = 10**9
"""Left free on the disk, or a twentieth of the disk where that is less: a full disk harms others. Our choice."""
PATIENCE_S = 60.0
"""How long to wait for the store's lock, in seconds; it is held for milliseconds. Our choice."""

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)b?\s*", re.IGNORECASE)


class StoreNotWritable(BadRequest):
    """The folder of the store cannot be written by this user."""


class LocksUnsupported(RegraftError):
    """The file system under the store gives no locks, or another process never releases one."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The lock {path} could not be taken within {PATIENCE_S:.0f} s; it is normally held for milliseconds.",
            fix="set REGRAFT_CACHE to a folder on a local disk, or stop the process that holds the lock.",
        )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says of a full disk or a refused write into an error that names `path`.

    Raises:
        OutOfSpace: the disk, or the user's quota on it, is full.
        StoreNotWritable: the folder is read-only, belongs to another user, or is no folder at all.
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
                f"The activation store needs a folder it can write, but {error.filename or path} refused: "
                f"{error.strerror}.",
                fix="set REGRAFT_CACHE to a folder of your own, or ask for write permission on this one.",
            ) from error
        raise


def bytes_under(path: Path) -> int:
    """Bytes of all files in the folder `path`, or of the file `path`; files that vanish meanwhile count nothing."""
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
    """Size of the disk that holds `path` (or will hold it), and what is free on it for this user, in bytes."""
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


def touch(path: Path) -> None:
    """Mark `path` as used now; silently nothing where the disk refuses, as on a store shared read-only."""
    with contextlib.suppress(OSError):
        path.touch()


def used_at(path: Path) -> float:
    """When `path` was last touched, in seconds since 1970; 0 when it does not exist."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def remove_leftovers(folder: Path) -> None:
    """Delete the partial files that killed writers left anywhere in `folder`; only call it when no writer lives."""
    for partial in folder.rglob(".*.part"):
        with contextlib.suppress(OSError):
            partial.unlink()


def parse_size(written: str) -> int:
    """Bytes meant by `20GB`, `500 MB`, `1.5GiB` or `1000`.

    Raises:
        BadRequest: it is not a size.
    """
    found = _SIZE.fullmatch(written)
    if not found or found[2].lower() not in _UNITS:
        raise BadRequest(f"{written!r} is not a size in bytes.", fix="write it like 20GB, 500MB or 1.5GiB.")
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
        BadRequest: `REGRAFT_CACHE_LIMIT` is not a size.
    """
    if chosen := os.environ.get("REGRAFT_CACHE_LIMIT"):
        return parse_size(chosen)
    return min(DEFAULT_LIMIT_BYTES, int(DEFAULT_LIMIT_SHARE * disk_of(root)[0]))


def headroom(root: Path, *, limit: int, stored: int) -> int:
    """Bytes that a store of at most `limit` bytes, which holds `stored`, can grow by; negative when it must shrink."""
    disk, free = disk_of(root)
    return min(limit - stored, free - min(RESERVE_BYTES, disk // 20))


@contextlib.contextmanager
def store_lock(root: Path) -> Iterator[None]:
    """Hold the one lock of the store at `root`.

    Taking a pin, and deciding that an entry has none and moving it away, both happen under this lock; so an entry is
    never taken from under a process that is just opening it.

    Raises:
        LocksUnsupported: it stayed taken for a minute.
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
    """Says that a process uses an entry: a locked file, whose lock the system frees when the process dies."""

    def __init__(self, entry: Path) -> None:
        for _ in range(10):
            self._lock = Lock(entry / "pins" / f"{os.getpid()}-{secrets.token_hex(4)}.pin")
            if self._lock.acquire():
                break
        else:
            raise LocksUnsupported(self._lock.path)
        self._owner = os.getpid()

    def release(self) -> None:
        """Let go; harmless when done twice. In a forked child the file, which is the parent's, stays."""
        self._lock.release()
        if os.getpid() == self._owner:
            with contextlib.suppress(OSError):
                self._lock.path.unlink(missing_ok=True)


def is_pinned(entry: Path) -> bool:
    """Whether a living process holds a pin on `entry`; where that cannot be found out, it counts as held."""
    return any(_is_held(path) for path in (entry / "pins").glob("*.pin"))


def remove_dead_pins(entry: Path) -> bool:
    """Delete the pins of dead processes; True when none is left. Only for the holder of the store's lock."""
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
    """Small facts that are costly to find, and exported prefixes: remembered in the store's folder `root` under a
    digest of what they depend on. They can be made again at any time.

    Safe under concurrent use: a fact is one file, written whole.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, key: Json) -> Json:
        """The fact kept under `key`; None when there is none, or its file is damaged."""
        try:
            kept = json.loads(self._fact(key).read_bytes())
        except (OSError, ValueError):
            return None
        return kept.get("value") if isinstance(kept, dict) and kept.get("key") == key else None

    def put(self, key: Json, value: Json) -> None:
        """Keep `value` under `key`, instead of what was there.

        Raises:
            OutOfSpace: the disk is full.
            StoreNotWritable: the folder is read-only.
        """
        path = self._fact(key)
        with writing(path):
            write_json(path, {"key": key, "value": value})

    def file(self, key: Json, suffix: str) -> Path:
        """Where the file that depends on `key` lies, or is to be written with `files.atomic`; existing, it is marked
        as used, so that it is not evicted within ten minutes."""
        path = self.root / "prefixes" / f"{digest_json(key)}{suffix}"
        if path.exists():
            touch(path)
        return path

    def _fact(self, key: Json) -> Path:
        return self.root / "facts" / f"{digest_json(key)}.json"
