"""Fetching weights from a plain address, against a server that misbehaves on request."""

import errno
import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer

import pytest
import torch

from regraft.backbones import fetch as fetching
from regraft.backbones.fetch import fetch
from regraft.errors import OutOfSpace, WeightsError, WeightsMissing
from regraft.values import Event, Notice, Plan, Progress

BODY = bytes(range(256)) * 1200
SHA = hashlib.sha256(BODY).hexdigest()
NAME = f"toynet-{SHA[:8]}.pth"
MIB = 1 << 20


@dataclass
class Script:
    """How the server behaves, and what it was asked."""

    body: bytes = BODY
    cut: int = 0
    """Bytes after which the answer breaks off; 0 is never."""
    status: int = 200
    gate: threading.Event | None = None
    """Before the body's second half, wait for this."""
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        request.close_connection = True
        if self.status != 200:
            request.send_error(self.status)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(self.body)))
        request.end_headers()
        sent = self.body[: self.cut or None]
        request.wfile.write(sent[: len(sent) // 2])
        if self.gate is not None:
            self.gate.wait(10)
        request.wfile.write(sent[len(sent) // 2 :])


class QuietServer(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the test."""


@pytest.fixture
def server() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with QuietServer(("127.0.0.1", 0), Handler) as tcp:
        thread = threading.Thread(target=tcp.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        script.url = f"http://127.0.0.1:{tcp.server_address[1]}/models/{NAME}"
        yield script
        tcp.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of downloads in an empty cache, with no proxy set."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "_TELL_EVERY_S", 0.02)
    return tmp_path / "cache" / "downloads"


def drained(url: str, sha256: str = SHA[:8], size_mb: float = len(BODY) / MIB) -> tuple[Path, list[Event]]:
    events: list[Event] = []
    steps = fetch(url, sha256, size_mb=size_mb)
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return end.value, events


def notices(events: list[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Notice))


def names_what_to_do(error: WeightsMissing, url: str, folder: Path) -> bool:
    return all(part in error.fix for part in (NAME, url, "0.3 MiB", SHA[:8], str(folder), "file:PATH"))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_download_arrives_whole_with_a_plan_and_progress(server: Script, folder: Path) -> None:
    path, events = drained(server.url, SHA)
    assert path == folder / NAME
    assert path.read_bytes() == BODY
    plan, progress = events[0], [event for event in events if isinstance(event, Progress)]
    assert isinstance(plan, Plan)
    assert plan.bytes_needed == len(BODY)
    assert plan.bytes_free > 0
    assert (progress[-1].done, progress[-1].total, progress[-1].seconds_left) == (len(BODY), len(BODY), 0.0)
    assert server.url in notices(events)
    assert left_in(folder) == [NAME]


def test_progress_is_told_while_the_file_arrives(server: Script) -> None:
    server.body, server.gate = BODY * 4, threading.Event()
    steps = fetch(server.url, hashlib.sha256(server.body).hexdigest(), size_mb=len(server.body) / MIB)
    half = next(event for event in steps if isinstance(event, Progress) and event.done)
    assert 0 < half.done < half.total == len(server.body)
    assert half.seconds_left is not None
    server.gate.set()
    dones = [event.done for event in steps if isinstance(event, Progress)]
    assert dones == sorted(dones)
    assert dones[-1] == len(server.body)


def test_a_file_that_is_there_is_not_asked_for_again(server: Script, folder: Path) -> None:
    drained(server.url)
    assert drained(server.url, SHA.upper()) == (folder / NAME, [])
    assert len(server.paths) == 1


def test_a_file_placed_by_hand_needs_no_network(server: Script, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(BODY)
    assert drained(server.url) == (folder / NAME, [])
    assert server.paths == []


def test_a_file_that_changed_is_named_and_fetched_again(server: Script, folder: Path) -> None:
    path, _ = drained(server.url)
    path.write_bytes(b"something else")
    again, events = drained(server.url)
    assert again.read_bytes() == BODY
    found = hashlib.sha256(b"something else").hexdigest()
    assert f"expected SHA-256 beginning with {SHA[:8]}, found {found}" in notices(events)


@pytest.mark.parametrize("body", [b"<!DOCTYPE html> please log in", BODY[:1000]])
def test_a_wrong_digest_names_both_and_leaves_nothing_behind(server: Script, folder: Path, body: bytes) -> None:
    server.body = body
    with pytest.raises(WeightsError, match=SHA[:8]) as caught:
        drained(server.url)
    assert hashlib.sha256(body).hexdigest() in caught.value.message
    assert f"{len(body):,} bytes" in caught.value.message
    assert left_in(folder) == []


def test_a_cut_connection_leaves_nothing_behind_and_the_next_run_starts_again(server: Script, folder: Path) -> None:
    server.cut = 100_000
    with pytest.raises(WeightsError, match="100,000 bytes") as caught:
        drained(server.url)
    assert "the transfer was corrupted" in caught.value.fix
    assert left_in(folder) == []
    server.cut = 0
    assert drained(server.url)[0].read_bytes() == BODY


def test_a_closed_generator_leaves_nothing_behind(server: Script, folder: Path) -> None:
    server.gate = threading.Event()
    steps = fetch(server.url, SHA, size_mb=1)
    next(event for event in steps if isinstance(event, Progress))
    steps.close()
    assert left_in(folder) == []
    server.gate.set()


@pytest.mark.parametrize("status", [401, 404, 503])
def test_a_refusal_says_which_file_to_put_where(server: Script, folder: Path, status: int) -> None:
    server.status = status
    with pytest.raises(WeightsMissing, match=f"Error {status}") as caught:
        drained(server.url)
    assert names_what_to_do(caught.value, server.url, folder)


def test_an_unreachable_host_is_named(folder: Path) -> None:
    with ThreadingTCPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        url = f"http://127.0.0.1:{closed.server_address[1]}/{NAME}"
    with pytest.raises(WeightsMissing, match="refused") as caught:
        drained(url)
    assert names_what_to_do(caught.value, url, folder)


def test_a_server_that_says_nothing_is_given_up(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "STALL_S", 0.05)
    server.gate = threading.Event()
    with pytest.raises(WeightsMissing, match=r"no data arrived for 0\.05 s"):
        drained(server.url)
    server.gate.set()


def test_a_wrong_file_that_cannot_be_replaced_stays_and_is_named(server: Script, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(b"another network")
    server.status = 404
    with pytest.raises(WeightsMissing, match=hashlib.sha256(b"another network").hexdigest()):
        drained(server.url)
    assert (folder / NAME).read_bytes() == b"another network"


def test_a_disk_without_room_is_noticed_before_the_first_byte(server: Script) -> None:
    with pytest.raises(OutOfSpace, match="are needed and") as caught:
        drained(server.url, size_mb=1e12)
    assert "REGRAFT_CACHE" in caught.value.fix
    assert server.paths == []


def test_a_disk_that_fills_up_is_named_and_leaves_nothing_behind(
    server: Script, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(url: str, dst: str, **_: object) -> None:
        Path(dst).write_bytes(b"some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch.hub, "download_url_to_file", full)
    with pytest.raises(OutOfSpace, match="No space left"):
        drained(server.url)
    assert left_in(folder) == []


def test_a_folder_that_cannot_be_written_is_named(server: Script, folder: Path) -> None:
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_text("a file where the cache should be")
    with pytest.raises(WeightsMissing, match=re.escape(str(folder.parent))) as caught:
        drained(server.url)
    assert "REGRAFT_CACHE" in caught.value.fix


def test_a_shared_cache_may_be_read_only(server: Script, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(BODY)
    folder.chmod(0o500)
    try:
        assert drained(server.url) == (folder / NAME, [])
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize(
    ("url", "sha256"),
    [
        ("file:///etc/passwd", SHA),
        ("https://weights.invalid/", SHA),
        ("https://weights.invalid/..%2F..%2Fescaped.pth", SHA),
        ("https://weights.invalid/.hidden", SHA),
        (f"https://weights.invalid/{NAME}", ""),
        (f"https://weights.invalid/{NAME}", "not hexadecimal"),
    ],
)
def test_a_declaration_that_could_do_harm_is_refused(url: str, sha256: str) -> None:
    with pytest.raises(WeightsError, match="declared"):
        drained(url, sha256)


def test_a_warm_start_loads_neither_torch_nor_a_network_client(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(BODY)
    code = (
        "import sys; from regraft.backbones.fetch import fetch; list(fetch(*sys.argv[1:], size_mb=0.3)); "
        "sys.exit(', '.join({'torch', 'huggingface_hub', 'http.client', 'urllib.request'} & set(sys.modules)) or None)"
    )
    package = Path(sys.modules["regraft"].__path__[0]).parent
    done = subprocess.run(
        [sys.executable, "-c", code, f"https://weights.invalid/{NAME}", SHA],
        env={**os.environ, "PYTHONPATH": str(package)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
