"""Unpack archives into the cache, once, as folders of plain files, which all other code reads. Volumes (NIfTI) are
unpacked into slices.

Reading in place would save disk space, but a compressed tar must be read from its beginning for every file, and views
are decoded many times. An unpacked copy is identified by the archive's path, size, modification time and inode, as in
scans; its files are unchanged, so content digests equal those of the original folder.

Archives are not trusted. Members of a tar pass Python's `data` filter (PEP 706): no file or link outside the folder, no
devices; anything the filter refuses, and absolute paths, stop the unpacking. So does an archive that expands
excessively. Archives are read to the end, so that their final checksum is verified.
"""

import errno
import lzma
import secrets
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from regraft.errors import BadData, OutOfSpace
from regraft.files import Lock, cache_home
from regraft.identity import digest_json
from regraft.values import Progress

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
"""Suffixes of archives, in any case; the compression is detected from the first bytes."""
VOLUMES = (".nii", ".nii.gz")
"""Suffixes of volumes, in any case."""
SHOWN = "shown"
"""Folder with the slices of an unpacked volume, as images."""
MAX_GROWTH = 100
"""Maximum ratio of unpacked to packed size; tars of plain bitmaps reach 20. Our choice."""
MIN_LIMIT = 1 << 30
"""Unpacked size allowed for any archive, in bytes."""
_MEMBER = 4096
"""Minimum size counted per member, in bytes: the disk space of an empty file."""
_FAULTS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
)
_used: dict[Path, Lock] = {}
"""Locks held while this process runs: copies in use, which clearing skips."""


def is_archive(path: Path) -> bool:
    """Return whether `path` is a file with the suffix of an archive."""
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def is_volume(path: Path) -> bool:
    """Return whether `path` has the suffix of a volume."""
    return path.name.lower().endswith(VOLUMES)


def unpacked(archive: Path) -> Path:
    """Return the folder in the cache with the contents of `archive`, unpacking it without progress if necessary.

    Raises:
        BadData: the archive cannot be read, is damaged, contains entries that may not be unpacked, or expands
            excessively.
        OutOfSpace: the disk is full.
    """
    work = unpacking(archive)
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def unpacking(archive: Path) -> Generator[Progress, None, Path]:
    """Unpack `archive` unless already unpacked; yields the number of its bytes read, returns the folder.

    Raises:
        BadData: the archive cannot be read, is damaged, contains entries that may not be unpacked, or expands
            excessively.
        OutOfSpace: the disk is full.
    """
    try:
        seen = archive.stat()
    except OSError as error:
        raise BadData(f"{archive} cannot be read ({error.strerror}).", fix="grant read permission.") from error
    name = digest_json([1, str(archive), seen.st_size, seen.st_mtime_ns, seen.st_ino])
    folder = _home() / name
    with _alone(folder):
        if folder not in _used:
            _used[folder] = Lock(folder.with_suffix(f".{secrets.token_hex(8)}.use"))
            _used[folder].acquire()
        if not folder.is_dir():
            partial = _partial(folder)
            shutil.rmtree(partial, ignore_errors=True)  # left by a killed process; we hold the lock
            try:
                partial.mkdir(parents=True)
                yield from _unpack(archive, partial)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def clear_unpacked() -> tuple[int, int]:
    """Delete all copies not in use by a running process; return the number of bytes freed, and of copies kept."""
    freed, kept = 0, 0
    for folder in sorted({path.with_suffix("") for path in _home().glob("*.lock")}):
        with _alone(folder):
            uses = [Lock(path) for path in folder.parent.glob(f"{folder.name}.*.use")]
            free = [use.acquire() for use in uses]
            for use in uses:
                use.release()
            if not all(free):
                kept += 1
                continue
            freed += sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
            for leftover in (folder, _partial(folder)):
                shutil.rmtree(leftover, ignore_errors=True)
            for use in uses:  # left by dead processes
                use.path.unlink(missing_ok=True)
    return freed, kept


def _home() -> Path:
    return cache_home() / "archives"


