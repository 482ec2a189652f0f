"""Fetching weights, against a server that misbehaves on request."""

import email.utils
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer

import pytest

from regraft.backbones._download import Patience, fetch
from regraft.errors import BadRequest, OutOfSpace, WeightsError, WeightsMissing
from regraft.values import Event, Notice, Plan, Progress

BODY = bytes(range(256)) * 1200
SHA = hashlib.sha256(BODY).hexdigest()
NAME = f"toynet-{SHA[:8]}.pth"
MIB = 1 << 20
HASTE = Patience(timeout_s=5.0, attempts=2, pause_s=0.01, stall_s=0.05)


@dataclass
class Script:
    """How the server behaves, and what it was asked."""

    body: bytes = BODY
    etag: str | None = '"one"'
    date: str | None = None
    ranges: bool = True
    """Whether a Range is honoured."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off, one for each."""
    statuses: list[int] = field(default_factory=list)
    """Codes of the next answers, one for each."""
    shift: int = 0
    """Bytes by which an answered range begins later than was asked for."""
    silent: bool = False
    """Whether the answer hides its length."""
    gate: threading.Event | None = None
    """Before the body's second half, wait for this."""
    asked: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(dict(request.headers))
        self.paths.append(request.path)
        request.close_connection = True
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            request.send_error(status)
            return
        start, size = 0, len(self.body)
        same = request.headers.get("If-Range") in (None, self.etag or self.date)
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if self.ranges and same and asked:
            start = int(asked[1]) + self.shift
        if start >= size:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{size}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if not self.silent:
            request.send_header("Content-Length", str(size - start))
        if self.etag:
            request.send_header("ETag", self.etag)
        if self.date:
            request.send_header("Last-Modified", self.date)
        request.end_headers()
        end = min(size, start + self.cuts.pop(0)) if self.cuts else size
        half = (start + end) // 2
        request.wfile.write(self.body[start:half])
        if self.gate is not None:
            self.gate.wait(10)
        request.wfile.write(self.body[half:end])


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
    """The folder of downloads in an empty cache, with no proxy and no mirror set."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "regraft_mirror"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "downloads"


def drained(url: str, sha256: str = SHA[:8], patience: Patience = HASTE) -> tuple[Path, list[Event]]:
    events: list[Event] = []
    steps = fetch(url, sha256, size_mb=len(BODY) / MIB, patience=patience)
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return end.value, events


def until(steps: Iterator[Event], wanted: Callable[[Event], bool]) -> Event:
    return next(event for event in steps if wanted(event))


def notices(events: list[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Notice))


def names_what_to_do(error: WeightsMissing, url: str, folder: Path) -> bool:
    return all(part in error.fix for part in (NAME, url, "0.3 MiB", SHA[:8], str(folder), "REGRAFT_MIRROR"))


def test_a_download_arrives_whole_with_a_plan_and_progress(server: Script, folder: Path) -> None:
    path, events = drained(server.url, SHA)
    assert path == folder / NAME
    assert path.read_bytes() == BODY
    plan, progress = events[0], [event for event in events if isinstance(event, Progress)]
    assert isinstance(plan, Plan)
    assert plan.bytes_needed == len(BODY)
    assert plan.bytes_free > 0
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert progress[0].seconds_left is not None
    assert (progress[-1].done, progress[-1].total, progress[-1].seconds_left) == (len(BODY), len(BODY), 0.0)
    assert not list(folder.glob("*.part*"))


def test_a_file_that_is_there_is_neither_asked_for_nor_digested_again(server: Script, folder: Path) -> None:
    path, _ = drained(server.url)
    stat = path.stat()
    path.write_bytes(bytes(len(BODY)))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert drained(server.url) == (path, [])  # size and time are those of the verified file: only a digest could tell
    assert len(server.asked) == 1


def test_a_file_that_changed_after_it_was_verified_is_fetched_again(server: Script, folder: Path) -> None:
    path, _ = drained(server.url)
    path.write_bytes(b"something else")
    again, events = drained(server.url)
    assert again.read_bytes() == BODY
    assert f"expected SHA-256 beginning with {SHA[:8]}, found {hashlib.sha256(b'something else').hexdigest()}" in (
        notices(events)
    )


def test_a_file_placed_by_hand_needs_no_network(server: Script, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(BODY)
    assert drained(server.url) == (folder / NAME, [])
    assert server.asked == []


def test_a_digest_may_be_given_in_capitals(server: Script) -> None:
    assert drained(server.url, SHA.upper())[0].read_bytes() == BODY


@pytest.mark.parametrize(
    ("etag", "date", "sent"),
    [
        ('"one"', email.utils.formatdate(0, usegmt=True), '"one"'),
        (None, email.utils.formatdate(0, usegmt=True), email.utils.formatdate(0, usegmt=True)),
        ('W/"weak"', None, None),
        (None, None, None),
    ],
)
def test_a_cut_connection_is_taken_up_where_it_broke(
    server: Script, etag: str | None, date: str | None, sent: str | None
) -> None:
    server.etag, server.date, server.cuts = etag, date, [100_000]
    path, events = drained(server.url)
    assert path.read_bytes() == BODY
    assert [asked.get("Range") for asked in server.asked] == [None, "bytes=100000-"]
    assert server.asked[1].get("If-Range") == sent
    assert "was cut after 0.1 MiB of 0.3 MiB. Trying again" in notices(events)


def test_what_arrived_is_kept_for_the_next_run(server: Script, folder: Path) -> None:
    server.cuts = [100_000, 50_000]
    with pytest.raises(WeightsMissing, match=r"was cut after 0\.1 MiB of 0\.3 MiB\. Tried 2 times") as caught:
        drained(server.url)
    assert "0.1 MiB of 0.3 MiB have arrived and are kept for the next run" in caught.value.message
    assert (folder / f"{NAME}.part").read_bytes() == BODY[:150_000]
    path, events = drained(server.url)
    assert path.read_bytes() == BODY
    assert server.asked[-1]["Range"] == "bytes=150000-"
    assert isinstance(events[0], Plan)
    assert events[0].bytes_needed == len(BODY) - 150_000


def test_a_closed_generator_keeps_what_arrived_and_gives_the_lock_back(server: Script, folder: Path) -> None:
    server.gate = threading.Event()
    steps = fetch(server.url, SHA, size_mb=1, patience=HASTE)
    until(steps, lambda event: isinstance(event, Progress))
    steps.close()
    server.gate.set()
    assert 0 < (folder / f"{NAME}.part").stat().st_size < len(BODY)
    assert drained(server.url, SHA)[0].read_bytes() == BODY
    assert re.fullmatch(r"bytes=[1-9]\d*-", server.asked[-1]["Range"])


def test_a_killed_process_leaves_a_download_that_can_be_continued(server: Script, folder: Path) -> None:
    server.gate = threading.Event()
    code = "import sys; from regraft.backbones._download import fetch; list(fetch(*sys.argv[1:], size_mb=0.3))"
    package = Path(sys.modules["regraft"].__path__[0]).parent
    child = subprocess.Popen(
        [sys.executable, "-c", code, server.url, SHA], env={**os.environ, "PYTHONPATH": str(package)}
    )
    part, deadline = folder / f"{NAME}.part", time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    steps = fetch(server.url, SHA, size_mb=0.3, patience=Patience(pause_s=0.01))
    assert "Another process is fetching" in notices([next(steps)])
    child.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    child.wait()
    server.gate.set()
    until(steps, lambda event: isinstance(event, Plan))
    assert len(list(steps)) > 0
    assert (folder / NAME).read_bytes() == BODY
    assert re.fullmatch(r"bytes=[1-9]\d*-", server.asked[-1]["Range"])


def test_a_server_that_ignores_ranges_starts_again_from_the_first_byte(server: Script) -> None:
    server.ranges, server.cuts = False, [100_000]
    assert drained(server.url)[0].read_bytes() == BODY
    assert "Range" in server.asked[1]


def test_a_server_that_answers_with_another_range_is_asked_for_the_whole_file(server: Script) -> None:
    server.cuts, server.shift = [100_000], 7
    path, events = drained(server.url)
    assert path.read_bytes() == BODY
    assert "wrong digest" not in notices(events)
    assert [asked.get("Range") for asked in server.asked] == [None, "bytes=100000-", None]


def test_a_file_that_changed_on_the_server_is_not_mixed_with_its_older_half(server: Script) -> None:
    server.body, server.cuts = bytes(len(BODY)), [100_000, 1_000]
    with pytest.raises(WeightsMissing):
        drained(server.url)
    server.body, server.etag = BODY, '"two"'
    path, events = drained(server.url)
    assert path.read_bytes() == BODY
    assert "wrong digest" not in notices(events)


def test_a_continued_file_with_a_wrong_digest_is_fetched_once_more_from_the_start(server: Script) -> None:
    server.etag, server.body, server.cuts = None, bytes(len(BODY)), [100_000, 1_000]
    with pytest.raises(WeightsMissing):
        drained(server.url)
    server.body = BODY
    path, events = drained(server.url)
    assert path.read_bytes() == BODY
    assert "starting from its first byte" in notices(events)


def test_a_partial_file_that_lacks_nothing_is_accepted_without_a_byte(server: Script, folder: Path) -> None:
    server.cuts = [100_000, 1_000]
    with pytest.raises(WeightsMissing):
        drained(server.url)
    (folder / f"{NAME}.part").write_bytes(BODY)
    assert drained(server.url)[0].read_bytes() == BODY
    assert server.asked[-1]["Range"] == f"bytes={len(BODY)}-"


def test_a_partial_file_that_is_too_long_is_thrown_away(server: Script, folder: Path) -> None:
    server.cuts = [100_000, 1_000]
    with pytest.raises(WeightsMissing):
        drained(server.url)
    (folder / f"{NAME}.part").write_bytes(BODY + b"more")
    path, events = drained(server.url)
    assert path.read_bytes() == BODY
    assert "wrong digest" not in notices(events)


def test_a_partial_file_of_another_digest_is_not_continued(server: Script, folder: Path) -> None:
    server.body, server.cuts = bytes(len(BODY)), [100_000, 1_000]
    with pytest.raises(WeightsMissing):
        drained(server.url, hashlib.sha256(server.body).hexdigest())
    server.body = BODY
    assert drained(server.url)[0].read_bytes() == BODY
    assert ["Range" in asked for asked in server.asked] == [False, True, False]


def test_a_length_the_server_hides_is_taken_from_the_declaration(server: Script) -> None:
    server.silent = True
    path, events = drained(server.url)
    assert path.read_bytes() == BODY
    assert isinstance(events[-1], Progress)
    assert events[-1].total == len(BODY)


def test_a_wrong_digest_names_both_and_leaves_nothing_behind(server: Script, folder: Path) -> None:
    server.body = b"<!DOCTYPE html> please log in"
    with pytest.raises(WeightsError, match=SHA[:8]) as caught:
        drained(server.url)
    assert hashlib.sha256(server.body).hexdigest() in caught.value.message
    assert "web page" in caught.value.message
    assert not (folder / NAME).exists()
    assert not (folder / f"{NAME}.part").exists()
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server: Script) -> None:
    server.statuses = [503]
    path, events = drained(server.url)
    assert path.read_bytes() == BODY
    assert "answered 503" in notices(events)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_says_which_file_to_put_where(server: Script, folder: Path, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(WeightsMissing, match=f"answered {status}") as caught:
        drained(server.url)
    assert len(server.asked) == 1
    assert names_what_to_do(caught.value, server.url, folder)


def test_an_unreachable_host_is_tried_again_and_then_named(folder: Path) -> None:
    with ThreadingTCPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        url = f"http://127.0.0.1:{closed.server_address[1]}/{NAME}"
    with pytest.raises(WeightsMissing, match=r"refused.*\. Tried 2 times") as caught:
        drained(url)
    assert names_what_to_do(caught.value, url, folder)


def test_a_server_that_says_nothing_is_given_up(server: Script) -> None:
    server.gate = threading.Event()
    with pytest.raises(WeightsMissing, match="timed out"):
        drained(server.url, patience=Patience(timeout_s=0.05, attempts=1))
    server.gate.set()


def test_a_wrong_file_that_cannot_be_replaced_stays_and_is_named(server: Script, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(b"another network")
    server.statuses = [404]
    with pytest.raises(WeightsMissing, match=hashlib.sha256(b"another network").hexdigest()):
        drained(server.url)
    assert (folder / NAME).read_bytes() == b"another network"


def test_the_second_of_two_waits_and_then_finds_the_file(server: Script) -> None:
    server.gate = threading.Event()
    patience = Patience(pause_s=0.01)
    first = fetch(server.url, SHA, size_mb=0.3, patience=patience)
    until(first, lambda event: isinstance(event, Progress))
    second = fetch(server.url, SHA, size_mb=0.3, patience=patience)
    assert "Another process is fetching" in notices([next(second)])
    waiting = until(second, lambda event: isinstance(event, Progress))
    assert isinstance(waiting, Progress)
    assert waiting.total >= len(BODY)
    server.gate.set()
    assert isinstance(list(first)[-1], Progress)
    assert not any(isinstance(event, Plan) for event in second)
    assert len(server.asked) == 1


def test_another_process_that_receives_nothing_is_not_waited_for_for_ever(server: Script) -> None:
    server.gate = threading.Event()
    first = fetch(server.url, SHA, size_mb=0.3, patience=HASTE)
    until(first, lambda event: isinstance(event, Progress))
    with pytest.raises(WeightsMissing, match="without receiving anything") as caught:
        drained(server.url)
    assert "end that process" in caught.value.fix
    server.gate.set()
    first.close()


def test_a_disk_without_room_is_noticed_before_the_first_byte(server: Script) -> None:
    with pytest.raises(OutOfSpace, match="needs"):
        list(fetch(server.url, SHA, size_mb=1e12, patience=HASTE))
    assert server.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_fills_up_leaves_no_partial_file(server: Script, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / f"{NAME}.part").symlink_to("/dev/full")
    with pytest.raises(OutOfSpace, match="full"):
        drained(server.url)
    assert not (folder / f"{NAME}.part").is_symlink()


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
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        assert drained(server.url) == (folder / NAME, [])
    finally:
        folder.chmod(0o700)


def test_a_mirror_address_replaces_the_published_place(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_MIRROR", server.url.rpartition("/models/")[0] + "/inner mirror/")
    path, events = drained(f"https://weights.invalid/far/away/{NAME}?download=true")
    assert path.read_bytes() == BODY
    assert server.paths == [f"/inner%20mirror/{NAME}"]
    assert "/inner%20mirror/" in notices(events)


def test_a_mirror_folder_is_copied_from(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_MIRROR", str(tmp_path))
    (tmp_path / NAME).write_bytes(BODY)
    path, events = drained(f"https://weights.invalid/{NAME}")
    assert path == folder / NAME
    assert path.read_bytes() == BODY
    assert isinstance(events[-1], Progress)
    assert events[-1].done == len(BODY)


def test_a_wrong_file_in_a_mirror_folder_is_refused_and_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_MIRROR", str(tmp_path))
    (tmp_path / NAME).write_bytes(b"another network")
    with pytest.raises(WeightsError, match=hashlib.sha256(b"another network").hexdigest()):
        drained(f"https://weights.invalid/{NAME}")
    assert (tmp_path / NAME).read_bytes() == b"another network"


def test_a_mirror_that_lacks_the_file_is_not_gone_round(
    server: Script, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_MIRROR", str(tmp_path))
    with pytest.raises(WeightsMissing, match=re.escape(str(tmp_path / NAME))) as caught:
        drained(server.url)
    assert names_what_to_do(caught.value, server.url, folder)
    assert server.asked == []


@pytest.mark.parametrize("mirror", ["s3://bucket/models", "https://me:secret@mirror.invalid/models"])
def test_a_mirror_that_cannot_be_read_is_refused_without_repeating_a_password(
    mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_MIRROR", mirror)
    with pytest.raises(BadRequest, match="REGRAFT_MIRROR") as caught:
        drained(f"https://weights.invalid/{NAME}")
    assert "secret" not in str(caught.value)


def test_the_proxy_of_the_environment_is_used(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url.rpartition("/models/")[0])
    assert drained(f"http://weights.invalid/{NAME}")[0].read_bytes() == BODY
    assert server.paths == [f"http://weights.invalid/{NAME}"]


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


def test_a_warm_start_loads_neither_torch_nor_the_network_client(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(BODY)
    code = (
        "import sys; from regraft.backbones._download import fetch; list(fetch(*sys.argv[1:], size_mb=0.3)); "
        "sys.exit(', '.join({'torch', 'numpy', 'http.client', 'urllib.request'} & set(sys.modules)) or None)"
    )
    package = Path(sys.modules["regraft"].__path__[0]).parent
    done = subprocess.run(
        [sys.executable, "-c", code, f"https://weights.invalid/{NAME}", SHA],
        env={**os.environ, "PYTHONPATH": str(package)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
