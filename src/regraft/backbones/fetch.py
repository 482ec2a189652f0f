"""Fetching published weights: from a plain address with torch.hub, from the Hugging Face hub with huggingface_hub.

    <cache>/downloads/NAME                                    a file from a plain address
    <cache>/downloads/hf/OWNER/REPOSITORY/REVISION/FILE       a file from the hub
    <cache>/downloads/hf/OWNER/REPOSITORY/REVISION/hub.json   what the hub said of the revision: commit, files, digests

The libraries connect and download (huggingface_hub takes up a connection that breaks, torch.hub starts again). This
module compares digests, reports progress as events, and says where to put a file by hand where it cannot be fetched;
a file that lies there already has been fetched, and then neither library is imported and no connection opened.

The hub is asked once what a revision (a branch, a tag or a commit; `main` by default) is. From then on the reply in the
cache holds, so that a name keeps meaning the same file. `HF_ENDPOINT` names another hub, `HF_TOKEN` opens gated
repositories, `HF_HUB_OFFLINE=1` forbids the network.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from regraft.contracts.family import PREFIX
from regraft.errors import BadRequest, OutOfSpace, RegraftError, UnknownName, WeightsError, WeightsMissing
from regraft.files import cache_home, write_json, write_text
from regraft.identity import sha256_of
from regraft.values import Event, Notice, Plan, Progress

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".caffemodel")
"""Of files that may hold weights, the preferred first."""
STALL_S = 120.0
"""Seconds without a byte after which a download is given up; torch.hub itself would wait for ever."""
_MIB = 1 << 20
_TELL_EVERY_S = 0.2
_ADDRESS = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:/([\w.+=/-]+))?(?:@([\w.+/-]+))?")


@dataclass(frozen=True, kw_only=True)
class HubAddress:
    """A place on the hub."""

    repository: str
    """OWNER/REPOSITORY."""
    file: str
    """Path of the file in the repository; empty where it is to be found."""
    revision: str
    """Branch, tag or commit."""

    @property
    def folder(self) -> Path:
        """Where its files are kept."""
        return cache_home() / "downloads" / "hf" / self.repository / quote(self.revision, safe="")

    @property
    def page(self) -> str:
        """The address that a person opens."""
        return f"{endpoint()}/{self.repository}/tree/{quote(self.revision, safe='')}"


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file from the hub, in the cache."""

    path: Path
    """The file."""
    source: str
    """Where it comes from, with the commit where that is known."""
    licence: str
    """Terms that the repository states; empty where it does not."""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A file of weights, and what is known of it."""

    name: str
    """What it is called, in `folder` too."""
    folder: Path
    """Where it is kept."""
    page: str
    """Where a person finds it."""
    sha256: str = ""
    """Digest in hex, or its first digits; empty where not known yet."""
    num_bytes: int = 0
    """About how large it is; 0 where not known yet."""

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def by_hand(self) -> str:
        """What a person can do, as a sentence without its full stop."""
        known = f"{_mib(self.num_bytes)}, SHA-256 {_shown(self.sha256)}, published at" if self.sha256 else "from"
        return f"put {self.name} ({known} {self.page}) into {self.folder}, or name a file of your own by file:PATH"


def fetch(url: str, sha256: str, *, size_mb: float) -> Generator[Event, None, Path]:
    """The file published at `url`, from the cache or else downloaded into it; yields events, returns its path.

    `sha256` is the digest in hex or its first digits, eight at least; `size_mb` is about how large the file is, in MiB.

    Raises:
        WeightsMissing: out of reach; the message says which file is needed, and in which folder to put it.
        WeightsError: what arrived has another digest (it is removed), or `url` or `sha256` is not usable.
        OutOfSpace: the disk does not hold it.
    """
    (_, path), sha256 = published_at(url), sha256.lower()
    # A name that leads out of the folder, or a digest too short to tell files apart, is a mistake in a declaration.
    named = urlsplit(url).scheme in ("http", "https") and re.fullmatch(r"[\w+=@~-][\w.+=@~ -]*", path.name)
    if not named or path.parent != cache_home() / "downloads" or not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
        raise WeightsError(
            f"Weights are declared with url {url!r} and sha256 {sha256!r}; expected were an address that begins with "
            "http:// or https:// and ends in a file name, and 8 to 64 hexadecimal digits.",
            fix="correct the declaration in the file of the backbone.",
        )

    def download(folder: Path) -> Path:
        import torch.hub

        torch.hub.download_url_to_file(url, str(folder / path.name), progress=False)
        return folder / path.name

    wanted = _Wanted(name=path.name, folder=path.parent, page=url, sha256=sha256, num_bytes=round(size_mb * _MIB))
    return (yield from _fetched(wanted, download))


def published_at(url: str) -> tuple[str, Path]:
    """Where a person finds what is published at a plain address, at `hf:ADDRESS` or in a `file:`, and where it is."""
    if url.startswith("file:"):
        return url, Path(url.removeprefix("file:"))
    if url.startswith(PREFIX):
        address = hub_address(url.removeprefix(PREFIX))
        return address.page, address.folder / (address.file or "model.safetensors")
    return url, cache_home() / "downloads" / unquote(urlsplit(url).path.rpartition("/")[2])


def hub_address(text: str) -> HubAddress:
    """The parts of `OWNER/REPOSITORY[/FILE][@REVISION]`.

    Raises:
        BadRequest: it is not of that form.
    """
    found = _ADDRESS.fullmatch(text)
    if not found or not all(map(_harmless, found.groups("x"))):
        raise BadRequest(
            f"{PREFIX}{text} is not an address on the Hugging Face hub.",
            fix=f"write {PREFIX}OWNER/REPOSITORY, {PREFIX}OWNER/REPOSITORY/FILE, and @REVISION behind it if need be.",
        )
    return HubAddress(repository=found[1], file=found[2] or "", revision=found[3] or "main")


def fetch_from_hub(text: str) -> Generator[Event, None, HubFile]:
    """The file at `OWNER/REPOSITORY[/FILE][@REVISION]`, from the cache or else fetched; yields events.

    Raises:
        BadRequest: `text` is no such address, or the repository has several files of weights and none is named.
        UnknownName: the repository has no such file.
        WeightsMissing: out of reach; the message says where to put the file.
        WeightsError: what arrived has another digest, or the hub states none.
        OutOfSpace: the disk does not hold it.
    """
    address = hub_address(text)
    try:
        told = json.loads((address.folder / "hub.json").read_bytes())
    except (OSError, ValueError):
        if placed := _placed(address):
            said = f"{placed} was put there by hand; its SHA-256 ({sha256_of(placed)}) was not compared with the hub's."
            yield Notice(text=said, topic="weights")
            return HubFile(path=placed, source=address.page, licence="")
        told = _ask(address)
        yield Notice(text=f"{address.repository}@{address.revision} is commit {told['commit']}.", topic="weights")
    name = _chosen(address, told["files"])
    size, sha256 = told["files"][name]
    if not sha256:
        raise WeightsError(
            f"The hub states no SHA-256 of {name} in {address.repository}, so it cannot be checked.",
            fix="fetch it by hand and name it file:PATH.",
        )

    def download(folder: Path) -> Path:
        library = hub_library()
        from huggingface_hub.utils import silent_tqdm  # type: ignore[attr-defined]

        options = {"revision": told["commit"], "endpoint": endpoint(), "tqdm_class": silent_tqdm}
        return Path(library.hf_hub_download(address.repository, name, local_dir=folder, **options))

    at = address.folder / name
    wanted = _Wanted(name=at.name, folder=at.parent, page=address.page, sha256=sha256, num_bytes=size)
    path = yield from _fetched(wanted, download)
    source = f"{endpoint()}/{address.repository}/blob/{told['commit']}/{name}"
    return HubFile(path=path, source=source, licence=told["licence"])


def hub_texts(text: str, names: Sequence[str]) -> dict[str, str]:
    """Those of these small files that a repository `OWNER/REPOSITORY[@REVISION]` has, by name, fetched once; raises as
    `fetch_from_hub`."""
    address = hub_address(text)
    try:
        told = json.loads((address.folder / "hub.json").read_bytes())["texts"]
    except (OSError, ValueError, KeyError):
        told = None if (address.folder / names[0]).is_file() else _ask(address)["texts"]
    there = [name for name in names if (address.folder / name).is_file() or name in (told or {})]
    for name in there:
        path = address.folder / name
        if path.is_file():
            continue
        wanted = _Wanted(name=name, folder=address.folder, page=address.page)
        try:
            with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                options = {"revision": json.loads((address.folder / "hub.json").read_bytes())["commit"]}
                found = hub_library().hf_hub_download(
                    address.repository, name, local_dir=folder, endpoint=endpoint(), **options
                )
                data = Path(found).read_bytes()
        except Exception as error:  # as in _fetched
            raise _explained(wanted, error) from error
        write_text(path, data.decode(errors="replace"))
    return {name: (address.folder / name).read_text(encoding="utf-8") for name in there}


def hub_library() -> Any:
    """huggingface_hub, which collects no telemetry."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import huggingface_hub
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # in case another library has imported it before
    return huggingface_hub


