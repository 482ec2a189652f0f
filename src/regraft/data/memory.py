"""What earlier scans saw, remembered by path, size, modification time and inode.

One file per folder, decoder and limit, in the cache; replaced whole. Two runs at once may forget each other's rows,
never spoil them: what is forgotten is decoded again.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from regraft.contracts.example import File, Inline
from regraft.contracts.modality import Modality
from regraft.files import atomic, cache_home, shortened
from regraft.identity import digest_json

IDENTITY = (
    ("key", "<u8", 2),  # digest of the absolute path
    ("size", "<i8"),  # bytes; -1 where there is no such file
    ("mtime_ns", "<i8"),  # nanoseconds
    ("inode", "<u8"),
)
"""What a file is known by; the modality's fingerprint follows in the same row."""
_LAYOUT = 3
"""Rises when `IDENTITY` changes."""
_FRESH_NS = 50_000_000
"""Files changed less than this before they were looked at are not remembered: clocks of file systems are coarse, so
they could change again without showing it. In nanoseconds; our choice."""
_MAX_ROWS = 1_000_000
"""Above this, rows that the current scan did not meet are dropped."""


class ScanMemory:
    """Rows of earlier scans, in `folder` (by default in the cache)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_home() / "scan"

    def recall(
        self, modality: Modality, root: Path, limit: int, looked: Shaped[np.ndarray, " n"]
    ) -> tuple[Shaped[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """`looked` with everything filled that is remembered, and which rows those are."""
        rows, known = looked.copy(), self._load(self._path(modality, root, limit), modality)
        if not len(known):
            return rows, np.zeros(len(rows), dtype=bool)
        at = np.minimum(np.searchsorted(known["key"][:, 0], looked["key"][:, 0]), len(known) - 1)
        found = known[at]
        same = (found["key"] == looked["key"]).all(axis=1)
        for name in ("size", "mtime_ns", "inode"):
            same &= found[name] == looked[name]
        if found["reader"].any():
            same &= (found["reader"] == 0) | (found["reader"] == modality.reader_number())
        rows[same] = found[same]
        return rows, same

    def keep(self, modality: Modality, root: Path, limit: int, rows: Shaped[np.ndarray, " n"]) -> None:
        """Remember these rows beside those that are there already.

        Raises:
            OSError, OutOfSpace: the cache cannot be written.
        """
        path = self._path(modality, root, limit)
        rows = rows[(rows["size"] >= 0) & (rows["mtime_ns"] < time.time_ns() - _FRESH_NS)]
        if not len(rows):
            return
        merged = np.concatenate([rows, self._load(path, modality)])
        if len(merged) > max(_MAX_ROWS, len(rows)):
            merged = rows
        _, first = np.unique(merged["key"][:, 0], return_index=True)
        with atomic(path) as file:
            np.lib.format.write_array(file, merged[first], allow_pickle=False)

    def recall_array(self, name: str) -> Shaped[np.ndarray, "..."] | None:
        """The array that was kept under this name; None when there is none."""
        return _loaded(self.folder / f"{name}.npy")

    def keep_array(self, name: str, array: Shaped[np.ndarray, "..."]) -> None:
        """Keep an array under a name that says what it was computed from.

        Raises:
            OSError, OutOfSpace: the cache cannot be written.
        """
        with atomic(self.folder / f"{name}.npy") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)

    def _path(self, modality: Modality, root: Path, limit: int) -> Path:
        return (
            self.folder
            / f"{digest_json([_LAYOUT, modality.name, modality.layout, modality.reader(), str(root), limit])}.npy"
        )

    def _load(self, path: Path, modality: Modality) -> Shaped[np.ndarray, " m"]:
        rows, wanted = _loaded(path), row_of(modality)
        return rows if rows is not None and rows.dtype == wanted and rows.ndim == 1 else np.zeros(0, dtype=wanted)


def size_bytes() -> int:
    """What remembered scans take on the disk, in bytes."""
    return sum(path.stat().st_size for path in (cache_home() / "scan").glob("*.npy"))


def clear() -> None:
    """Forget every scan; the next one decodes every file again."""
    for path in (cache_home() / "scan").glob("*.npy"):
        path.unlink(missing_ok=True)


def row_of(modality: Modality) -> np.dtype[np.void]:
    """An example in the memory: what its file is known by, and its fingerprint."""
    return np.dtype([*IDENTITY, *modality.row.descr])


def _loaded(path: Path) -> Shaped[np.ndarray, "..."] | None:
    try:
        with path.open("rb") as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array


def look(contents: Sequence[File | Inline], modality: Modality) -> Shaped[np.ndarray, " n"]:
    """Rows with what the system says of the files; size -1 and `error` for those it cannot find. Content that lies in
    no file has a time of now, so it is never remembered."""
    rows = np.zeros(len(contents), dtype=row_of(modality))
    keys, found, errors = [], [], {}
    for at, content in enumerate(contents):
        name = os.fspath(content.path) if isinstance(content, File) else ""
        keys.append(hashlib.blake2b(os.fsencode(name), digest_size=16).digest())
        if not name:
            found.append((0, time.time_ns(), at))
            continue
        try:
            stat = os.stat(name)  # noqa: PTH116 - a third of the time
            found.append((stat.st_size, stat.st_mtime_ns, stat.st_ino))
        except OSError as error:
            found.append((-1, 0, 0))
            errors[at] = shortened(f"it cannot be read ({error.strerror or error})")
    rows["key"] = np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2)
    for name, column in zip(("size", "mtime_ns"), np.array(found, dtype=object).reshape(-1, 3).T[:2], strict=True):
        rows[name] = column.astype(np.int64)
    rows["inode"] = np.array([inode for _, _, inode in found], dtype=np.uint64)
    for at, reason in errors.items():
        rows["error"][at] = reason
    return rows
