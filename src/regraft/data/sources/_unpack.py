"""Archives unpacked into the cache, once: a folder of plain files, which is what everything else reads.

Reading in place would save the disk, but a compressed tar has to be read from its beginning for every file, and views
are decoded many times. An unpacked copy is named by the archive's path, size, modification time and inode, as scans
name files; the files inside keep their bytes, so content digests are those of the folder that was packed.

What an archive holds is not trusted. Members of a tar pass Python's `data` filter (PEP 706): nothing lands outside the
folder, no link leads out of it, there are no devices; what the filter refuses, and absolute paths, stop the unpacking.
So does an archive that grows without measure. It is read to its end, so that the checksum there is compared.
"""

import bz2
import errno
import gzip
import lzma
import secrets
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regraft.errors import BadData, OutOfSpace
from regraft.files import Lock, cache_home
from regraft.identity import digest_json
from regraft.values import Progress

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
"""What archives are called, in any case; how they are packed is decided by their first bytes."""

MOST_TIMES = 100
"""How many times its own size an archive may unpack to; tars of plain bitmaps reach 20. Our choice."""
LEAST_LIMIT = 1 << 30
"""Bytes that every archive may unpack to."""
EVERY_S = 0.5
"""Progress is told at most once in so many seconds."""
_MEMBER = 4096
"""Bytes that a member counts at least: what an empty file takes on a disk."""

_OPENERS: Mapping[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_FAULTS = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError, ValueError)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_used: dict[Path, Lock] = {}
"""Held while this process lives: copies in use, which clearing leaves alone."""


def is_archive(path: Path) -> bool:
    """Whether `path` is a file that is called like an archive."""
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def unpacked(archive: Path) -> Path:
    """The folder in the cache that holds what is in `archive`; unpacked now, in silence, where it was not yet.

    Raises:
        BadData: it cannot be read, is damaged, holds what may not be unpacked, or grows without measure.
        OutOfSpace: the disk is full.
    """
    work = unpacking(archive)
    while True:
        try:
            next(work)
        except StopIteration as stop:
            folder: Path = stop.value
            return folder


def unpacking(archive: Path) -> Generator[Progress, None, Path]:
    """Unpack `archive` where it was not yet, telling how many of its bytes are read; returns the folder.

    Raises:
        BadData: it cannot be read, is damaged, holds what may not be unpacked, or grows without measure.
        OutOfSpace: the disk is full.
    """
    try:
        seen = archive.stat()
    except OSError as error:
        raise BadData(f"{archive} cannot be read ({error.strerror}).", fix="allow reading it.") from error
    name = digest_json([1, str(archive), seen.st_size, seen.st_mtime_ns, seen.st_ino])
    folder = _home() / name
    with _alone(folder):
        _use(folder)
        if not folder.is_dir():
            partial = folder.with_name(f".{name}.part")
            shutil.rmtree(partial, ignore_errors=True)  # a killed process left it; we hold the lock
            try:
                partial.mkdir(parents=True)
                yield from _unpack(archive, partial)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def clear_unpacked() -> tuple[int, int]:
    """Delete every copy that no living process uses; the bytes that were freed, and the number of those kept."""
    freed, kept = 0, 0
    for folder in sorted({path.with_suffix("") for path in _home().glob("*.lock")}):
        with _alone(folder):
            if any(map(_held, _users(folder))):
                kept += 1
                continue
            freed += sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
            for leftover in (folder, folder.with_name(f".{folder.name}.part")):
                shutil.rmtree(leftover, ignore_errors=True)
            for user in _users(folder):
                user.unlink(missing_ok=True)
    return freed, kept


