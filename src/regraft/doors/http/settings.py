"""What a server is told, and how it refuses. Imports nothing heavy, so that the command line may."""

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
"""What a model may be called: it is part of an address."""
_SECRET = re.compile(r"[!-~]{16,}")
"""A token: at least 16 printable characters of ASCII."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a worker has to know; it crosses to other processes."""

    models: tuple[tuple[str, Path], ...]
    """Name and folder of each model."""
    threads: int = 0
    """CPU threads of one worker; 0: all cores."""
    device: str = "auto"
    """Where torch works, should it be needed."""
    batch: int = 16
    """Inputs that are predicted together at most; 1: each alone."""
    wait_s: float = 0.005
    """How long the first input of a batch waits for others, in seconds."""
    queue: int = 128
    """Inputs of one model that one worker has accepted and not yet predicted, at most."""
    max_inputs: int = 64
    """Inputs of one request, at most."""
    max_body: int = 32 * MIB
    """Bytes of one request's body, at most."""
    receive_s: float = 30.0
    """How long a request may take to arrive, in seconds."""
    token: str = ""
    """The bearer token that requests must carry; empty: none."""
    hosts: tuple[str, ...] = ()
    """Names that the server is known by: requests to others, or from pages of others, are refused; none: any name."""
    url_prefixes: tuple[str, ...] = ()
    """How addresses of inputs must begin; none: the server fetches nothing."""

    def __post_init__(self) -> None:
        for name, low in (("batch", 1), ("queue", 1), ("max_inputs", 1), ("max_body", 1), ("wait_s", 0)):
            if not getattr(self, name) >= low:
                raise BadRequest(f"{name} is {getattr(self, name)}; {low} or more is expected.", fix="give another.")
        if self.max_inputs > self.queue:
            raise BadRequest(
                f"A request may have {self.max_inputs} inputs, but the queue takes {self.queue}.",
                fix="raise --queue or lower --max-inputs.",
            )

    @property
    def held(self) -> int:
        """Bytes of bodies that one worker holds at most: those being read or decoded."""
        return max(4 * self.max_body, 64 * MIB)


def named_models(given: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Name and folder of each MODEL or NAME=MODEL; without a name, that of the run's folder.

    Raises:
        BadRequest: a name cannot be part of an address, or stands for two models.
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
                f"A model cannot be called {name!r} in an address; letters, digits and . _ - are expected.",
                fix=f"name it: mymodel={path}",
            )
        if name in found:
            raise BadRequest(f"Two models are called {name!r}.", fix=f"name one of them: {name}-2={path}")
        found[name] = path
    return tuple(found.items())


def read_token(path: Path | None) -> str:
    """The token in the first line of a file; empty without one.

    Raises:
        BadRequest: the file has none that is long enough.
    """
    if path is None:
        return ""
    token = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    if not _SECRET.fullmatch(token):
        raise BadRequest(
            f"{path} holds no token; at least 16 printable characters without spaces are expected in its first line.",
            fix="make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return token


def url_prefixes(given: Iterable[str]) -> tuple[str, ...]:
    """The beginnings of addresses, checked: scheme, host and a slash after it are part of each.

    Raises:
        BadRequest: one could be continued to another host, or is neither http nor https.
    """
    for one in given:
        parts = urlsplit(one)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not parts.path:
            raise BadRequest(
                f"{one!r} is not the beginning of an address; https://HOST/ with a path after it is expected.",
                fix="write https://images.example.org/photos/, for instance.",
            )
    return tuple(given)


def allowed_url(url: str, prefixes: Sequence[str]) -> bool:
    """Whether an address begins as one of `prefixes`, and does not climb out of it."""
    path = unquote(unquote(urlsplit(url).path))
    climbs = ".." in path.replace("\\", "/").split("/")
    return url.isprintable() and " " not in url and url.startswith(tuple(prefixes)) and not climbs


def is_loopback(host: str) -> bool:
    """Whether this address can be reached from this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def allowed_host(host: str, origin: str, known: Sequence[str]) -> bool:
    """Whether a request's headers `Host` and `Origin` (from browsers; `null` where they hide it) fit a server that is
    known by these names. A page elsewhere whose name was made to lead to this machine (DNS rebinding) shows by the
    former, a page that sends a form by the latter."""
    if not known:
        return True
    with suppress(ValueError):
        page = urlsplit(origin)
        return urlsplit(f"//{host}").hostname in known and (
            not origin or page.netloc == host or page.hostname in set(known) - set(LOOPBACK)
        )
    return False


def check_installed(verb: str = "regraft serve") -> None:
    """Raises: MissingExtra: a package of the extra `serve` is not there."""
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
"""HTTP status of an error; a class that is not listed has that of the nearest class above it."""


def refusal_of(error: RegraftError) -> Refusal:
    """The error as a refusal. What only the operator can mend is not told to clients: it may name files."""
    if isinstance(error, Refusal):
        return error
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    if status == 500:
        return FAULT
    if status == 503:
        return Refusal(503, "The server has too little memory for this now.", fix="try again, or send less.")
    return Refusal(status, error.message, fix=error.fix)


FAULT = Refusal(
    500, "Something is wrong on the server.", fix="tell whoever runs it; the server's log says what happened."
)
