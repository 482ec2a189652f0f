"""What disks do: errors of the system turned into the family's, sizes of folders, use marked by touching."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from regraft.errors import OutOfSpace, RegraftError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class StoreNotWritable(RegraftError):
    """The folder of the store cannot be written by this user."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says of a full or refused disk into an error that names `path`.

    Raises:
        OutOfSpace: the disk or the user's share of it is full.
        StoreNotWritable: the folder is read-only, another user's, or no folder at all.
    """
    try:
        yield
    except (OSError, OutOfSpace) as error:
        if isinstance(error, OutOfSpace) or error.errno in _FULL:
            raise OutOfSpace(
                f"The disk is full: the activation store could not write {path}.",
                fix="free some space, clear the store with `regraft cache`, or set REGRAFT_CACHE to another disk.",
            ) from error
        if error.errno in _REFUSED:
            raise StoreNotWritable(
                f"The activation store needs a folder it can write, but {error.filename or path} refused: "
                f"{error.strerror}.",
                fix="set REGRAFT_CACHE to a folder of your own, or ask for write permission on this one.",
            ) from error
        raise


def bytes_under(path: Path) -> int:
    """Bytes of all files in the folder `path`, or of the file `path`; what vanishes meanwhile counts nothing."""
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
    """Delete the partial files that killed writers left anywhere in `folder`; only for when no writer lives."""
    for partial in folder.rglob(".*.part"):
        with contextlib.suppress(OSError):
            partial.unlink()
