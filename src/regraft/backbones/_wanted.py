"""A published file that is wanted: where it is published, fetched from and kept, and by which digest it is known.

Imports no torch.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from regraft.errors import BadRequest, OutOfSpace, RegraftError, WeightsError, WeightsMissing
from regraft.files import cache_home, write_json

MIB = 1 << 20
OTHER_DISK = "free some space, or set REGRAFT_CACHE to a folder on another disk."


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The file that is wanted."""

    name: str
    """Last part of the published address."""
    url: str
    """Where it is published."""
    address: str | Path
    """Where it is fetched from: `url`, or a file or an address under `REGRAFT_MIRROR`."""
    sha256: str
    """First digits of its digest, or all of them, in lower case."""
    num_bytes: int
    """About how large it is."""
    folder: Path
    """Where it is kept."""
    token: str = field(default="", repr=False)
    """Shown to the publisher, and to nobody else, as the right to have it."""

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def part(self) -> Path:
        return self.beside("part")

    def beside(self, suffix: str) -> Path:
        return self.folder / f"{self.name}.{suffix}"

    def is_there(self) -> bool:
        """Whether the file lies in its place with the right digest."""
        with disk_of(self):
            return (digest_of(self.path) or "").startswith(self.sha256)

    def kept(self) -> tuple[int, str]:
        """Bytes in the partial file, and the ETag or date by which the same server knows that they are still good."""
        memo = json_in(self.beside("part.json"))
        if memo.get("sha256") != self.sha256:
            return 0, ""
        return self.arrived(), str(memo.get("validator", "")) if memo.get("address") == str(self.address) else ""

    def arrived(self) -> int:
        """Bytes in the partial file, whosever they are."""
        with contextlib.suppress(FileNotFoundError):
            return self.part.stat().st_size
        return 0

    def missing(self, why: str, *, also: str = "") -> WeightsMissing:
        """The error that says all one needs to put the file in place by hand. `why` and `also` are sentences."""
        parts = [f"{self.name} is needed and could not be fetched. {why}"]
        with contextlib.suppress(OSError):
            if (found := digest_of(self.path)) is not None:
                parts.append(f"The file of this name in {self.folder} is another one: its SHA-256 is {found}.")
            if kept := self.kept()[0]:
                parts.append(f"{mib(kept)} of {mib(self.num_bytes)} have arrived and are kept for the next run.")
        return WeightsMissing(" ".join(parts), fix=f"{self.by_hand}{also}.")

    @property
    def by_hand(self) -> str:
        """What a person can do, as a sentence without its full stop."""
        return (
            f"put {self.name} ({mib(self.num_bytes)}, SHA-256 {shown(self.sha256)}, published at {self.url}) "
            f"into {self.folder}, or set REGRAFT_MIRROR to a folder or an address that holds it"
        )


def wanted(url: str, sha256: str, size_mb: float, *, below: str = "", token: str = "") -> Wanted:
    """What is asked for, once name and digits are known to be harmless: a name that leads out of the folder, or a
    digest too short to tell files apart, is a mistake of whoever declared the weights.

    `below` is the folder under that of all downloads, and under a mirror.
    """
    at = urlsplit(url)
    name, sha256 = unquote(at.path.rpartition("/")[2]), sha256.lower()
    named = at.scheme in ("http", "https") and re.fullmatch(r"[\w+=@~-][\w.+=@~ -]*", name)
    if not named or not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
        raise WeightsError(
            f"Weights are declared with url {url!r} and sha256 {sha256!r}; expected were an address that begins with "
            "http:// or https:// and ends in a file name, and 8 to 64 hexadecimal digits.",
            fix="correct the declaration in the file of the backbone.",
        )
    address, folder = _mirrored(url, name, below), cache_home() / "downloads" / below
    return Wanted(
        name=name, url=url, address=address, sha256=sha256, num_bytes=round(size_mb * MIB), folder=folder,
        token=token if address == url else "",
    )  # fmt: skip


def _mirrored(url: str, name: str, below: str) -> str | Path:
    mirror = os.environ.get("REGRAFT_MIRROR", "").strip()
    if "://" not in mirror:
        return Path(mirror).expanduser() / below / name if mirror else url
    at = urlsplit(mirror)
    if at.scheme not in ("http", "https") or "@" in at.netloc:  # a password would end up in logs
        raise BadRequest(
            "REGRAFT_MIRROR is neither a folder nor an http:// or https:// address without user name and password.",
            fix="set it to such an address or to the path of a folder.",
        )
    return f"{quote(mirror, safe=':/?=&%[]~').rstrip('/')}/{quote(f'{below}/{name}' if below else name)}"


@contextlib.contextmanager
def disk_of(file: Wanted) -> Iterator[None]:
    """Turn what the system says of a full disk or a refused folder into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            with contextlib.suppress(OSError):
                file.part.unlink()
            full = f"The disk is full: {file.part} could not be written, and was removed."
            raise OutOfSpace(full, fix=OTHER_DISK) from error
        also = ", or set REGRAFT_CACHE to a folder of your own" if error.errno != errno.ENOENT else ""
        raise file.missing(f"{error.filename or file.folder}: {reason_of(error)}.", also=also) from error


def digest_of(path: Path) -> str | None:
    """SHA-256 of a file, remembered beside it by size and modification time; None when there is no file."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    memo, now = path.with_name(f"{path.name}.verified.json"), {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    kept = json_in(memo)
    if isinstance(kept.get("sha256"), str) and kept == {**now, "sha256": kept["sha256"]}:
        return str(kept["sha256"])
    digest = sha256_of(path)
    with contextlib.suppress(OSError, RegraftError):  # a shared cache may be read-only; then it is digested each time
        write_json(memo, {**now, "sha256": digest})
    return digest


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_in(path: Path) -> dict[str, Any]:
    """The object kept in a JSON file; empty when there is none, or it is damaged."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def reason_of(error: object) -> str:
    return str(getattr(error, "strerror", None) or error)


def shown(sha256: str) -> str:
    return sha256 if len(sha256) == 64 else f"beginning with {sha256}"


def mib(num_bytes: int) -> str:
    return f"{num_bytes / MIB:.1f} MiB"
