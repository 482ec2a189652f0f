"""Fetching a published file into the cache: once, whole, and with the right digest. Imports no torch.

    <cache>/downloads/NAME                  the file; whoever puts it there by hand has fetched it
    <cache>/downloads/NAME.verified.json    its SHA-256, and the size and time of the file that was digested
    <cache>/downloads/NAME.part             what has arrived so far; NAME.part.json says of which file, from where
    <cache>/downloads/NAME.lock             locked by the process that fetches it

`REGRAFT_MIRROR` is for sites without the internet: a folder, or the start of an address, where the files lie under
their own names. It replaces the published place altogether: which of the two can be reached never chooses. Proxies
are those of the environment (`https_proxy`, `no_proxy`), as urllib reads them.
"""

import contextlib
import io
import os
import re
import shutil
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from regraft.backbones._wanted import (
    MIB,
    OTHER_DISK,
    Wanted,
    digest_of,
    disk_of,
    mib,
    reason_of,
    sha256_of,
    shown,
    wanted,
)
from regraft.errors import OutOfSpace, WeightsError
from regraft.files import Lock, write_json
from regraft.values import Event, Notice, Plan, Progress

_PIECE = 1 << 18  # bytes read at a time, at most
_TELL_EVERY_S = 0.2
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that may differ a moment later


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a download bears with a server, and with another process. Our choices."""

    timeout_s: float = 15.0
    """Seconds without an answer, or without a byte, after which a connection is given up."""
    attempts: int = 3
    """Connections that may fail in a row; one that brought at least a mebibyte starts the count again."""
    pause_s: float = 1.0
    """Seconds before the second attempt, doubled before each further one; and between looks at another's lock."""
    stall_s: float = 120.0
    """Seconds without a byte after which another process is waited for no longer."""


PATIENCE = Patience()
Fetching = Generator[Event, None, Path]


def fetch(
    url: str, sha256: str, *, size_mb: float, below: str = "", token: str = "", patience: Patience = PATIENCE
) -> Fetching:
    """The file published at `url`, from the cache or else downloaded into it; yields events, returns its path.

    `sha256` is the digest in hex or its first digits, eight at least; `size_mb` is about how large the file is, in
    MiB. `below` is a folder under that of all downloads; `token` gives the right to the file, and is shown to the host
    of `url` alone. A connection that breaks is taken up where it broke, in this call or a later one.

    Raises:
        WeightsMissing: out of reach; the message says which file is needed, and in which folder to put it.
        WeightsError: what arrived has another digest (it is removed), or `url` or `sha256` is not usable.
        OutOfSpace: the disk does not hold it.
        BadRequest: `REGRAFT_MIRROR` is neither a folder nor an address.
    """
    file = wanted(url, sha256, size_mb, below=below, token=token)
    if file.is_there():
        return file.path
    with disk_of(file):
        file.folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(file.beside("lock"))
    try:
        yield from _wait_for(lock, file, patience)
        if not file.is_there():
            yield from _download(file, patience)
    finally:
        lock.release()
    return file.path


def _wait_for(lock: Lock, file: Wanted, patience: Patience) -> Generator[Event, None, None]:
    """Take the lock; while another process has it, tell how far that one has come."""
    arrived, since = -1, time.monotonic()
    while True:
        with disk_of(file):
            if lock.acquire():
                return
            now = file.arrived()
        if arrived < 0:
            yield _notice(f"Another process is fetching {file.name}; waiting for it.")
        yield Progress(phase="download", done=now, total=max(now, file.num_bytes))
        if now != arrived:
            arrived, since = now, time.monotonic()
        elif time.monotonic() - since >= patience.stall_s:
            why = f"Another process has held {lock.path} for {patience.stall_s:g} s without receiving anything."
            raise file.missing(why, also=", or end that process and run again")
        time.sleep(patience.pause_s)


def _download(file: Wanted, patience: Patience) -> Generator[Event, None, None]:
    """Bring the file into its place, over as many connections as it takes. The lock is held."""
    with disk_of(file):
        needed = max(0, file.num_bytes - file.kept()[0])
        free = shutil.disk_usage(file.folder).free
        replaced = digest_of(file.path)
    yield Plan(phase="download", examples=0, bytes_needed=needed, bytes_free=free, seconds=None)
    if needed > free:
        full = f"{file.name} needs {mib(needed)} and the disk of {file.folder} has {mib(free)} free."
        raise OutOfSpace(full, fix=OTHER_DISK)
    if replaced is not None:
        yield _notice(f"{file.path} will be replaced: expected SHA-256 {shown(file.sha256)}, found {replaced}.")
    yield _notice(f"Fetching {file.name} ({mib(file.num_bytes)}) from {file.address}.")
    began, failures, furthest, restarted = time.monotonic(), 0, 0, False
    while True:
        try:
            resumed = yield from _receive(file, patience, began)
        except _Cut as cut:
            arrived = file.kept()[0]
            failures = 1 if arrived >= furthest + MIB else failures + 1
            furthest = max(furthest, arrived)
            if failures >= patience.attempts:
                raise file.missing(f"{cut} Tried {failures} times in a row.") from cut
            yield _notice(f"{cut} Trying again in {patience.pause_s * 2 ** (failures - 1):g} s.")
            time.sleep(patience.pause_s * 2 ** (failures - 1))
            continue
        with disk_of(file):
            if (found := sha256_of(file.part)).startswith(file.sha256):
                file.part.replace(file.path)
                file.beside("part.json").unlink(missing_ok=True)
                digest_of(file.path)
                return
            wrong = _wrong(file, found)
            file.part.unlink()
        if restarted or not resumed:
            raise wrong
        restarted = True
        yield _notice(f"The continued {file.name} has a wrong digest; starting from its first byte.")


