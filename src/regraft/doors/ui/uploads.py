"""Uploads: an archive or table as one file, or a folder file by file. Archives are not unpacked here; the commands
unpack them, and treat their content as untrusted.

Incomplete uploads are hidden, `data/.NAME`, and renamed at the end.
"""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from regraft.data.archives import ENDINGS
from regraft.data.sources.table import SUFFIXES
from regraft.doors.http.settings import Refusal
from regraft.doors.ui.place import Place, plain
from regraft.files import atomic

MAX_DEPTH, MAX_NAME = 12, 200
"""Maximum depth of folders; maximum length of a name in bytes."""
KEEP_FREE = 1 << 30
"""Bytes of disk space that uploads leave free."""
ONE_FILE = (*ENDINGS, *SUFFIXES)
"""Extensions of single files that are complete data sets."""


def begin(place: Place, wanted: str) -> str:
    """Create a hidden folder for data named like `wanted`; return the name that the data will have."""
    name = place.free("data", wanted)
    (place.root / "data" / f".{name}").mkdir(parents=True)
    return name


async def receive(place: Place, name: str, inside: str, chunks: AsyncIterator[bytes]) -> None:
    """Write one file of an upload.

    Raises:
        Refusal: no upload of that name was started, the path is not allowed, or the disk is nearly full.
    """
    folder = place.root / "data" / f".{name}"
    if not plain(name) or not folder.is_dir():
        raise Refusal(404, "There is no upload with that name.", fix="upload the files again.")
    target, written = folder / checked(inside), 0
    free = shutil.disk_usage(folder).free - KEEP_FREE
    with atomic(target) as file:
        async for chunk in chunks:
            written += len(chunk)
            if written > free:
                raise Refusal(413, "The disk is nearly full.", fix="free some space; 1 GB must stay free.")
            file.write(chunk)


def finish(place: Place, name: str) -> str:
    """Make uploaded data visible; return their name. A single archive or table is moved out of its folder.

    Raises:
        Refusal: no upload of that name was started, or it has no files.
    """
    folder = place.root / "data" / f".{name}"
    files = [one for one in folder.rglob("*") if one.is_file()] if plain(name) else []
    if not files:
        shutil.rmtree(folder, ignore_errors=True)
        raise Refusal(400, "No files were received.", fix="drop a folder, images, an archive or a table.")
    if len(files) == 1 and files[0].parent == folder and files[0].name.lower().endswith(ONE_FILE):
        name = place.free("data", files[0].name)
        files[0].rename(place.root / "data" / name)
        shutil.rmtree(folder)
    else:
        folder.rename(place.root / "data" / name)
    return name


def checked(inside: str) -> Path:
    """Convert a path from a browser to a safe relative path.

    Raises:
        Refusal: it leads outside, is hidden, or is longer than file systems allow.
    """
    parts = inside.split("/")
    if len(parts) > MAX_DEPTH or not all(plain(one) and len(one.encode()) <= MAX_NAME for one in parts):
        raise Refusal(400, f"{inside[-80:]!r} is not a valid file name here.", fix="rename it, or leave it out.")
    return Path(*parts)
