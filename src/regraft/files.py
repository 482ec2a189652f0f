"""Files that are never seen half-written, locks that die with their process, and where the cache lives."""

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

from regraft.errors import BadRequest, OutOfSpace, RunError
from regraft.identity import digest_json


def cache_home() -> Path:
    """Folder of everything that can be made again: `REGRAFT_CACHE`, else the platform's cache folder.

    Raises:
        BadRequest: no variable names it, and the user has no home.
    """
    try:
        if chosen := os.environ.get("REGRAFT_CACHE"):
            return Path(chosen).expanduser()
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "regraft" / "cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "regraft"
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))  # the XDG specification: empty and relative ones do not count
        return (base if base.is_absolute() else Path.home() / ".cache") / "regraft"
    except RuntimeError as error:  # how pathlib says that there is no home
        raise BadRequest(
            f"There is no place for the cache: {error}", fix="set REGRAFT_CACHE to a folder that can be written."
        ) from error


def keep_in_cache(variable: str, name: str) -> None:
    """Has a package keep its own files in our cache: `variable` of the environment tells it the folder.

    Nothing changes where the user has set the variable, or where our cache cannot be made: a package that wants its
    folder while it is imported would end there.
    """
    if variable not in os.environ:
        with contextlib.suppress(OSError, BadRequest):
            (folder := cache_home() / name).mkdir(parents=True, exist_ok=True)
            os.environ[variable] = str(folder)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` whole, or not at all.

    Written beside the file it replaces, flushed to the disk, then renamed over it. A link is followed. What is no file,
    such as /dev/stdout, is written as it is.

    Raises:
        OutOfSpace: the disk is full; the partial file is removed.
    """
    if path.is_symlink() and path.is_file():
        path = path.resolve()
    if path.is_dir():  # not only after all the work, when the file is to be put in its place
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
        if error.filename in (None, str(partial)):  # what the user knows
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, that lies at `path`, whole, once the work inside is done; else nothing is left of it.

    What a killed process left is removed by the next that writes the same folder.
    """
    partial = path.absolute().with_name(f".{path.absolute().name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.mkdir()
    try:
        yield partial
        if path.is_dir():  # an empty one; not every system renames over it
            path.rmdir()
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a system says of a full disk, and of a full quota."""


def disk_full(path: object) -> OutOfSpace:
    """The error for a full disk under `path`."""
    return OutOfSpace(
        f"The disk is full: {path} could not be written.",
        fix="free some space, or set REGRAFT_CACHE (for the cache) or --out (for the run) to another disk.",
    )


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically; what UTF-8 cannot hold, from file names, as JSON escapes it: `\\udce9`."""
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


@contextlib.contextmanager
def claimed(begun: Path, what: str, facts: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
    """The folder of resumable work (`what`: `sweep`), for this process alone, inside the `with`.

    `begun` is the file in it that says what was begun: `facts`, and a digest of them.

    Raises:
        RunError: the folder holds something else, or work of other facts, or this work and `resume` is not set, or
            another process works in it.
    """
    folder, signature = begun.parent, digest_json(facts)
    if folder.is_file():
        raise RunError(f"{folder} is a file; a folder for the {what} is expected.", fix="give another --out.")
    if begun.is_file():
        there = json.loads(begun.read_text(encoding="utf-8"))
        if there.get("signature") != signature:
            named = f"the {what} {there[what]!r}" if what in there else f"a {what}"
            raise RunError(
                f"{folder} holds {named} with other settings or data.",
                fix="go on with the command it was started with, or give another --out.",
            )
        if not resume:
            raise RunError(f"{folder} holds this {what} already.", fix="add --resume to go on, or give another --out.")
    elif folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty and holds no {what}.", fix="give another --out.")
    with Lock(folder / ".lock") as held:
        if not held:
            raise RunError(f"Another process works in {folder}.", fix="wait for it, or give another --out.")
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
    """Why the system does not give the bytes of a file, in a clause."""
    if path.is_symlink() and not path.exists():
        return "it is a link that leads nowhere"
    return f"it cannot be read ({getattr(error, 'strerror', None) or error or 'it does not fit into memory'})"


def shortened(reason: str, limit: int = 120) -> bytes:
    """A reason in at most `limit` bytes of UTF-8, cut between characters."""
    return reason.encode(errors="replace")[:limit].decode(errors="ignore").encode()


MAX_HIGH_SHARE = 0.3
"""Largest share of the letters that are outside ASCII in a text that is taken for Windows-1252. Our choice: in Western
European languages it is under 0.2, in Russian or Greek nearly 1."""


def decoded_text(data: bytes) -> tuple[str, str] | None:
    """Text in its encoding: UTF-8, UTF-16 and UTF-32 for certain; failing these Windows-1252 where that is likely.

    Beside the text comes the encoding's name where it is not UTF-8, else nothing. None: it cannot be told.
    """
    candidates = ["utf-8-sig", *(["cp1252"] if b"\0" not in data else [])]
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        candidates = ["utf-32"]
    elif data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        candidates = ["utf-16"]
    elif data[:1].strip(b"\0") and data[1:2] == b"\0":  # as some systems write it, without a mark
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
