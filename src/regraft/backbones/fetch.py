"""Fetch published weights: from a URL with torch.hub, from the Hugging Face hub with huggingface_hub.

    <cache>/downloads/NAME                                    a file from a URL
    <cache>/downloads/hf/OWNER/REPOSITORY/REVISION/FILE       a file from the hub
    <cache>/downloads/hf/OWNER/REPOSITORY/REVISION/hub.json   the hub's reply about the revision: commit, files, digests

The libraries connect and download (huggingface_hub resumes an interrupted download, torch.hub restarts it). This module
checks digests, reports progress as events, and tells users where to put a file by hand if it cannot be fetched; a file
already in that place counts as fetched, without importing either library or opening a connection.

The hub is asked about a revision (a branch, a tag or a commit; `main` by default) only once. From then on the cached
reply is used, so that a name always refers to the same file. `HF_ENDPOINT` names another hub, `HF_TOKEN` opens gated
repositories, `HF_HUB_OFFLINE=1` disables the network.
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
"""Suffixes of files that may contain weights, in order of preference."""
STALL_S = 120.0
"""Seconds without data after which a download is aborted; torch.hub itself would wait for ever."""
_MIB = 1 << 20
_TELL_EVERY_S = 0.2
_ADDRESS = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:/([\w.+=/-]+))?(?:@([\w.+/-]+))?")


@dataclass(frozen=True, kw_only=True)
class HubAddress:
    """An address on the hub."""

    repository: str
    """OWNER/REPOSITORY."""
    file: str
    """Path of the file in the repository; empty to search for it."""
    revision: str
    """Branch, tag or commit."""

    @property
    def folder(self) -> Path:
        """Folder in the cache for its files."""
        return cache_home() / "downloads" / "hf" / self.repository / quote(self.revision, safe="")

    @property
    def page(self) -> str:
        """URL of its web page."""
        return f"{endpoint()}/{self.repository}/tree/{quote(self.revision, safe='')}"


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file from the hub, in the cache."""

    path: Path
    """The file."""
    source: str
    """Origin of the file, with the commit if known."""
    licence: str
    """Licence stated by the repository; empty if none is stated."""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A file of weights to fetch, and its metadata."""

    name: str
    """File name, also in `folder`."""
    folder: Path
    """Destination folder."""
    page: str
    """URL of the page on which users find it."""
    sha256: str = ""
    """Digest in hex, or its first digits; empty if not known yet."""
    num_bytes: int = 0
    """Approximate size; 0 if not known yet."""

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def by_hand(self) -> str:
        """Return instructions for the user, as a sentence without its full stop."""
        known = f"{_mib(self.num_bytes)}, SHA-256 {_shown(self.sha256)}, published at" if self.sha256 else "from"
        return f"put {self.name} ({known} {self.page}) into {self.folder}, or use a file of your own with file:PATH"


def fetch(url: str, sha256: str, *, size_mb: float) -> Generator[Event, None, Path]:
    """Return the path of the file published at `url`, downloading it unless cached; yields events.

    `sha256` is the digest in hex or at least its first eight digits; `size_mb` is the approximate size in MiB.

    Raises:
        WeightsMissing: the file cannot be reached; the message says which file is needed, and in which folder to put
            it.
        WeightsError: the downloaded file has another digest (it is deleted), or `url` or `sha256` is invalid.
        OutOfSpace: there is not enough disk space.
    """
    (_, path), sha256 = published_at(url), sha256.lower()
    # A name that leads out of the folder, or a digest too short to identify a file, is an error in a declaration.
    named = urlsplit(url).scheme in ("http", "https") and re.fullmatch(r"[\w+=@~-][\w.+=@~ -]*", path.name)
    if not named or path.parent != cache_home() / "downloads" or not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
        raise WeightsError(
            f"Weights are declared with url {url!r} and sha256 {sha256!r}; expected an address that starts with "
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
    """Return the web page of what is published at a URL, at `hf:ADDRESS` or in a `file:`, and its local path."""
    if url.startswith("file:"):
        return url, Path(url.removeprefix("file:"))
    if url.startswith(PREFIX):
        address = hub_address(url.removeprefix(PREFIX))
        return address.page, address.folder / (address.file or "model.safetensors")
    return url, cache_home() / "downloads" / unquote(urlsplit(url).path.rpartition("/")[2])


def hub_address(text: str) -> HubAddress:
    """Parse `OWNER/REPOSITORY[/FILE][@REVISION]`.

    Raises:
        BadRequest: the text does not have this form.
    """
    found = _ADDRESS.fullmatch(text)
    if not found or not all(map(_harmless, found.groups("x"))):
        raise BadRequest(
            f"{PREFIX}{text} is not an address on the Hugging Face Hub.",
            fix=f"write {PREFIX}OWNER/REPOSITORY, {PREFIX}OWNER/REPOSITORY/FILE, optionally followed by @REVISION.",
        )
    return HubAddress(repository=found[1], file=found[2] or "", revision=found[3] or "main")


def fetch_from_hub(text: str) -> Generator[Event, None, HubFile]:
    """Return the file at `OWNER/REPOSITORY[/FILE][@REVISION]`, fetching it unless cached; yields events.

    Raises:
        BadRequest: `text` is not such an address, or the repository has several files of weights and none is named.
        UnknownName: the repository has no such file.
        WeightsMissing: the file cannot be reached; the message says where to put it.
        WeightsError: the downloaded file has another digest, or the hub states none.
        OutOfSpace: there is not enough disk space.
    """
    address = hub_address(text)
    try:
        told = json.loads((address.folder / "hub.json").read_bytes())
    except (OSError, ValueError):
        if placed := _placed(address):
            said = f"{placed} was placed by hand; its SHA-256 ({sha256_of(placed)}) was not compared with the hub's."
            yield Notice(text=said, topic="weights")
            return HubFile(path=placed, source=address.page, licence="")
        told = _ask(address)
        yield Notice(text=f"{address.repository}@{address.revision} is commit {told['commit']}.", topic="weights")
    name = _chosen(address, told["files"])
    size, sha256 = told["files"][name]
    if not sha256:
        raise WeightsError(
            f"The hub lists no SHA-256 for {name} in {address.repository}, so the file cannot be verified.",
            fix="download it yourself and use file:PATH.",
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
    """Return those of these small files that a repository `OWNER/REPOSITORY[@REVISION]` has, by name, fetched once;
    raises as `fetch_from_hub`."""
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
    """Import and return huggingface_hub, with telemetry disabled."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import huggingface_hub
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # in case another library has imported it before
    return huggingface_hub


