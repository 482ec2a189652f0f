"""Scan the examples: read each once, compute the modality's fingerprint, and find damaged files.

Shapes: n examples. A second scan of unchanged files reads only their names, sizes and times. Results are cached by
path, size, modification time and inode: one file per folder, decoder and limit, replaced atomically. Two concurrent
runs may lose each other's rows but never corrupt them.
"""

import hashlib
import io
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from regraft.contracts.example import Contents, File, Inline
from regraft.contracts.modality import Modality
from regraft.data.dataset import Dataset
from regraft.errors import DamagedData, OutOfSpace
from regraft.files import atomic, cache_home, shortened, unreadable
from regraft.identity import digest_json
from regraft.values import Event, Notice, Progress
from regraft.words import counted, named

_TELL_S = 0.5
"""Interval between progress events, in seconds."""
_SAVE_S = 30.0
"""Interval in seconds between saves of the scanned rows, so that an interrupted scan resumes near where it stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An example left out because it cannot be read."""

    index: int
    """Its index in the data set."""
    id: str
    """Its id."""
    row: int | None
    """Its row in the table, if it came from one."""
    reason: str
    """Reason, as a clause."""

    def __str__(self) -> str:
        return f"{self.id}{'' if self.row is None else f', row {self.row}'} ({self.reason})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Scanned:
    """Result of a scan; the last value it yields."""

    dataset: Dataset
    """The data set, with the digest of every file's bytes in `contents`."""
    rows: Shaped[np.ndarray, " n"]
    """File identities and fingerprints: one record per example."""
    quarantined: tuple[Quarantined, ...]
    """The damaged files, which belong to no split."""
    notes: tuple[Notice, ...] = ()
    """Notices about groups found in the contents."""
    memory: "ScanMemory | None" = None
    """Cache of fingerprints, also used for results derived from them; None for no cache."""

    @cached_property
    def usable(self) -> Bool[np.ndarray, " n"]:
        """Whether each example could be read."""
        return np.array([not error for error in self.rows["error"].tolist()], dtype=bool)

    @cached_property
    def decoded(self) -> tuple[str, ...]:
        """Digest of the decoded content, equal for two examples with the same network input; empty for damaged ones."""
        return tuple(
            digest if good else ""
            for digest, good in zip(_hex(self.rows["decoded"]), self.usable.tolist(), strict=True)
        )

    @property
    def modality(self) -> Modality:
        """The modality that read the examples."""
        return self.dataset.reads

    @property
    def reader(self) -> str:
        """Name and version of the reader of these examples."""
        return self.modality.reader(optional=bool(self.rows["reader"].any()))

    @property
    def content(self) -> tuple[str, ...]:
        """Digest of every example's bytes, as computed by `identity.digest_file`; empty if it cannot be read."""
        return self.dataset.contents


def scan(
    dataset: Dataset,
    memory: "ScanMemory | None" = None,
    *,
    max_damaged_share: float = 0.05,
    rehash: bool = False,
    workers: int = 2,
    limit: int = 0,
) -> Iterator[Event | Scanned]:
    """Read every example that `memory` lacks (with `rehash`, all of them); yield progress, and finally a `Scanned`.

    Closing the iterator stops after the files in progress; what was read until then is cached.

    Raises:
        DamagedData: more than `max_damaged_share` of the files cannot be decoded.
    """
    modality = dataset.reads
    memory, limit = memory or ScanMemory(), limit or modality.limit
    contents = [example.contents for example in dataset.examples]
    root = dataset.root if dataset.root.is_dir() else dataset.root.parent
    rows = look([example.content for example in dataset.examples], modality)
    known = np.zeros(len(rows), dtype=bool)
    if not rehash:
        rows, known = memory.recall(modality, root, limit, rows)
    todo, done = np.flatnonzero(~known & (rows["size"] >= 0)).tolist(), list[int]()

    def remember() -> str:
        """Cache what was read; return the reason if that fails, since an unwritable cache only costs time."""
        try:
            memory.keep(modality, root, limit, rows[done])
        except (OSError, OutOfSpace) as error:
            return f"The results of the scan could not be cached: {getattr(error, 'message', error)}"
        return ""

    if todo:
        trouble, start = "", time.monotonic()
        told = saved = start
        yield Progress(phase="scan", done=0, total=len(todo))
        try:
            for at, seen in _measured(modality, contents, todo, limit, workers):
                for name in modality.row.names or ():
                    rows[name][at] = seen[name]
                done.append(at)
                now = time.monotonic()
                if now - told >= _TELL_S or len(done) == len(todo):
                    told, left = now, (now - start) / len(done) * (len(todo) - len(done))
                    yield Progress(
                        phase="scan", done=len(done), total=len(todo), seconds=now - start, seconds_left=left
                    )
                if now - saved >= _SAVE_S:
                    saved = now
                    remember()
        finally:
            trouble = remember()
        if trouble:
            yield Notice(text=trouble, topic="data")
    scanned = replace(collected(dataset, rows), memory=memory)
    yield from scanned.notes
    if scanned.quarantined:
        yield _notice(scanned, max_damaged_share)
    yield scanned


