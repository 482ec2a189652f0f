"""Servers for tests: tiny models of every linear task, a worker in a thread of this process, and requests to it."""

import base64
import contextlib
import http.client
import json
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from uvicorn import Config, Server

import regraft
from kinds import LABELS, posed
from regraft.bundles.bundle import Bundle, golden_logits, load, prefixes_of, write_bundle
from regraft.doors.http.app import make_app
from regraft.doors.http.doorkeeper import Doorkeeper
from regraft.doors.http.server import Patient, listening
from regraft.doors.http.settings import Settings


@dataclass(frozen=True)
class Reply:
    """What a server sent back."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


class Running:
    """A worker that listens on a port of this machine."""

    def __init__(self, port: int, app: Any = None) -> None:
        self.port, self.app = port, app

    def ask(self, path: str, body: Any = None, *, method: str = "", headers: Mapping[str, str] | None = None) -> Reply:
        """One request; a mapping is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {} if headers is None else dict(headers)
        if isinstance(body, Mapping):
            body, sent = json.dumps(body), {"Content-Type": "application/json", **sent}
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
            found = connection.getresponse()
            return Reply(found.status, found.read(), dict(found.getheaders()))
        finally:
            connection.close()

    def predict(self, model: str, *files: Path, query: str = "") -> Reply:
        """Ask for predictions of files, as a form."""
        body, kind = form({path.name: path.read_bytes() for path in files})
        return self.ask(f"/v1/models/{model}/predict{query}", body, headers={"Content-Type": kind})


def form(files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """A form of files, and its media type."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n"
        for name, data in files.items()
    ]
    return b"".join(parts) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def in_base64(data: bytes) -> dict[str, str]:
    """An input in JSON."""
    return {"base64": base64.b64encode(data).decode()}


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a hundred bytes that announces 10 GB of pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"0")),
              (b"IEND", b"")]  # fmt: skip
    coded = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
             for kind, data in chunks]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(coded)


def draw(root: Path, count: int) -> list[Path]:
    """Noisy images whose brightness follows their number."""
    root.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        pixels = np.random.default_rng(number).normal(50 + 60 * (number % 3), 30, (40, 44, 3))
        made.append(root / f"{number:02d}.{'png' if number % 2 else 'jpg'}")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(made[-1])
    return made


def one_model(root: Path) -> Path:
    """The run of a tiny classifier of drawn images."""
    for number, path in enumerate(draw(root / "images", 24)):
        folder = root / "sorted" / LABELS["classification"][0][number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    fitted = regraft.fit(
        root / "sorted", backbone="googlenet:tiny@random", strategy="probe", input_px=32, threads=1, folds=2,
        max_repeats=1, out=root / "run", quiet=True,
    )  # fmt: skip
    return Path(fitted.path)


def models_of(root: Path) -> dict[str, Path]:
    """A tiny model of every linear task, by its name: one that was trained, and others with drawn heads on its
    network."""
    made = {"classification": one_model(root)}
    first = load(made["classification"], threads=1)
    for kind in set(LABELS) - set(made):
        task, _ = posed(kind, np.arange(24) % 3)
        draws = np.random.default_rng(1)
        shape = (task.num_outputs, first.card.width)
        head = {"weight": draws.normal(0, 0.3, shape).astype(np.float32), "bias": np.zeros(shape[0], np.float32)}
        model = replace(first.model, task=task, head=head)
        prefixes = prefixes_of(model.backbone, task.reads, device="cpu", backend="auto", threads=1)
        golden = golden_logits(Bundle(model, {}, prefixes, 1))
        made[kind] = root / kind
        made[kind].mkdir()
        write_bundle(made[kind], model, facts={"metrics": {}}, golden=golden, backend=first.backend_name)
    return made


@contextlib.contextmanager
def running(models: Mapping[str, Path], limit_s: float = 45.0, **settings: Any) -> Iterator[Running]:
    """A worker while it lasts; it is drained at the end."""
    app = make_app(Settings(models=tuple(models.items()), threads=1, **settings))
    assert isinstance(app, Doorkeeper)
    listener = listening("127.0.0.1", 0)
    patient = type("Quick", (Patient,), {"limit_s": limit_s})
    server = Server(Config(app, http=patient, ws="none", log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield Running(listener.getsockname()[1], app)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()
        assert not thread.is_alive()


class Process(Running):
    """`regraft serve` in a process of its own, until the `with` ends, which asks it to stop."""

    def __init__(self, *arguments: str, env: Mapping[str, str], folder: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "regraft", "serve", *arguments, "--port", "0"], env=dict(env), text=True, cwd=folder,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        self.pid, self.code = self._process.pid, 0
        assert self._process.stderr is not None
        self.told = self._process.stderr.readline()
        super().__init__(int(self.told.rpartition(" (")[0].rpartition(":")[2]))

    def __enter__(self) -> "Process":
        self.until(lambda: self.ask("/ready").status == 200)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self.code = self._process.wait(timeout=60)
        assert self._process.stderr is not None
        self.told += self._process.stderr.read()
        self._process.stderr.close()

    def stop(self) -> None:
        """Ask it to stop, and do not wait."""
        self._process.send_signal(signal.SIGTERM)

    def workers(self) -> list[int]:
        """The processes of its workers."""
        children = [one for one in psutil.Process(self.pid).children() if one.status() != psutil.STATUS_ZOMBIE]
        return [one.pid for one in children if "spawn_main" in " ".join(one.cmdline())]

    def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for something to become true."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, psutil.Error):
                if true():
                    return
            assert time.monotonic() < end
            time.sleep(0.1)
