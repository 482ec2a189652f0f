"""What nobody should send to a server: it is refused with a reason, costs little, and harms no one else."""

import http.client
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("python_multipart", reason="the extra `serve` is not installed")

from cases.hostile import OTHERS, damaged, images
from doors.serving import Running, bomb, draw, form, in_base64, one_model, running
from regraft.doors.http.settings import Settings, allowed_url, named_models, read_token, url_prefixes
from regraft.errors import BadRequest

PLACE = "/v1/models/ants/predict"
TOKEN = "a token of sixteen-and-more".replace(" ", "-")
JSON = {"Content-Type": "application/json"}
BYTES = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_model(tmp_path_factory.mktemp("limited"))


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Running]:
    limits = {"max_body": 200_000, "max_inputs": 3, "receive_s": 1.0, "limit_s": 2.0}
    with running({"ants": model}, **limits) as found:
        yield found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return draw(tmp_path_factory.mktemp("one"), 1)[0].read_bytes()


def told(reply: Any, status: int) -> str:
    """The message of a refusal, which has a fix and tells no secrets."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/json"
    text = reply.body.decode()
    assert not any(secret in text for secret in ("Traceback", "/src/", "site-packages", ".py", "/" + "tmp/"))
    error = reply.json["error"]
    if isinstance(error, str):
        return error
    assert error["fix"]
    return str(error["message"])


def alive(server: Running, data: bytes) -> None:
    """The server predicts, and holds on to nothing."""
    assert server.ask(PLACE, data, headers=BYTES).status == 200
    assert server.app.worker.gate.held == server.app.worker.models["ants"].pending == 0


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e", "ants%00", "ants/../ants", "bees"]
)
def test_a_name_is_no_path(name: str, server: Running) -> None:
    for place in (f"/v1/models/{name}", f"/v2/models/{name}"):
        assert told(server.ask(place), 404)
    told(server.ask(f"/v1/models/{name}/predict", {"inputs": []}), 404)


HOSTILE = {
    "no JSON": (b"{", JSON), "not UTF-8": (b'{"inputs": ["\xff"]}', JSON), "deep": (b"[" * 100_000, JSON),
    "a list": (b"[]", JSON), "no inputs": (b'{"inputs": []}', JSON), "too many": (b'{"inputs": [1, 2, 3, 4]}', JSON),
    "a number": (b'{"inputs": [1]}', JSON), "a path": (b'{"inputs": ["/etc/passwd"]}', JSON),
    "a path in an object": (b'{"inputs": [{"path": "/etc/passwd"}]}', JSON),
    "no base64": (b'{"inputs": [{"base64": "%%%"}]}', JSON), "wrong kinds": (b'{"inputs": [{"base64": 1}]}', JSON),
    "wrong contents": (b'{"inputs": [{"contents": {"text": "a"}}]}', JSON),
    "two kinds": (b'{"inputs": [{"base64": "", "url": ""}]}', JSON),
    "an id": (b'{"inputs": [{"id": 1, "base64": ""}]}', JSON),
    "no form": (b"--edge", {"Content-Type": "multipart/form-data; boundary=edge"}),
    "no boundary": (b"x", {"Content-Type": "multipart/form-data"}),
    "an empty form": (b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}),
    "a text in a form": (b'--edge\r\nContent-Disposition: form-data; name="file"\r\n\r\n/etc/passwd\r\n--edge--\r\n',
                         {"Content-Type": "multipart/form-data; boundary=edge"}),
    "an odd charset": (b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge; charset=nonsense"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_body_that_is_not_as_described_is_refused(name: str, server: Running, data: bytes) -> None:
    body, headers = HOSTILE[name]
    told(server.ask(PLACE, body, headers=headers), 400)
    alive(server, data)


def test_another_type_of_body_is_refused(server: Running) -> None:
    assert "text/html" in told(server.ask(PLACE, b"x", headers={"Content-Type": "text/html"}), 415)


@pytest.mark.parametrize("file", [bomb(), *OTHERS], ids=lambda one: repr(one[:12]))
def test_what_is_no_image_is_refused(file: bytes, server: Running) -> None:
    assert "cannot be decoded" in told(server.ask(PLACE, file, headers=BYTES), 422)


def test_damaged_images_are_refused_or_predicted(server: Running, data: bytes) -> None:
    seen = set()
    for number in range(60):
        draws = random.Random(number)
        reply = server.ask(PLACE, damaged(images(draws), draws), headers=BYTES)
        seen.add(reply.status)
        if reply.status != 200:
            told(reply, reply.status)
    assert seen <= {200, 415, 422}
    alive(server, data)


def test_file_names_of_a_form_are_only_echoed(server: Running, data: bytes) -> None:
    body, kind = form({"../../x.png": data, "": data, "a\\b:c": data})
    said = server.ask(PLACE, body, headers={"Content-Type": kind}).json["predictions"]
    assert [one["label"] is not None for one in said] == [True] * len(said)
    assert said[0]["id"] == "../../x.png"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body_is_refused_before_it_is_taken(chunked: bool, server: Running, data: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", PLACE)
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(10**12))))
    connection.endheaders()
    if chunked:
        for _ in range(4):
            connection.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")
    reply = connection.getresponse()
    assert reply.status == 413
    connection.close()
    alive(server, data)


def test_a_form_of_too_many_files_is_refused(server: Running, data: bytes) -> None:
    body, kind = form({str(number): data[:100] for number in range(4)})
    assert "Too many files" in told(server.ask(PLACE, body, headers={"Content-Type": kind}), 400)


def test_a_slow_body_is_refused_and_a_slow_head_closed_while_others_are_served(server: Running, data: bytes) -> None:
    begun = time.monotonic()
    slow, idle = (socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(2))
    slow.sendall(f"POST {PLACE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx".encode())
    idle.sendall(b"GET /health HTTP/1.1\r\nHo")
    alive_at_once = server.ask(PLACE, data, headers=BYTES)
    assert alive_at_once.status == 200
    assert b"408" in slow.recv(1000).split(b"\r\n")[0]
    assert idle.recv(1000) == b""
    assert time.monotonic() - begun < 15
    slow.close()
    idle.close()
    alive(server, data)


def test_a_client_that_leaves_harms_nobody(server: Running, data: bytes) -> None:
    for _ in range(3):
        gone = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        gone.sendall(f"POST {PLACE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx".encode())
        gone.close()
    time.sleep(0.1)
    alive(server, data)


@pytest.mark.parametrize("asked", ["abstain=2", "abstain=-1", "abstain=x", "abstain=nan"])
def test_parameters_out_of_range_are_refused(asked: str, server: Running, data: bytes) -> None:
    assert "abstain" in told(server.ask(f"{PLACE}?{asked}", data, headers=BYTES), 400)


ODD = {
    "no tensor": {}, "another name": {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": [""]}]},
    "another type": {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1], "data": [1.0]}]},
    "too many": {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [10**9], "data": []}]},
    "another length": {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [2], "data": [""]}]},
    "no numbers": {"inputs": [{"name": "input", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": ["a", "b", "c"]}]},
    "large numbers": {"inputs": [{"name": "input", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 0, 256]}]},
    "huge numbers": {"inputs": [{"name": "input", "datatype": "UINT8", "shape": [1, 1], "data": [10**40]}]},
    "a negative shape": {"inputs": [{"name": "input", "datatype": "UINT8", "shape": [-1, 3], "data": []}]},
    "binary that is not there": {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [1],
                                             "parameters": {"binary_data_size": 99}}]},
    "parameters": {"inputs": [], "parameters": []},
    "abstain": {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [1], "data": [""]}],
                "parameters": {"abstain": "much"}},
    "an output": {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [1], "data": [""]}], "outputs": [7]},
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_the_inference_protocol_refuses_what_it_does_not_say(name: str, server: Running, data: bytes) -> None:
    told(server.ask("/v2/models/ants/infer", ODD[name]), 400)
    alive(server, data)


@pytest.mark.parametrize("length", ["-1", "x", "999999"])
def test_the_length_of_its_head_is_checked(length: str, server: Running) -> None:
    told(server.ask("/v2/models/ants/infer", b"{}", headers={"Inference-Header-Content-Length": length}), 400)


def test_an_array_that_is_no_image_is_refused(server: Running) -> None:
    tensor = {"name": "input", "datatype": "UINT8", "shape": [1, 2, 2, 7], "data": [0] * 28}
    assert "shape (2, 2, 7)" in told(server.ask("/v2/models/ants/infer", {"inputs": [tensor]}), 422)


def test_addresses_that_are_not_there_and_methods_that_are_not_meant_are_refused(server: Running) -> None:
    told(server.ask("/nothing"), 404)
    reply = server.ask(PLACE)
    told(reply, 405)
    assert reply.headers["allow"] == "POST"


def test_a_full_queue_says_when_to_come_again_and_loses_nothing(model: Path, data: bytes) -> None:
    with running({"ants": model}, queue=4, max_inputs=4, batch=1) as server:
        served = server.app.worker.models["ants"]
        go, plain = threading.Event(), served.bundle.predict_prepared

        def held(pieces: Any) -> Any:
            go.wait(20)
            return plain(pieces)

        served.bundle.predict_prepared = held  # type: ignore[method-assign]
        with ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(server.ask, PLACE, data, headers=BYTES) for _ in range(12)]
            while sum(one.done() for one in asked) < 8:
                time.sleep(0.01)
            refusals = [one.result() for one in asked if one.done()]
            told(server.ask(PLACE, {"inputs": [in_base64(data)] * 2}), 503)
            assert server.ask("/health").status == 200
            go.set()
            replies = [one.result() for one in asked]
        assert all("queue" in told(one, 503) and int(one.headers["retry-after"]) >= 1 for one in refusals)
        assert sorted(one.status for one in replies) == [200] * 4 + [503] * 8
        assert served.pending == 0


def test_bodies_together_take_bounded_memory(model: Path, data: bytes) -> None:
    with running({"ants": model}) as server:
        server.app.worker.gate.held = server.app.worker.settings.held - 10
        told(server.ask(PLACE, data, headers=BYTES), 503)
        server.app.worker.gate.held = 0
        alive(server, data)


def test_a_fault_of_ours_is_told_without_its_traceback_and_stops_nobody(
    model: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with running({"ants": model}) as server:
        bundle = server.app.worker.models["ants"].bundle
        bundle.predict_prepared = lambda pieces: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        assert "internal server error" in told(server.ask(PLACE, data, headers=BYTES), 500)
        del bundle.predict_prepared
        alive(server, data)
    assert "ZeroDivisionError" in caplog.text


def test_a_token_is_asked_of_all_but_health(model: Path, data: bytes) -> None:
    with running({"ants": model}, token=TOKEN) as server:
        for path in ("/health", "/ready", "/v2/health/live", "/v2/health/ready"):
            assert server.ask(path).status == 200
        for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/v2", "/nothing"):
            reply = server.ask(path)
            told(reply, 401)
            assert reply.headers["www-authenticate"] == "Bearer"
            assert server.ask(path, headers={"Authorization": f"Bearer {TOKEN}"}).status != 401
        for wrong in ("", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é"):
            headers = {**BYTES, "Authorization": wrong.encode().decode("latin-1")}
            told(server.ask(PLACE, data, headers=headers), 401)
        assert server.ask(PLACE, data, headers={**BYTES, "Authorization": f"bearer {TOKEN}"}).status == 200
        # What is refused is read all the same: where it is not, the client's system reports an error instead.
        told(server.ask(PLACE, bytes(20_000_000), headers=BYTES), 401)


def test_pages_of_other_sites_and_names_that_were_made_to_lead_here_are_refused(model: Path) -> None:
    with running({"ants": model}, hosts=("127.0.0.1", "localhost", "::1", "models.example.org")) as server:
        own = f"127.0.0.1:{server.port}"
        for host, origin in (("evil.example", ""), ("127.0.0.1.evil.example", ""), (own, "http://evil.example"),
                             (own, "null"), (own, "http://127.0.0.1:1"), ("[::1", "")):  # fmt: skip
            told(server.ask("/v1/models", headers={"Host": host, **({"Origin": origin} if origin else {})}), 403)
        for host, origin in ((own, ""), (own, f"http://{own}"), ("LOCALHOST:99", ""), ("[::1]:80", ""),
                             ("models.example.org", "https://models.example.org")):  # fmt: skip
            assert (
                server.ask("/v1/models", headers={"Host": host, **({"Origin": origin} if origin else {})}).status == 200
            )


@pytest.fixture
def elsewhere(data: bytes) -> Iterator[str]:
    """Another server, which has an image, a redirect, and too much."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if "away" in self.path else 200)
            self.send_header("Location", "/photos/a.jpg")
            self.end_headers()
            self.wfile.write(bytes(300_000) if "large" in self.path else data)

        def log_message(self, *_: Any) -> None:
            pass

    other = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=other.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{other.server_port}"
    other.shutdown()
    thread.join()
    other.server_close()


