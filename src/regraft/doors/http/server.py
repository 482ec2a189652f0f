"""Processes and sockets: one worker in this process, or several that are restarted when they die."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from dataclasses import replace
from functools import partial
from typing import Any

import h11
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors import Multiprocess

from regraft.doors.http.app import make_app
from regraft.doors.http.metrics import FOLDER
from regraft.doors.http.settings import LOOPBACK, Settings, is_loopback
from regraft.errors import BadRequest, RegraftError
from regraft.workbench.predict import opened

DRAIN_S = 60
"""Seconds for pending requests to finish after SIGTERM."""
BACKLOG = 2048
"""Maximum number of connections waiting in the system's queue; clients retry those beyond it, seconds later."""
STARTUP_FAILED = 3
"""Exit code of a worker for which a restart is useless."""


class Patient(H11Protocol):
    """Closes connections whose request, including headers, takes too long to arrive."""

    _late: asyncio.TimerHandle | None = None
    limit_s = 45.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout for a request."""
        super().connection_made(transport)
        self._late = self.loop.call_later(self.limit_s, transport.close)

    def data_received(self, data: bytes) -> None:
        """Process received data; an incomplete request keeps its deadline."""
        super().data_received(data)
        waiting = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if not waiting and self._late is not None:
            self._late.cancel()
            self._late = None
        elif waiting and self._late is None:
            self._late = self.loop.call_later(self.limit_s, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout."""
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)


def listening(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 selects a free port.

    Raises:
        BadRequest: the system refuses it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", "") or str(error)
        raise BadRequest(
            f"The server cannot listen on {host}:{port}: {said}.", fix="choose another --port or --host."
        ) from error


def worker_app(settings: Settings) -> ASGIApp:
    """Return the application of a worker process; an error ends the process with a message."""
    try:
        return make_app(settings)
    except RegraftError as error:
        sys.stderr.write(f"regraft: {error}\n")
        sys.exit(STARTUP_FAILED)


def serve(settings: Settings, host: str, port: int, *, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; accepted requests are completed.

    Raises:
        RegraftError: the address is not available, or a model cannot be loaded.
    """
    if workers < 1:
        raise BadRequest(f"workers is {workers}; it must be 1 or more.", fix="use --workers 1.")
    listener = listening(host, port)
    shown = f"[{host}]" if ":" in host else host
    names = ", ".join(name for name, _ in settings.models)
    print(f"serving {names} on http://{shown}:{listener.getsockname()[1]} (examples: /docs)", file=sys.stderr)
    if is_loopback(host):
        settings = replace(settings, hosts=(*LOOPBACK, host, *settings.hosts))
    elif not settings.token:
        print("note: anyone who can reach this machine can use the models: there is no --token-file.", file=sys.stderr)
    given: dict[str, Any] = {
        "http": Patient, "ws": "none", "log_config": None, "access_log": False, "server_header": False,
        "timeout_graceful_shutdown": DRAIN_S, "timeout_worker_healthcheck": 10, "backlog": BACKLOG,
    }  # fmt: skip
    if workers == 1:
        server = Server(Config(make_app(settings), **given))
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn handles these while serving, then raises them
            signal.signal(number, signal.SIG_IGN)
        server.run(sockets=[listener])
        return
    for _, path in settings.models:  # report errors here, once, and export prefixes for all workers
        opened(path, device=settings.device, threads=settings.threads)
    with tempfile.TemporaryDirectory(prefix="regraft-metrics-") as folder:
        os.environ[FOLDER] = folder
        config = Config(partial(worker_app, settings), factory=True, workers=workers, **given)
        Multiprocess(config, sockets=[listener]).run()