def _ask(address: HubAddress) -> dict[str, Any]:
    """What the hub says of the revision: commit, licence, and size and digest of every file that may hold weights; kept
    in the cache."""
    at = address.folder / (address.file or "its file of weights")
    wanted = _Wanted(name=at.name, folder=at.parent, page=address.page)
    api = hub_library().HfApi(endpoint=endpoint())
    try:
        info = api.model_info(address.repository, revision=address.revision, files_metadata=True, timeout=15)
        files = {
            file.rfilename: (file.size or 0, file.lfs.sha256 if file.lfs else "")
            for file in info.siblings
            if file.rfilename.endswith(SUFFIXES) and _harmless(file.rfilename)
        }
        licence = (info.card_data or {}).get("license") or ""
        texts = {file.rfilename: file.blob_id or "" for file in info.siblings if file.rfilename.endswith(".json")}
        told = {"commit": str(info.sha), "licence": str(licence), "files": files, "texts": texts}
        write_json(address.folder / "hub.json", told)
        return told
    except Exception as error:  # a server that is no hub sets off whatever the library did not expect
        raise _explained(wanted, error) from error


def _placed(address: HubAddress) -> Path | None:
    """A file that somebody put in its place, of a revision that the hub was never asked about."""
    if address.file:
        path = address.folder / address.file
        return path if path.is_file() else None
    found = sorted(path for path in address.folder.glob("*") if path.suffix in SUFFIXES)
    return found[0] if len(found) == 1 else None


