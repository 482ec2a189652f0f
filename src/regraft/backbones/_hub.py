"""Weights on the Hugging Face hub: `hf:OWNER/REPOSITORY[/FILE][@REVISION]`. Imports no torch, and no library of theirs.

    <cache>/downloads/hf/OWNER/REPOSITORY/REVISION/hub.json    what the hub told of the revision: commit, files, digests
    <cache>/downloads/hf/OWNER/REPOSITORY/REVISION/FILE        the file; whoever puts it there by hand has fetched it

The hub is asked once what a revision (a branch, a tag or a commit; `main` unless said) is; from then on the answer in
the cache holds, so that a name goes on meaning the same file. Every file is compared with the SHA-256 that the hub
tells. `HF_ENDPOINT` names another hub, `HF_TOKEN` opens gated repositories, `HF_HUB_OFFLINE=1` forbids the network.
Source: the hub's own interface, https://huggingface.co/docs/hub/api (`/api/models/…/revision/…` and `/resolve/`).
"""

import json
import os
import re
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from regraft.backbones._download import PASSING, PATIENCE, Patience, fetch
from regraft.backbones._wanted import MIB, digest_of, json_in, reason_of
from regraft.errors import BadRequest, UnknownName, WeightsError, WeightsMissing
from regraft.files import cache_home, write_json
from regraft.values import Event, Notice