def _ask(address: HubAddress) -> dict[str, Any]:
    """Return the hub's cached information on the revision: commit, licence, size and digest of every file of
    weights."""
    at = address.folder / (address.file or "its weights file")
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
    except Exception as error:  # a server that is not a hub may trigger any error in the library
        raise _explained(wanted, error) from error


def _placed(address: HubAddress) -> Path | None:
    """Return a file put in place by the user, for a revision that the hub was never asked about."""
    if address.file:
        path = address.folder / address.file
        return path if path.is_file() else None
    found = sorted(path for path in address.folder.glob("*") if path.suffix in SUFFIXES)
    return found[0] if len(found) == 1 else None


def _chosen(address: HubAddress, files: Mapping[str, Any]) -> str:
    """Return the named file, or the repository's only file of the most preferred kind."""
    if address.file:
        if address.file not in files:
            raise UnknownName(f"weights file in {address.repository}@{address.revision}", address.file, files)
        return address.file
    usual = [name for name in ("model.safetensors", "pytorch_model.bin") if name in files]
    best = [found for suffix in SUFFIXES if (found := [name for name in files if name.endswith(suffix)])]
    if usual or (best and len(best[0]) == 1):
        return usual[0] if usual else best[0][0]
    has = f"has {', '.join(files)}" if files else "has no weights file"
    raise BadRequest(
        f"{address.repository}@{address.revision} {has}.",
        fix=f"choose one: {PREFIX}{address.repository}/FILE." if files else "choose another repository.",
    )