def _chosen(address: HubAddress, files: Mapping[str, Any]) -> str:
    """The file that is named, or else the repository's only one of the best kind that it has."""
    if address.file:
        if address.file not in files:
            raise UnknownName(f"file of weights in {address.repository}@{address.revision}", address.file, files)
        return address.file
    usual = [name for name in ("model.safetensors", "pytorch_model.bin") if name in files]
    best = [found for suffix in SUFFIXES if (found := [name for name in files if name.endswith(suffix)])]
    if usual or (best and len(best[0]) == 1):
        return usual[0] if usual else best[0][0]
    has = f"has {', '.join(files)}" if files else "has no file of weights"
    raise BadRequest(
        f"{address.repository}@{address.revision} {has}.",
        fix=f"name one: {PREFIX}{address.repository}/FILE." if files else "name another repository.",
    )


def _fetched(wanted: _Wanted, download: Callable[[Path], Path]) -> Generator[Event, None, Path]:
    """The wanted file, in its place and with the right digest; `download` puts it into a folder that it is given."""
    try:
        replaced = sha256_of(wanted.path) if wanted.path.is_file() else None
        if replaced is not None and replaced.startswith(wanted.sha256):
            return wanted.path
        wanted.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(wanted.folder).free
        yield Plan(phase="download", examples=0, bytes_needed=wanted.num_bytes, bytes_free=free, seconds=None)
        if wanted.num_bytes > free:
            raise OSError(errno.ENOSPC, f"{_mib(wanted.num_bytes)} are needed and {_mib(free)} are free")
        if replaced is not None:
            said = f"{wanted.path} will be replaced: expected SHA-256 {_shown(wanted.sha256)}, found {replaced}."
            yield Notice(text=said, topic="weights")
        told = f"Fetching {wanted.name} ({_mib(wanted.num_bytes)}) from {wanted.page}."
        yield Notice(text=told, topic="weights")
        # A folder of its own, on the same disk: its largest file is what has arrived, and nothing half-fetched stays.
        with TemporaryDirectory(prefix=".fetching-", dir=wanted.folder, ignore_cleanup_errors=True) as temporary:
            arrived = yield from _beside(download, Path(temporary), wanted.num_bytes)
            if not (found := sha256_of(arrived)).startswith(wanted.sha256):
                raise WeightsError(
                    f"{wanted.name} from {wanted.page} is not the published file: expected SHA-256 "
                    f"{_shown(wanted.sha256)}, found {found}. It was removed ({arrived.stat().st_size:,} bytes).",
                    fix="run again, in case the connection was cut or changed; if the digest stays the same, "
                    f"{wanted.by_hand}.",
                )
            arrived.replace(wanted.path)
    except RegraftError:
        raise
    except Exception as error:  # two libraries and the system: each has errors of its own
        raise _explained(wanted, error) from error
    return wanted.path