def _partial(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.part")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Allow only one process at a time to unpack or delete a copy; others wait."""
    lock = Lock(folder.with_suffix(".lock"))
    while not lock.acquire():
        time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()


def _unpack(archive: Path, folder: Path) -> Iterator[Progress]:
    total, free, taken, began = archive.stat().st_size, shutil.disk_usage(folder).free, 0, time.monotonic()
    limit = max(MIN_LIMIT, MAX_GROWTH * total)
    full = OutOfSpace(
        f"Not enough disk space to unpack {archive} into the cache ({free / 1e9:.1f} GB free).",
        fix="free some space, clear the cache with `regraft cache --clear`, or set REGRAFT_CACHE to another disk.",
    )
    try:
        for size, done in _reader(archive)(archive, folder):
            taken += max(size, _MEMBER)
            if taken > limit:
                raise BadData(
                    f"{archive} unpacks to more than {limit / 1e9:.1f} GB, over {MAX_GROWTH} times its own size, "
                    "so it was refused.",
                    fix="if you trust it, unpack it yourself and pass the folder.",
                )
            if taken > free:
                raise full
            yield Progress(phase=f"unpacking {archive.name}", done=done, total=total, seconds=time.monotonic() - began)
    except tarfile.FilterError as error:
        raise _refused(archive, error.tarinfo.name, str(error)) from error
    except _FAULTS as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full from error
        if error.errno in (None, errno.EINVAL):  # how gzip, bz2 and zip report damaged data
            raise _damaged(archive, error) from error
        if error.errno in (
            errno.ENAMETOOLONG,
            errno.EISDIR,
            errno.ENOTDIR,
            errno.EEXIST,
        ):  # invalid file names
            raise _refused(archive, Path(str(error.filename)).name, str(error.strerror)) from error
        raise


def _reader(archive: Path) -> Callable[[Path, Path], Iterator[tuple[int, int]]]:
    """Return what writes an archive's members into a folder: it yields the size of each before it is written, and the
    number of the archive's bytes read."""
    if is_volume(archive):
        from regraft.modalities.image.volumes import sliced

        return sliced
    with archive.open("rb") as file:
        return _unzip if file.read(2) == b"PK" else _untar


def _untar(archive: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Unpack a tar."""
    with archive.open("rb") as file, tarfile.open(fileobj=file) as tar:
        for member in tar:
            if member.name.startswith("/"):  # the filter would make it relative
                raise _refused(archive, member.name, "its path is absolute")
            yield member.size if member.isreg() else 0, file.tell()
            tar.extract(member, folder, filter="data")
        if tar.fileobj is file:  # blocks of zeros are the only sign that an uncompressed tar is complete
            file.seek(-min(512, archive.stat().st_size), 2)
            if len(end := file.read()) < 512 or end.strip(b"\0"):
                raise tarfile.ReadError("it is truncated: the zero blocks that end a tar are missing")
        while tar.fileobj and tar.fileobj.read(1 << 20):  # the checksum follows all members
            pass
        yield 0, archive.stat().st_size


def _unzip(archive: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Unpack a zip."""
    done = 0
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            member.filename = member.filename.replace("\\", "/")  # written by some systems
            if member.filename.startswith("/") or ".." in member.filename.split("/"):
                raise _refused(archive, member.filename, "its path points outside the archive")
            yield member.file_size, (done := done + member.compress_size)
            packed.extract(member, folder)
        yield 0, archive.stat().st_size


def _refused(archive: Path, member: str, why: str) -> BadData:
    return BadData(
        f"{archive} contains {member!r}, which cannot be unpacked safely: {why}.",
        fix="create the archive again, or, if you trust it, unpack it yourself and pass the folder.",
    )


def _damaged(archive: Path, error: Exception) -> BadData:
    why = (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")
    return BadData(
        f"{archive} is damaged or not an archive ({why}).",
        fix="copy or download it again; expected a tar (also .gz, .bz2, .xz) or a zip.",
    )