def test_addresses_are_fetched_only_where_that_is_allowed(
    model: Path, data: bytes, elsewhere: str, server: Running
) -> None:
    told(server.ask(PLACE, {"inputs": [{"url": f"{elsewhere}/photos/a.jpg"}]}), 403)
    with running({"ants": model}, url_prefixes=(f"{elsewhere}/photos/",), max_body=200_000) as found:

        def asked(url: str) -> Any:
            return found.ask(PLACE, {"inputs": [{"url": url}]})

        said = asked(f"{elsewhere}/photos/a.jpg").json["predictions"]
        assert said == found.ask(PLACE, data, headers=BYTES).json["predictions"]
        told(asked(f"{elsewhere}/secrets"), 403)
        told(asked("file:///etc/passwd"), 403)
        told(asked(f"{elsewhere}/photos/away"), 400)
        told(asked(f"{elsewhere}/photos/large"), 413)


def test_an_address_may_not_climb_out_of_what_is_allowed() -> None:
    prefixes = url_prefixes(["https://images.example.org/photos/"])
    assert allowed_url("https://images.example.org/photos/a.jpg?x=..", prefixes)
    for url in ("https://images.example.org/photos/../secrets", "https://images.example.org/photos/%2e%2e/x",
                "https://images.example.org/photos/%252e%252e/x", "https://images.example.org/photos/..\\x",
                "https://images.example.org.evil.org/photos/", "https://images.example.org/photos/a b",
                "https://images.example.org/photos/\r\nHost: x", "ftp://images.example.org/photos/"):  # fmt: skip
        assert not allowed_url(url, prefixes)
    for wrong in ("images.example.org", "https://images.example.org", "file:///x/", "https://a@b/"):
        with pytest.raises(BadRequest, match="not a URL prefix"):
            url_prefixes([wrong])


