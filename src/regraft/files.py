"""Files that are never seen half-written, locks that die with their process, and where the cache lives."""

import contextlib
import errno
import json
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from regraft.errors import OutOfSpace


def cache_home() -> Path:
    """Folder of everything that can be made again: `REGRAFT_CACHE`, else the platform's cache folder."""
    if chosen := os.environ.get("REGRAFT_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "regraft" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "regraft"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "regraft"


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` whole, or not at all.

    Written beside the file it replaces, flushed to the disk, then renamed over it.

    Raises:
        OutOfSpace: the disk is full; the partial file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(
                f"The disk is full: {path} could not be written.",
                fix="free some space, or set REGRAFT_CACHE (for the cache) or --out (for the run) to another disk.",
            ) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically; what a file name has that is not UTF-8 is escaped."""
    with atomic(path) as file:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        file.write(text.encode(errors="backslashreplace") + b"\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically; what a file name has that is not UTF-8 is escaped."""
    with atomic(path) as file:
        file.write(text.encode(errors="backslashreplace"))


class Lock:
    """An exclusive lock on a file, released by the system when its process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; False when another process (or another `Lock`) has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a+b")
        try:
            _lock(file)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def unreadable(path: Path, error: Exception) -> str:
    """Why the system does not give the bytes of a file, in a clause."""
    if path.is_symlink() and not path.exists():
        return "it is a link that leads nowhere"
    return f"it cannot be read ({getattr(error, 'strerror', None) or error or 'it does not fit into memory'})"


def shortened(reason: str, limit: int = 120) -> bytes:
    """A reason in at most `limit` bytes of UTF-8, cut between characters."""
    return reason.encode(errors="replace")[:limit].decode(errors="ignore").encode()
