"""Server of the web interface: one process, until Ctrl-C. Running jobs continue without it."""

import sys
import webbrowser
from pathlib import Path

from uvicorn import Config, Server

from regraft.doors.http.server import listening
from regraft.doors.http.settings import is_loopback
from regraft.doors.ui.app import web_app
from regraft.errors import RunError
from regraft.files import Lock


def serve(folder: Path, host: str, port: int, *, open_: bool) -> None:
    """Serve the web interface for `folder`.

    Raises:
        RunError: another server uses this folder.
        BadRequest: the address is not available.
    """
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with Lock(folder / "queue" / ".lock") as held:
        if not held:
            raise RunError(f"Another regraft ui is using {folder}.", fix="use that one, or choose another folder.")
        listener = listening(host, port)
        bound = listener.getsockname()[1]
        app = web_app(folder.resolve(), host, f"regraft-{bound}")
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{bound}/?token={app.key}"
        print(
            f"{folder} is served at {address}\nCtrl-C stops the server; running jobs continue.",
            file=sys.stderr,
            flush=True,
        )
        if not is_loopback(host):
            print(
                "note: anyone with this address can read and train here; the connection is not encrypted.",
                file=sys.stderr,
            )
        if open_:
            webbrowser.open(address)
        config = Config(app, ws="none", log_config=None, access_log=False, server_header=False,
                        timeout_graceful_shutdown=3)  # fmt: skip
        Server(config).run(sockets=[listener])