def _measured(
    modality: Modality, contents: Sequence[Contents], todo: list[int], limit: int, workers: int
) -> Iterator[tuple[int, Shaped[np.ndarray, ""]]]:
    """Yield indices and measurements in the order of `todo`, with a bounded number of files in progress."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="regraft-scan")
    waiting: deque[tuple[int, Future[Shaped[np.ndarray, ""]]]] = deque()
    try:
        for at in todo:
            waiting.append((at, pool.submit(modality.fingerprint, contents[at], limit)))
            if len(waiting) > 4 * workers:
                place, future = waiting.popleft()
                yield place, future.result()
        for place, future in waiting:
            yield place, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def collected(dataset: Dataset, rows: Shaped[np.ndarray, " n"]) -> Scanned:
    """Return what is known of examples from their fingerprints, one per example in `rows`."""
    read = [any(digest) for digest in rows["content"].tolist()]
    contents = tuple(digest if good else "" for digest, good in zip(_hex(rows["content"]), read, strict=True))
    errors = rows["error"].tolist()
    damaged = tuple(
        Quarantined(index=at, id=example.id, row=example.row, reason=errors[at].decode())
        for at, example in enumerate(dataset.examples)
        if errors[at]
    )
    examples, notes = dataset.reads.grouped(dataset.examples, rows)
    found = replace(dataset, examples=tuple(examples), contents=contents, notes=(*dataset.notes, *notes))
    return Scanned(dataset=found, rows=rows, quarantined=damaged, notes=tuple(notes))


def _notice(scanned: Scanned, max_damaged_share: float) -> Notice:
    damaged, total = scanned.quarantined, len(scanned.rows)
    if len(damaged) > max_damaged_share * total:
        raise DamagedData(
            f"{len(damaged):,} of {counted(total, 'file')} cannot be decoded ({len(damaged) / total:.1%}; at most "
            f"{max_damaged_share:.1%} allowed): {named(damaged)}.",
            fix="repair or remove these files, or continue without them: --set source.max_damaged_share=SHARE.",
        )
    return Notice(
        text=f"{counted(len(damaged), 'unreadable file')} of {total:,} left out (in no split): {named(damaged, 10)}.",
        topic="data",
    )


def _hex(digests: UInt8[np.ndarray, "n b"]) -> list[str]:
    text, step = digests.tobytes().hex(), 2 * digests.shape[1]
    return [text[at : at + step] for at in range(0, len(text), step)]


IDENTITY = (
    ("key", "<u8", 2),  # digest of the absolute path
    ("size", "<i8"),  # bytes; -1 where there is no such file
    ("mtime_ns", "<i8"),  # nanoseconds
    ("inode", "<u8"),
)
"""Fields that identify a file; the modality's fingerprint follows in the same row."""
_LAYOUT = 3
"""Version of the layout; increased when `IDENTITY` changes."""
_FRESH_NS = 50_000_000
"""Files modified less than this before the scan are not cached: file-system clocks are coarse, so such a file could
change again with the same time. In nanoseconds; our choice."""
_MAX_ROWS = 1_000_000
"""Maximum number of cached rows; above it, rows not met by the current scan are dropped."""


class ScanMemory:
    """Cache of scanned rows, in `folder` (by default in the user's cache)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_home() / "scan"

    def recall(
        self, modality: Modality, root: Path, limit: int, looked: Shaped[np.ndarray, " n"]
    ) -> tuple[Shaped[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """Return `looked` with all cached fields filled in, and which rows were cached."""
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
        """Add these rows to the cache.

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
        _keep(path, merged[first])

    def recall_array(self, name: str) -> Shaped[np.ndarray, "..."] | None:
        """Return the array cached under this name; None if there is none."""
        return _loaded(self.folder / f"{name}.npy")

    def keep_array(self, name: str, array: Shaped[np.ndarray, "..."]) -> None:
        """Cache an array under a name that identifies what it was computed from.

        Raises:
            OSError, OutOfSpace: the cache cannot be written.
        """
        _keep(self.folder / f"{name}.npy", array)

    def _path(self, modality: Modality, root: Path, limit: int) -> Path:
        return (
            self.folder
            / f"{digest_json([_LAYOUT, modality.name, modality.layout, modality.reader(), str(root), limit])}.npy"
        )

    def _load(self, path: Path, modality: Modality) -> Shaped[np.ndarray, " m"]:
        rows, wanted = _loaded(path), row_of(modality)
        return rows if rows is not None and rows.dtype == wanted and rows.ndim == 1 else np.zeros(0, dtype=wanted)


def size_bytes() -> int:
    """Return the size of the cached scans, in bytes."""
    return sum(path.stat().st_size for path in (cache_home() / "scan").glob("*.npy"))


def clear() -> None:
    """Delete all cached scans; the next scan decodes every file again."""
    for path in (cache_home() / "scan").glob("*.npy"):
        path.unlink(missing_ok=True)


def row_of(modality: Modality) -> np.dtype[np.void]:
    """Return the dtype of a cached row: file identity and fingerprint."""
    return np.dtype([*IDENTITY, *modality.row.descr])


def _keep(path: Path, array: Shaped[np.ndarray, "..."]) -> None:
    buffer = io.BytesIO()  # writing straight to a file, numpy does not distinguish a full disk from other errors
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    with atomic(path) as file:
        file.write(buffer.getbuffer())


def _loaded(path: Path) -> Shaped[np.ndarray, "..."] | None:
    try:
        with path.open("rb") as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array


def look(contents: Sequence[File | Inline], modality: Modality) -> Shaped[np.ndarray, " n"]:
    """Return rows with the file system's metadata; size -1 and `error` for files not found. Inline content gets the
    current time, so it is never cached."""
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
            errors[at] = shortened(unreadable(Path(name), error))
    rows["key"] = np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2)
    for name, column in zip(("size", "mtime_ns"), np.array(found, dtype=object).reshape(-1, 3).T[:2], strict=True):
        rows[name] = column.astype(np.int64)
    rows["inode"] = np.array([inode for _, _, inode in found], dtype=np.uint64)
    for at, reason in errors.items():
        rows["error"][at] = reason
    return rows
