"""Access control: checks the headers of a request before its body is read."""

import asyncio
import hmac
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regraft.doors.http.settings import Refusal, allowed_host

if TYPE_CHECKING:
    from regraft.doors.http.app import Worker

OPEN = frozenset({"/health", "/ready", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no token, for process managers and health checks."""


LINGER_S = 1.0
"""Time allowed for the rest of a refused body to arrive, in seconds."""


@dataclass
class Doorkeeper:
    """Middleware that checks the token and origin of every request before its body is read, and counts responses."""

    app: ASGIApp
    worker: "Worker"
    token: bytes = field(repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, settings = time.perf_counter(), 500, self.worker.settings
        headers = dict(scope["headers"])
        left = b"expect" not in headers and len(headers.get(b"content-length", b"")) <= len(str(settings.max_body))

        async def heard() -> Message:
            nonlocal left
            message = await receive()
            left = left and message.get("more_body", False)
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400 and status != 408:  # 408: the client was too slow already
                    await passed_over()
            await send(message)

        async def passed_over() -> None:
            """Read the rest of a refused body. If a connection is closed with unread data, the client gets a connection
            error and loses the response."""
            size = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while left and size <= settings.max_body:
                        size += len((await heard()).get("body", b""))

        try:
            if (error := self._refusal(headers, scope["path"])) is None:
                await self.app(scope, heard, noted)
            else:
                await refused(error, scope["path"])(scope, heard, noted)
        finally:
            name = scope.get("path_params", {}).get("name", "")
            self.worker.meters.done(name if name in self.worker.models else "", status, time.perf_counter() - began)

    def _refusal(self, headers: Mapping[bytes, bytes], path: str) -> Refusal | None:
        """Return the reason to refuse a request, if any: it was sent by a page of another site, or its token is
        wrong."""
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        if not allowed_host(host, origin, self.worker.settings.hosts):
            said = "The Host header does not match this server, or the request comes from a page of another site."
            return Refusal(403, said, fix="use the server's address; --allow-host adds a host name.")
        if not self.token or path in OPEN:
            return None
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if hmac.compare_digest(token.strip(), self.token) and scheme.lower() == b"bearer":
            return None
        return Refusal(401, "The token is missing or wrong.", fix="send the header Authorization: Bearer TOKEN.")


def refused(error: Refusal, path: str) -> JSONResponse:
    """Return the response to a refused request, in the format of its protocol."""
    said = {"message": error.message, "fix": error.fix}
    body = {"error": f"{error.message} {error.fix}"} if path.startswith("/v2") else {"error": said}
    return JSONResponse(body, error.status, error.headers)
