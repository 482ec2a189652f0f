"""Data that are dropped on the page: an archive or table as one file, or a folder file by file. Nothing is unpacked
here; archives are unpacked by the verbs, which trust nothing in them.

What is not whole yet is hidden, `data/.NAME`, and gets its name at the end.
"""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from regraft.data.archives import ENDINGS
from regraft.doors.http.settings import Refusal
from regraft.doors.ui.place import Place, plain
from regraft.files import atomic

MAX_DEPTH, MAX_NAME = 12, 200
"""Folders in folders, and bytes of a name, at most."""
KEEP_FREE = 1 << 30
"""Bytes of the disk that uploads leave free."""
ONE_FILE = (*ENDINGS, ".csv", ".tsv", ".parquet", ".jsonl")
"""How the name of a single file ends that is a data set by itself."""


def begin(place: Place, wanted: str) -> str:
    """A hidden folder for data like `wanted`; the name that it will have."""
    name = place.free("data", wanted)
    (place.root / "data" / f".{name}").mkdir(parents=True)
    return name


async def receive(place: Place, name: str, inside: str, chunks: AsyncIterator[bytes]) -> None:
    """Write one file of data that were begun.

    Raises:
        Refusal: nothing was begun under that name, the path is none that may be written, or the disk is nearly full.
    """
    folder = place.root / "data" / f".{name}"
    if not plain(name) or not folder.is_dir():
        raise Refusal(404, "No upload of that name was begun.", fix="drop the files again.")
    target, written = folder / checked(inside), 0
    free = shutil.disk_usage(folder).free - KEEP_FREE
    with atomic(target) as file:
        async for chunk in chunks:
            written += len(chunk)
            if written > free:
                raise Refusal(413, "The disk is nearly full.", fix="free some space; 1 GB is left free.")
            file.write(chunk)


def finish(place: Place, name: str) -> str:
    """Let uploaded data appear; what they are called then. A single archive or table stands by itself.

    Raises:
        Refusal: nothing was begun under that name, or nothing came.
    """
    folder = place.root / "data" / f".{name}"
    files = [one for one in folder.rglob("*") if one.is_file()] if plain(name) else []
    if not files:
        shutil.rmtree(folder, ignore_errors=True)
        raise Refusal(400, "No files came.", fix="drop a folder, images, an archive or a table.")
    if len(files) == 1 and files[0].parent == folder and files[0].name.lower().endswith(ONE_FILE):
        name = place.free("data", files[0].name)
        files[0].rename(place.root / "data" / name)
        shutil.rmtree(folder)
    else:
        folder.rename(place.root / "data" / name)
    return name


def checked(inside: str) -> Path:
    """A path that a browser gave, as it may be written under a folder.

    Raises:
        Refusal: it leads elsewhere, is hidden, or is longer than file systems allow.
    """
    parts = inside.split("/")
    if len(parts) > MAX_DEPTH or not all(plain(one) and len(one.encode()) <= MAX_NAME for one in parts):
        raise Refusal(400, f"A file cannot be called {inside[-80:]!r} here.", fix="rename it, or leave it out.")
    return Path(*parts)