def _receive(file: Wanted, patience: Patience, began: float) -> Generator[Event, None, bool]:
    """One connection, from the first byte that is not there yet to the last; returns whether there were any before.
    `_Cut` is raised where it breaks before the end; what has arrived by then is kept."""
    from http.client import HTTPException

    with contextlib.ExitStack() as held:
        held.enter_context(disk_of(file))
        answer = _ask(file, *file.kept(), patience.timeout_s)
        held.enter_context(answer.stream)
        part = held.enter_context(file.part.open("ab" if answer.start else "wb"))
        if not answer.start:
            memo = {"sha256": file.sha256, "address": str(file.address), "validator": answer.validator}
            write_json(file.beside("part.json"), memo)
        done, connected, told, piece = answer.start, time.monotonic(), 0.0, b"?"
        while piece:
            try:
                piece = answer.stream.read1(_PIECE)
            except (OSError, HTTPException) as error:
                raise _Cut(f"The connection to {file.address} broke: {reason_of(error)}.") from error
            part.write(piece)
            done += len(piece)
            now = time.monotonic()
            if not piece or now - told >= _TELL_EVERY_S:
                told, total = now, answer.total or max(done, file.num_bytes if piece else 0)
                left = (total - done) * (now - connected) / (done - answer.start) if done > answer.start else None
                yield Progress(phase="download", done=done, total=total, seconds=now - began, seconds_left=left)
        part.flush()
        os.fsync(part.fileno())
    if answer.total is not None and done < answer.total:
        raise _Cut(f"The connection to {file.address} was cut after {mib(done)} of {mib(answer.total)}.")
    return answer.start > 0


class _Cut(Exception):  # never leaves this module
    """A connection failed in a way that may pass; says how in a sentence."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What a server, or a folder, holds out."""

    stream: io.BufferedIOBase
    """The bytes, from `start` to the end of the file."""
    start: int
    """Position of the first of them in the file."""
    total: int | None
    """Bytes of the whole file; None when the server does not say."""
    validator: str = ""
    """A strong ETag or a date, for If-Range."""


def _ask(file: Wanted, kept: int, validator: str, timeout_s: float) -> _Answer:
    """Open the file at its address, after the first `kept` bytes where the server can."""
    if isinstance(file.address, Path):
        return _Answer(stream=file.address.open("rb"), start=0, total=file.address.stat().st_size)
    from http.client import HTTPException
    from ssl import SSLCertVerificationError
    from urllib.error import HTTPError
    from urllib.request import Request, build_opener

    headers = {"User-Agent": "regraft"}
    if kept:
        headers["Range"] = f"bytes={kept}-"
        if validator:
            headers["If-Range"] = validator
    request = Request(file.address, headers=headers)
    if file.token:
        request.add_unredirected_header("Authorization", f"Bearer {file.token}")
    try:
        response = build_opener().open(request, timeout=timeout_s)
    except HTTPError as error:
        error.close()
        if error.code == 416 and kept:
            whole = error.headers.get("Content-Range") == f"bytes */{kept}"
            return _Answer(stream=io.BytesIO(), start=kept, total=kept) if whole else _ask(file, 0, "", timeout_s)
        said = f"{file.address} answered {error.code} ({error.reason})."
        raise (_Cut(said) if error.code in PASSING else file.missing(said)) from error
    except (OSError, HTTPException, UnicodeError) as error:
        reason = getattr(error, "reason", error)
        said = f"{file.address} could not be reached: {reason_of(reason)}."
        if isinstance(reason, SSLCertVerificationError):
            raise file.missing(said, also=", or set SSL_CERT_FILE to the certificate of your proxy") from error
        raise _Cut(said) from error
    start = 0
    if response.status == 206:
        found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != kept:
            response.close()
            return _ask(file, 0, "", timeout_s)
        start = kept
    total = None if response.length is None else start + response.length
    etag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    validator = etag if etag.startswith('"') else date
    return _Answer(stream=response, start=start, total=total, validator=validator)


def _wrong(file: Wanted, found: str) -> WeightsError:
    with file.part.open("rb") as part:
        start = part.read(256).lstrip().lower()
    page = " It is a web page, such as a proxy's login." if start.startswith((b"<!doctype", b"<html")) else ""
    return WeightsError(
        f"{file.name} from {file.address} is not the published file: expected SHA-256 {shown(file.sha256)}, "
        f"found {found} ({file.part.stat().st_size:,} bytes). It was removed.{page}",
        fix=f"run again; if the digest stays the same, {file.by_hand}.",
    )


def _notice(text: str) -> Notice:
    return Notice(text=text, topic="weights")