PREFIX = "hf:"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".caffemodel")
"""Of files that may hold weights, the preferred first."""
_ADDRESS = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:/([\w.+=/-]+))?(?:@([\w.+/-]+))?")
_LARGEST_ANSWER = 16 * MIB


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
    def below(self) -> str:
        """The folder under that of all downloads."""
        return f"hf/{self.repository}/{quote(self.revision, safe='')}"

    @property
    def folder(self) -> Path:
        """Where its files are kept."""
        return cache_home() / "downloads" / self.below

    @property
    def page(self) -> str:
        """The address that a person opens."""
        return f"{_endpoint()}/{self.repository}/tree/{quote(self.revision, safe='')}"


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file from the hub, in the cache."""

    path: Path
    """The file."""
    source: str
    """Where it comes from, with the commit where that is known."""
    licence: str
    """Terms that the repository states; empty where it does not."""


def hub_address(text: str) -> HubAddress:
    """The parts of `OWNER/REPOSITORY[/FILE][@REVISION]`.

    Raises:
        BadRequest: it is not of that form.
    """
    found = _ADDRESS.fullmatch(text)
    if not found or not all(map(_harmless, found.groups("x"))):
        raise BadRequest(
            f"{PREFIX}{text} is no address on the Hugging Face hub.",
            fix=f"write {PREFIX}OWNER/REPOSITORY, {PREFIX}OWNER/REPOSITORY/FILE, and @REVISION behind it if need be.",
        )
    return HubAddress(repository=found[1], file=found[2] or "", revision=found[3] or "main")


def fetch_from_hub(text: str, *, patience: Patience = PATIENCE) -> Generator[Event, None, HubFile]:
    """The file at `OWNER/REPOSITORY[/FILE][@REVISION]`, from the cache or else fetched; yields events.

    Raises:
        BadRequest: `text` is no such address, or the repository has several files of weights and none is named.
        UnknownName: the repository has no such file.
        WeightsMissing: out of reach; the message says where to put the file.
        WeightsError: what arrived has another digest, or the hub tells none.
        OutOfSpace: the disk does not hold it.
    """
    address = hub_address(text)
    told = json_in(address.folder / "hub.json")
    if not told:
        placed = _placed(address)
        if placed is not None:
            found = digest_of(placed)
            said = f"{placed} was put there by hand; its SHA-256 ({found}) is not compared with the hub's."
            yield Notice(text=said, topic="weights")
            return HubFile(path=placed, source=address.page, licence="")
        told = yield from _told(address, patience)
        write_json(address.folder / "hub.json", told)
        yield Notice(text=f"{address.repository}@{address.revision} is commit {told['commit']}.", topic="weights")
    name = _chosen(address, told["files"])
    facts = told["files"][name]
    if not facts["sha256"]:
        raise WeightsError(
            f"The hub tells no SHA-256 of {name} in {address.repository}, so it cannot be checked.",
            fix="fetch it by hand and name it file:PATH.",
        )
    url = f"{_endpoint()}/{address.repository}/resolve/{told['commit']}/{quote(name)}"
    below = "/".join(filter(None, (address.below, name.rpartition("/")[0])))
    path = yield from fetch(
        url, facts["sha256"], size_mb=facts["size"] / MIB, below=below, token=_token(), patience=patience
    )
    source = f"{_endpoint()}/{address.repository}/blob/{told['commit']}/{name}"
    return HubFile(path=path, source=source, licence=str(told["licence"]))


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
    for usual in ("model.safetensors", "pytorch_model.bin"):
        if usual in files:
            return usual
    for suffix in SUFFIXES:
        found = [name for name in files if name.endswith(suffix)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    has = f"has {', '.join(files)}" if files else "has no file of weights"
    raise BadRequest(
        f"{address.repository}@{address.revision} {has}.",
        fix=f"name one: {PREFIX}{address.repository}/FILE." if files else "name another repository.",
    )


def _told(address: HubAddress, patience: Patience) -> Generator[Event, None, dict[str, Any]]:
    """What the hub says of the revision."""
    revision = quote(address.revision, safe="")
    url = f"{_endpoint()}/api/models/{address.repository}/revision/{revision}?blobs=true"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise _missing(address, "HF_HUB_OFFLINE forbids to ask the hub.")
    for attempt in range(patience.attempts):
        try:
            answer = _asked(url, address, patience.timeout_s)
            break
        except _Passing as error:
            if attempt + 1 == patience.attempts:
                raise _missing(address, f"{error} Tried {attempt + 1} times.") from error
            yield Notice(text=f"{error} Trying again.", topic="weights")
            time.sleep(patience.pause_s * 2**attempt)
    try:
        files = {
            str(one["rfilename"]): {
                "size": int(one.get("size") or 0), "sha256": str((one.get("lfs") or {}).get("sha256", "")),
            }
            for one in answer["siblings"]
            if str(one["rfilename"]).endswith(SUFFIXES) and _harmless(str(one["rfilename"]))
        }  # fmt: skip
        licence = (answer.get("cardData") or {}).get("license") or ""
        return {"commit": str(answer["sha"]), "licence": str(licence), "files": files}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _missing(address, f"{url} did not answer as the hub does ({error}).") from error


class _Passing(Exception):  # never leaves this module
    """The hub could not be asked, in a way that may pass; says how in a sentence."""


def _asked(url: str, address: HubAddress, timeout_s: float) -> dict[str, Any]:
    """The hub's answer as JSON."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, build_opener

    request = Request(url, headers={"User-Agent": "regraft"})
    if token := _token():
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with build_opener().open(request, timeout=timeout_s) as response:
            answer = json.loads(response.read(_LARGEST_ANSWER))
    except HTTPError as error:
        error.close()
        said = f"{url} answered {error.code} ({error.reason})."
        if error.code in PASSING:
            raise _Passing(said) from error
        raise _missing(address, said, refused=error.code in (401, 403)) from error
    except (OSError, HTTPException, UnicodeError) as error:
        raise _Passing(f"{url} could not be reached: {reason_of(getattr(error, 'reason', error))}.") from error
    except ValueError as error:
        raise _missing(address, f"{url} did not answer with JSON.") from error
    return answer if isinstance(answer, dict) else {}


def _missing(address: HubAddress, why: str, *, refused: bool = False) -> WeightsMissing:
    also = (
        " A gated or private repository wants HF_TOKEN; one that does not exist is answered alike." if refused else ""
    )
    return WeightsMissing(
        f"The weights {PREFIX}{address.repository} are needed, and the hub could not tell of them. {why}{also}",
        fix=f"put {address.file or 'the file of weights'} from {address.page} into "
        f"{(address.folder / address.file).parent if address.file else address.folder}, set HF_ENDPOINT to a hub "
        "within reach, or name a file of yours by file:PATH.",
    )


def _harmless(path: str) -> bool:
    """Whether a path stays below the folder it is put in."""
    return all(part and not part.startswith(".") for part in path.split("/"))


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _token() -> str:
    return os.environ.get("HF_TOKEN", "").strip()