def test_what_the_command_is_given_is_checked(tmp_path: Path) -> None:
    (tmp_path / "runs" / "ants" / "model").mkdir(parents=True)
    (tmp_path / "a=b").mkdir()
    run = tmp_path / "runs" / "ants"
    assert named_models([str(run)]) == named_models([f"ants={run}"]) == (("ants", run),)
    assert named_models([str(run / "model")]) == (("ants", run / "model"),)
    for given, said in (
        ([str(run), str(run)], "Two models"),
        (["a b=x"], "is not a valid"),
        (["=x"], "is not a valid"),
        ([str(tmp_path / "a=b")], "is not a valid"),
    ):
        with pytest.raises(BadRequest, match=said):
            named_models(given)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "short").write_text("secret")
    assert read_token(tmp_path / "token") == TOKEN
    with pytest.raises(BadRequest, match="contains no token"):
        read_token(tmp_path / "short")
    with pytest.raises(BadRequest, match="queue is 0"):
        Settings(models=(), queue=0)
    with pytest.raises(BadRequest, match="the queue takes 2"):
        Settings(models=(), queue=2, max_inputs=3)


def test_a_port_in_use_is_named(model: Path) -> None:
    from regraft.doors.http.server import serve

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadRequest, match="cannot listen on"):
        serve(Settings(models=(("ants", model),)), "127.0.0.1", taken.getsockname()[1], workers=1)