def _home() -> Path:
    return cache_home() / "archives"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process unpacks or deletes a copy at a time; another waits for it."""
    lock = Lock(folder.with_suffix(".lock"))
    while not lock.acquire():
        time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()


def _use(folder: Path) -> None:
    """Say that this process uses the copy; what dead ones said goes."""
    for user in _users(folder):
        if not _held(user):
            user.unlink(missing_ok=True)
    if folder not in _used or not _used[folder].path.exists():
        _used[folder] = Lock(folder.with_suffix(f".{secrets.token_hex(8)}.use"))
        _used[folder].acquire()


def _users(folder: Path) -> list[Path]:
    return sorted(folder.parent.glob(f"{folder.name}.*.use"))


def _held(user: Path) -> bool:
    with Lock(user) as ours:
        return not ours


def _unpack(archive: Path, folder: Path) -> Iterator[Progress]:
    size = archive.stat().st_size
    budget = _Budget(archive, max(LEAST_LIMIT, MOST_TIMES * size), shutil.disk_usage(folder).free)
    try:
        with archive.open("rb") as file:
            start = file.read(6)
        work = _unzip(archive, folder, budget) if start[:2] == b"PK" else _untar(archive, folder, budget, start)
        yield from _told(archive.name, work, size)
    except tarfile.FilterError as error:
        raise _refused(archive, error.tarinfo.name, str(error)) from error
    except _FAULTS as error:
        raise _damaged(archive, str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno in _FULL:
            raise budget.full() from error
        if error.errno is None:  # gzip and bz2 say so that their data are damaged
            raise _damaged(archive, str(error)) from error
        raise


def _told(name: str, work: Iterator[int], total: int) -> Iterator[Progress]:
    """`work` gives how many bytes of the archive are read; now and then they are told, at least at the end."""
    began = told = time.monotonic()
    for done in work:
        if (now := time.monotonic()) - told >= EVERY_S:
            told = now
            left = (now - began) * (total - done) / done if done else None
            yield Progress(phase=f"unpacking {name}", done=done, total=total, seconds=now - began, seconds_left=left)
    yield Progress(phase=f"unpacking {name}", done=total, total=total, seconds=time.monotonic() - began)


class _Budget:
    """What an archive may still unpack to."""

    def __init__(self, archive: Path, limit: int, free: int) -> None:
        self.archive, self.limit, self.free, self.taken = archive, limit, free, 0

    def take(self, size: int) -> None:
        """Count a member of so many bytes, before it is written."""
        self.taken += max(size, _MEMBER)
        if self.taken > self.limit:
            raise BadData(
                f"{self.archive} unpacks to more than {self.limit / 1e9:.1f} GB, over {MOST_TIMES} times its own size; "
                "it is refused.",
                fix="unpack it yourself, if you trust it, and give the folder.",
            )
        if self.taken > self.free:
            raise self.full()

    def full(self) -> OutOfSpace:
        """The error that says so."""
        return OutOfSpace(
            f"There is not enough room to unpack {self.archive} into the cache ({self.free / 1e9:.1f} GB are free).",
            fix="free some space, clear the cache with `regraft cache --clear`, or set REGRAFT_CACHE to another disk.",
        )


def _untar(archive: Path, folder: Path, budget: _Budget, start: bytes) -> Iterator[int]:
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    if opener is None:
        _check_end(archive)
    with archive.open("rb") as file, opener(file) if opener else file as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if member.name.startswith("/"):
                    raise _refused(archive, member.name, "its path is absolute")
                budget.take(member.size if member.isreg() else 0)
                tar.extract(member, folder, filter="data")
                yield file.tell()
        while stream.read(1 << 20):  # the checksum comes after all members
            pass


def _check_end(archive: Path) -> None:
    """A tar closes with blocks of zeros; one that is not compressed has no other sign of being whole."""
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - 512))
        end = file.read()
    if len(end) < 512 or end.strip(b"\0"):
        raise tarfile.ReadError("it is no tar, or is cut off: the zeros that close one are missing")


def _unzip(archive: Path, folder: Path, budget: _Budget) -> Iterator[int]:
    done = 0
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            if member.filename.startswith("/") or ".." in member.filename.split("/"):
                raise _refused(archive, member.filename, "its path leads out of the archive")
            budget.take(member.file_size)
            packed.extract(member, folder)
            yield (done := done + member.compress_size)


def _refused(archive: Path, member: str, why: str) -> BadData:
    return BadData(
        f"{archive} holds {member!r}, which may not be unpacked: {why}.",
        fix="pack the folder anew, or unpack it yourself, if you trust it, and give the folder.",
    )


def _damaged(archive: Path, why: str) -> BadData:
    return BadData(
        f"{archive} is damaged, or is no archive ({why.rstrip('.')}).",
        fix="copy or fetch it again: a tar (also .gz, .bz2, .xz) or a zip is expected.",
    )