def _beside(download: Callable[[Path], Path], folder: Path, num_bytes: int) -> Generator[Event, None, Path]:
    """What `download` returns or raises; it runs in a thread, so that meanwhile the bytes in `folder` can be reported.

    The thread is a daemon: neither library can be told to stop, and whoever interrupts a run should not wait for one.
    """
    future: Future[Path] = Future()
    Thread(target=_settle, args=(future, download, folder), daemon=True).start()
    began = changed = now = time.monotonic()
    done, arrived, finished = 0, 0, False
    while not finished:
        finished = bool(wait([future], timeout=_TELL_EVERY_S).done)
        with contextlib.suppress(OSError):  # a file was renamed while its size was asked for
            arrived = max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0)
        now = time.monotonic()
        if arrived != done:
            done, changed = arrived, now
        elif now - changed >= STALL_S and not finished:
            raise TimeoutError(f"nothing arrived for {STALL_S:g} s")
        total = done if finished else max(done, num_bytes)
        left = (total - done) * (now - began) / done if done else None
        yield Progress(phase="download", done=done, total=total, seconds=now - began, seconds_left=left)
    return future.result()


def _settle(future: Future[Path], download: Callable[[Path], Path], folder: Path) -> None:
    try:
        future.set_result(download(folder))
    except Exception as error:  # noqa: BLE001 (raised again by whoever asks for the result)
        future.set_exception(error)


def _explained(wanted: _Wanted, error: Exception) -> RegraftError:
    """The error that says all one needs to put the file in place by hand, or what else can be done."""
    getattr(error, "close", lambda: None)()  # urllib's HTTPError holds on to its connection
    if isinstance(error.__cause__, Exception):  # what huggingface_hub sums up as a file that is not in its cache
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    said = f"the hub returned {status} ({kind})" if status else f"{kind}: {' '.join(str(error).split())}"
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(
            f"The disk of {wanted.folder} does not hold {wanted.name} ({said.rstrip('.')}).",
            fix="free some space, or set REGRAFT_CACHE to a folder on another disk.",
        )
    also = ""
    if status in (401, 403):
        said += ". Gated and private repositories need HF_TOKEN; the hub gives the same reply for one that is not there"
        also = ", or set HF_TOKEN to a token that may read it"
    elif "CERTIFICATE_VERIFY_FAILED" in said:
        also = ", or set SSL_CERT_FILE to the certificate of your proxy"
    elif isinstance(error, PermissionError | FileExistsError | NotADirectoryError):
        also = ", or set REGRAFT_CACHE to a folder of your own"
    there = f" The file of this name there has the SHA-256 {sha256_of(wanted.path)}." if wanted.path.is_file() else ""
    return WeightsMissing(
        f"{wanted.name} ({wanted.page}) is needed and could not be fetched: {said.rstrip('.')}.{there}",
        fix=f"{wanted.by_hand}{also}.",
    )


def _harmless(path: str) -> bool:
    """Whether a path stays below the folder it is put in."""
    return all(part and not part.startswith(".") for part in path.split("/"))


def endpoint() -> str:
    """The hub's address."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _shown(sha256: str) -> str:
    return sha256 if len(sha256) == 64 else f"beginning with {sha256}"


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / _MIB:.1f} MiB"
