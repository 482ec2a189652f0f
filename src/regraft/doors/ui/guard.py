"""Access control: accepts only requests from the user's browser and from this server's own pages.

A request must name this machine as its host (a foreign name that resolves to it, DNS rebinding, is refused) and have
the cookie set by the URL printed at the start. If it changes something, it must also come from a page of this server:
its Origin must be this host, and it must have the token of the server's forms.
"""

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regraft.doors.http.settings import Refusal, is_loopback

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every response: scripts only from this server, no framing, no caching."""
TOKEN = "x-regraft-token"
SAFE = ("GET", "HEAD")


@dataclass
class Guard:
    """Middleware that refuses requests that are not from the user's browser, before their body is read."""

    app: ASGIApp
    key: str = field(repr=False)
    host: str
    """Host that the server listens on."""
    cookie: str
    """Name of the cookie; it differs between ports."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = {name.lower() for name, _ in message["headers"]}
                extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(one for one in extra if one[0] not in sent)]
            await send(message)

        await (self._refused(scope) or self.app)(scope, receive, safe)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_here(host):
            return PlainTextResponse("The host name does not match this server.\n", 421)
        if scope["method"] not in SAFE and origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("The request comes from another site.\n", 403)
        given = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if scope["method"] == "GET" and scope["path"] == "/" and _same(given.get("token", ""), self.key):
            response = RedirectResponse("/", 303)
            response.set_cookie(self.cookie, self.key, max_age=31_536_000, httponly=True, samesite="strict")
            return response
        if not _same(cookie_parser(headers.get("cookie", "")).get(self.cookie, ""), self.key):
            told = "Open the address that `regraft ui` printed when it was started; it ends with a token.\n"
            return PlainTextResponse(told, 401)
        return None

    def _is_here(self, given: str) -> bool:
        """Whether the host named in a request is this machine: an IP address, or a name of its own."""
        try:
            name = urlsplit(f"//{given}").hostname or ""
        except ValueError:
            return False
        if name in ("localhost", self.host):
            return True
        try:
            number = ipaddress.ip_address(name)
        except ValueError:
            return not is_loopback(self.host) and name == socket.gethostname().lower()
        return number.is_loopback or not is_loopback(self.host)


def form_token(key: str) -> str:
    """Return the token that forms and scripts of the pages send."""
    return hmac.new(key.encode(), b"form", hashlib.sha256).hexdigest()


async def form_of(request: Request, key: str) -> Mapping[str, str]:
    """Return the non-empty fields of a form after checking its token; empty if a script sends something other than a
    form.

    Raises:
        Refusal: the token is wrong or missing.
    """
    fields, token = dict[str, str](), request.headers.get(TOKEN, "")
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        async with request.form(max_fields=100, max_part_size=1 << 20) as form:
            fields = {name: value.strip() for name, value in form.items() if isinstance(value, str) and value.strip()}
        token = fields.pop("token", token)
    if not _same(token, form_token(key)):
        raise Refusal(403, "The form is not from this server or has expired.", fix="reload the page.")
    return fields


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(errors="replace"), b.encode())
