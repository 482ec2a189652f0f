"""Settings of a server, and refusals of requests. Imports nothing heavy, so that the command line can import it."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from math import ceil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from regraft import errors
from regraft.errors import BadRequest, MissingExtra, RegraftError

MIB = 1 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Valid model names; they are part of URLs."""
_SECRET = re.compile(r"[!-~]{16,}")
"""Valid tokens: at least 16 printable ASCII characters."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a worker; sent to other processes."""

    models: tuple[tuple[str, Path], ...]
    """Name and folder of each model."""
    threads: int = 0
    """CPU threads of one worker; 0: all cores."""
    device: str = "auto"
    """Device for torch, if torch is used."""
    batch: int = 16
    """Maximum number of inputs predicted together; 1: no batching."""
    wait_s: float = 0.005
    """Maximum time that the first input of a batch waits for others, in seconds."""
    queue: int = 128
    """Maximum number of inputs of one model that a worker has accepted and not yet predicted."""
    max_inputs: int = 64
    """Maximum number of inputs per request."""
    max_body: int = 32 * MIB
    """Maximum size of a request's body, in bytes."""
    receive_s: float = 30.0
    """Maximum time for a request to arrive, in seconds."""
    token: str = ""
    """Bearer token that requests must have; empty: none."""
    hosts: tuple[str, ...] = ()
    """Host names of the server: requests to other hosts, or from pages of other hosts, are refused; none: any host."""
    url_prefixes: tuple[str, ...] = ()
    """Allowed prefixes of URLs of inputs; none: the server fetches nothing."""

    def __post_init__(self) -> None:
        for name, low in (("batch", 1), ("queue", 1), ("max_inputs", 1), ("max_body", 1), ("wait_s", 0)):
            if not getattr(self, name) >= low:
                raise BadRequest(f"{name} is {getattr(self, name)}; it must be {low} or more.", fix="change it.")
        if self.max_inputs > self.queue:
            raise BadRequest(
                f"A request may have {self.max_inputs} inputs, but the queue takes {self.queue}.",
                fix="raise --queue or lower --max-inputs.",
            )

    @property
    def held(self) -> int:
        """Maximum total size of the bodies being read or decoded in one worker, in bytes."""
        return max(4 * self.max_body, 64 * MIB)


def named_models(given: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Parse the name and folder of each MODEL or NAME=MODEL; the default name is that of the run's folder.

    Raises:
        BadRequest: a name cannot be part of a URL, or is used for two models.
    """
    found: dict[str, Path] = {}
    for one in given:
        path, (name, equals, rest) = Path(one).expanduser(), one.partition("=")
        if equals and not path.exists():
            path = Path(rest).expanduser()
        else:
            whole = path.resolve()
            name = whole.parent.name if whole.name == "model" else whole.name
        if not NAME.fullmatch(name):
            raise BadRequest(
                f"{name!r} is not a valid model name for a URL; use letters, digits and . _ - only.",
                fix=f"name it: mymodel={path}",
            )
        if name in found:
            raise BadRequest(f"Two models are named {name!r}.", fix=f"rename one of them: {name}-2={path}")
        found[name] = path
    return tuple(found.items())


def read_token(path: Path | None) -> str:
    """Return the token in the first line of a file; empty if there is no file.

    Raises:
        BadRequest: the file has no token that is long enough.
    """
    if path is None:
        return ""
    token = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    if not _SECRET.fullmatch(token):
        raise BadRequest(
            f"{path} contains no token; expected at least 16 printable characters without spaces in the first line.",
            fix="create one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return token


def url_prefixes(given: Iterable[str]) -> tuple[str, ...]:
    """Check URL prefixes: each must contain a scheme, a host and the slash after it.

    Raises:
        BadRequest: a prefix could be continued to another host, or is neither http nor https.
    """
    for one in given:
        parts = urlsplit(one)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not parts.path:
            raise BadRequest(
                f"{one!r} is not a URL prefix; expected https://HOST/ or https://HOST/PATH.",
                fix="use https://images.example.org/photos/, for example.",
            )
    return tuple(given)


def allowed_url(url: str, prefixes: Sequence[str]) -> bool:
    """Whether a URL starts with one of `prefixes` and does not leave it through `..`."""
    path = unquote(unquote(urlsplit(url).path))
    climbs = ".." in path.replace("\\", "/").split("/")
    return url.isprintable() and " " not in url and url.startswith(tuple(prefixes)) and not climbs


def is_loopback(host: str) -> bool:
    """Whether this address is reachable from this machine only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def allowed_host(host: str, origin: str, known: Sequence[str]) -> bool:
    """Whether a request's headers `Host` and `Origin` (sent by browsers; `null` if they hide it) match a server with
    these host names. `Host` reveals a foreign name that resolves to this machine (DNS rebinding), `Origin` a form sent
    by another site's page."""
    if not known:
        return True
    with suppress(ValueError):
        page = urlsplit(origin)
        return urlsplit(f"//{host}").hostname in known and (
            not origin or page.netloc == host or page.hostname in set(known) - set(LOOPBACK)
        )
    return False


def check_installed(verb: str = "regraft serve") -> None:
    """Raises: MissingExtra: a package of the extra `serve` is not installed."""
    packages = {
        "fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart",
        "prometheus_client": "prometheus-client",
    }  # fmt: skip
    for module, package in packages.items():
        if find_spec(module) is None:
            raise MissingExtra(package, "serve", f"`{verb}`")


class Refusal(RegraftError):
    """A request that is refused with the HTTP status `status`."""

    def __init__(self, status: int, message: str, *, fix: str, retry_s: float = 0.0) -> None:
        super().__init__(message, fix=fix)
        self.status = status
        self.headers = {"Retry-After": str(max(1, ceil(retry_s)))} if status == 503 else {}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"


STATUS = {
    errors.BadRequest: 400,
    errors.BadData: 422,
    errors.MissingExtra: 415,
    errors.OutOfSpace: 503,
    errors.RegraftError: 500,
}
"""HTTP status of an error; a class that is not listed has the status of its nearest listed base class."""


def refusal_of(error: RegraftError) -> Refusal:
    """Convert an error to a refusal. Errors that only the operator can fix are hidden from clients, since they may name
    files."""
    if isinstance(error, Refusal):
        return error
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    if status == 500:
        return FAULT
    if status == 503:
        return Refusal(503, "The server is out of memory.", fix="try again, or send less.")
    return Refusal(status, error.message, fix=error.fix)


FAULT = Refusal(500, "An internal server error occurred.", fix="contact the operator; the server log has the details.")
