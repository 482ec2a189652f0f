"""Atomic file writes, file locks that are released when their process dies, and the cache folder."""

import contextlib
import errno
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from regraft.errors import BadData, BadRequest, OutOfSpace, RunError
from regraft.identity import digest_json


def cache_home() -> Path:
    """Return the folder for everything that can be recomputed: `REGRAFT_CACHE`, or the platform's cache folder.

    Raises:
        BadRequest: no environment variable names it, and the user has no home folder.
    """
    try:
        if chosen := os.environ.get("REGRAFT_CACHE"):
            return Path(chosen).expanduser()
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "regraft" / "cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "regraft"
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))  # XDG specification: ignore empty and relative paths
        return (base if base.is_absolute() else Path.home() / ".cache") / "regraft"
    except RuntimeError as error:  # pathlib raises this if there is no home folder
        raise BadRequest(
            f"The cache folder cannot be located: {error}", fix="set REGRAFT_CACHE to a writable folder."
        ) from error


def keep_in_cache(variable: str, name: str) -> None:
    """Make a package store its own files in our cache, by setting its environment variable `variable` to a folder
    there.

    Does nothing if the user has set the variable, or if our cache folder cannot be created: a package that needs its
    folder during import would then fail.
    """
    if variable not in os.environ:
        with contextlib.suppress(OSError, BadRequest):
            (folder := cache_home() / name).mkdir(parents=True, exist_ok=True)
            os.environ[variable] = str(folder)


def head(path: Path) -> bytes:
    """Return the first 4,096 bytes of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def json_tree(path: Path) -> Any:
    """Return what a JSON file of the user's data holds.

    Raises:
        BadData: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadData(f"{path} is not valid JSON ({error}).", fix="correct the file or create it again.") from error


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears at `path` complete, or not at all.

    The file is written next to the one it replaces, flushed to disk, then renamed over it. Symbolic links are followed.
    Anything other than a regular file, such as /dev/stdout, is written directly.

    Raises:
        OutOfSpace: the disk is full; the partial file is removed.
    """
    if path.is_symlink() and path.is_file():
        path = path.resolve()
    if path.is_dir():  # fail now, not after all the work, when the file is renamed
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    partial, in_place = path.parent / f".{path.name}.{secrets.token_hex(8)}.part", path.exists() and not path.is_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") if in_place else partial.open("xb") as file:
            yield file
            file.flush()
            if not in_place:
                os.fsync(file.fileno())
        if not in_place:
            partial.replace(path)
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(path) from error
        if error.filename in (None, str(partial)):  # the path that the user knows
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Create a folder to write into; it is moved to `path`, complete, when the block ends, and removed if the block
    fails.

    Leftovers of a killed process are removed by the next one that writes the same folder.
    """
    partial = path.absolute().with_name(f".{path.absolute().name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.mkdir()
    try:
        yield partial
        if path.is_dir():  # an empty folder; not every system allows renaming over one
            path.rmdir()
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


FULL = (errno.ENOSPC, errno.EDQUOT)
"""System errors for a full disk and for an exceeded quota."""


def disk_full(path: object) -> OutOfSpace:
    """Return the error for a full disk at `path`."""
    return OutOfSpace(
        f"The disk is full: {path} could not be written.",
        fix="free some space, or set REGRAFT_CACHE (for the cache) or --out (for the run) to another disk.",
    )


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically. Characters that UTF-8 cannot encode (they occur in file names) are escaped as
    in JSON: `\\udce9`."""
    with atomic(path) as file:
        file.write(text.encode(errors="backslashreplace"))


class Lock:
    """An exclusive lock on a file, which the system releases when its process dies for whatever reason."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Acquire the lock without waiting. Return False if another process (or another `Lock`) holds it."""
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
        """Release the lock; does nothing if it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@contextlib.contextmanager
def claimed(begun: Path, what: str, facts: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
    """Claim the folder of a resumable job for this process, within the `with` block.

    `what` is the kind of job, such as `sweep`; `begun` is the file in the folder that records the job's `facts` and
    their digest.

    Raises:
        RunError: the folder contains something else or a job with other facts, or this job and `resume` is not set, or
            another process is using it.
    """
    folder, signature = begun.parent, digest_json(facts)
    if folder.is_file():
        raise RunError(f"{folder} is a file; expected a folder for the {what}.", fix="choose another --out.")
    if begun.is_file():
        there = json.loads(begun.read_text(encoding="utf-8"))
        if there.get("signature") != signature:
            named = f"the {what} {there[what]!r}" if what in there else f"a {what}"
            raise RunError(
                f"{folder} contains {named} with different settings or data.",
                fix="continue with the original command, or choose another --out.",
            )
        if not resume:
            raise RunError(
                f"{folder} already contains this {what}.", fix="add --resume to continue, or choose another --out."
            )
    elif folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty and contains no {what}.", fix="choose another --out.")
    with Lock(folder / ".lock") as held:
        if not held:
            raise RunError(
                f"Another process is using {folder}.", fix="wait until it has finished, or choose another --out."
            )
        if not begun.is_file():
            write_json(begun, {"signature": signature, **facts})
        try:
            yield
        finally:
            (folder / ".lock").unlink(missing_ok=True)


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
    """Return a clause that explains why the system cannot read a file."""
    if path.is_symlink() and not path.exists():
        return "it is a broken link"
    return f"it cannot be read ({getattr(error, 'strerror', None) or error or 'it does not fit into memory'})"


def shortened(reason: str, limit: int = 120) -> bytes:
    """Return a reason as at most `limit` bytes of UTF-8, cut between characters."""
    return reason.encode(errors="replace")[:limit].decode(errors="ignore").encode()


MAX_HIGH_SHARE = 0.3
"""Maximum share of non-ASCII letters in a text that is decoded as Windows-1252. Our choice: in Western European
languages it is below 0.2, in Russian or Greek close to 1."""


def decoded_text(data: bytes) -> tuple[str, str] | None:
    """Decode text: UTF-8, UTF-16 or UTF-32 if they are certain, otherwise Windows-1252 if that is likely.

    Return the text and the name of its encoding (empty for UTF-8), or None if the encoding cannot be determined.
    """
    candidates = ["utf-8-sig", *(["cp1252"] if b"\0" not in data else [])]
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        candidates = ["utf-32"]
    elif data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        candidates = ["utf-16"]
    elif data[:1].strip(b"\0") and data[1:2] == b"\0":  # UTF-16 without a byte-order mark, as some systems write it
        candidates = ["utf-16-le"]
    for encoding in candidates:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        letters = list(filter(str.isalpha, text)) if encoding == "cp1252" else []
        if encoding != "cp1252" or sum(not one.isascii() for one in letters) <= MAX_HIGH_SHARE * len(letters):
            return text, {"utf-8-sig": "", "cp1252": "Windows-1252"}.get(encoding, encoding.upper())
    return None