def _fetched(wanted: _Wanted, download: Callable[[Path], Path]) -> Generator[Event, None, Path]:
    """Return the wanted file, in its place and with the correct digest; `download` writes it to a given folder."""
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
        told = f"Downloading {wanted.name} ({_mib(wanted.num_bytes)}) from {wanted.page}."
        yield Notice(text=told, topic="weights")
        # A separate folder on the same disk: its largest file shows the progress, and no partial file remains.
        with TemporaryDirectory(prefix=".fetching-", dir=wanted.folder, ignore_cleanup_errors=True) as temporary:
            arrived = yield from _beside(download, Path(temporary), wanted.num_bytes)
            if not (found := sha256_of(arrived)).startswith(wanted.sha256):
                raise WeightsError(
                    f"{wanted.name} from {wanted.page} is not the published file: expected SHA-256 "
                    f"{_shown(wanted.sha256)}, found {found}. It was removed ({arrived.stat().st_size:,} bytes).",
                    fix="try again, in case the transfer was corrupted; if the digest stays the same, "
                    f"{wanted.by_hand}.",
                )
            arrived.replace(wanted.path)
    except RegraftError:
        raise
    except Exception as error:  # two libraries and the system, each with its own errors
        raise _explained(wanted, error) from error
    return wanted.path


def _beside(download: Callable[[Path], Path], folder: Path, num_bytes: int) -> Generator[Event, None, Path]:
    """Run `download` in a thread, reporting the bytes in `folder` meanwhile; return or raise what it does.

    The thread is a daemon: neither library can be stopped, and interrupting a run should not have to wait for one.
    """
    future: Future[Path] = Future()
    Thread(target=_settle, args=(future, download, folder), daemon=True).start()
    began = changed = now = time.monotonic()
    done, arrived, finished = 0, 0, False
    while not finished:
        finished = bool(wait([future], timeout=_TELL_EVERY_S).done)
        with contextlib.suppress(OSError):  # a file was renamed while its size was being read
            arrived = max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0)
        now = time.monotonic()
        if arrived != done:
            done, changed = arrived, now
        elif now - changed >= STALL_S and not finished:
            raise TimeoutError(f"no data arrived for {STALL_S:g} s")
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
    """Return an error that tells users how to put the file in place by hand, or what else to do."""
    getattr(error, "close", lambda: None)()  # urllib's HTTPError keeps its connection open
    if isinstance(error.__cause__, Exception):  # huggingface_hub wraps this as a file missing from its cache
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    said = f"the hub returned {status} ({kind})" if status else f"{kind}: {' '.join(str(error).split())}"
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(
            f"The disk of {wanted.folder} has no room for {wanted.name} ({said.rstrip('.')}).",
            fix="free some space, or set REGRAFT_CACHE to a folder on another disk.",
        )
    also = ""
    if status in (401, 403):
        said += ". Gated and private repositories require HF_TOKEN; missing ones give the same status"
        also = ", or set HF_TOKEN to a token with read access"
    elif "CERTIFICATE_VERIFY_FAILED" in said:
        also = ", or set SSL_CERT_FILE to the certificate of your proxy"
    elif isinstance(error, PermissionError | FileExistsError | NotADirectoryError):
        also = ", or set REGRAFT_CACHE to a folder of your own"
    there = f" The file with this name there has the SHA-256 {sha256_of(wanted.path)}." if wanted.path.is_file() else ""
    return WeightsMissing(
        f"{wanted.name} ({wanted.page}) is required but could not be downloaded: {said.rstrip('.')}.{there}",
        fix=f"{wanted.by_hand}{also}.",
    )


def _harmless(path: str) -> bool:
    """Return whether a path stays below its folder."""
    return all(part and not part.startswith(".") for part in path.split("/"))


def endpoint() -> str:
    """Return the hub's URL."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _shown(sha256: str) -> str:
    return sha256 if len(sha256) == 64 else f"beginning with {sha256}"


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / _MIB:.1f} MiB"
