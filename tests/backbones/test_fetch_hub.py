"""Weights from the Hugging Face hub, against a small hub on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from problems import opened
from regraft.backbones.fetch import HubFile, fetch_from_hub, hub_address, hub_library
from regraft.backbones.opening import open_backbone, parse
from regraft.errors import BadRequest, UnknownName, WeightsError, WeightsMissing
from regraft.values import Event, Notice

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BODY = bytes(range(256)) * 800


@dataclass
class Hub:
    """What the hub holds, how it behaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=lambda: {"model.safetensors": BODY})
    told: dict[str, str] = field(default_factory=dict)
    """Digests that it tells instead of the right ones."""
    licence: str = "apache-2.0"
    cut: int = 0
    """Bytes after which the next download breaks off; 0 is never."""
    statuses: list[int] = field(default_factory=list)
    """Codes of the next replies about a revision."""
    refused: int = 0
    """Status of the replies about a file; 0 is none."""
    code: str = ""
    """The hub's own code of why it refuses."""
    elsewhere: str = ""
    """Start of the address that downloads are sent on to."""
    page: bytes = b""
    """What it answers instead of what it should tell."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, {name.title(): value for name, value in request.headers.items()}))
        if request.path.startswith("/api/models/owner/net/revision/"):
            if self.statuses:
                request.send_error(self.statuses.pop(0))
            else:
                self._tell(request)
        elif self.refused:
            request.send_response(self.refused)
            request.send_header("X-Error-Code", self.code)
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif self.elsewhere and request.path.startswith("/owner/"):
            request.send_response(302)
            request.send_header("Location", self.elsewhere + request.path)
            request.send_header("X-Repo-Commit", COMMIT)
            name = request.path.rpartition("/")[2]
            request.send_header("X-Linked-Etag", hashlib.sha256(self.files[name]).hexdigest())
            request.send_header("X-Linked-Size", str(len(self.files[name])))
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif (name := request.path.partition(f"/resolve/{COMMIT}/")[2]) in self.files:
            self._send(request, self.files[name])
        else:
            request.send_error(404)

    def _tell(self, request: BaseHTTPRequestHandler) -> None:
        siblings: list[dict[str, Any]] = [{"rfilename": "README.md", "size": 3}]
        for name, body in self.files.items():
            sha256 = self.told.get(name, hashlib.sha256(body).hexdigest())
            lfs = {"lfs": {"sha256": sha256, "size": len(body), "pointerSize": 9}} if sha256 else {}
            siblings.append({"rfilename": name, "size": len(body), **lfs})
        told = {"id": "owner/net", "sha": COMMIT, "siblings": siblings, "cardData": {"license": self.licence}}
        body = self.page or json.dumps(told).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _send(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        start = int(request.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        request.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        if request.command == "GET":
            cut, self.cut = self.cut, 0
            request.wfile.write(body[start : start + cut] if cut else body[start:])
        request.close_connection = True


def serving(hub: Hub) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    return server


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = Hub()
    with serving(made) as server:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        yield made
        server.shutdown()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def drained(text: str) -> tuple[HubFile, list[Event]]:
    steps, events = fetch_from_hub(text), list[Event]()
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            return stop.value, events


def folder(tmp_path: Path, revision: str = "main") -> Path:
    return tmp_path / "cache" / "downloads" / "hf" / "owner" / "net" / revision


def test_a_file_is_fetched_at_the_commit_that_the_hub_tells(hub: Hub, tmp_path: Path) -> None:
    found, events = drained("owner/net")
    assert found.path == folder(tmp_path) / "model.safetensors"
    assert found.path.read_bytes() == BODY
    assert found.source == f"{hub.url}/owner/net/blob/{COMMIT}/model.safetensors"
    assert found.licence == "apache-2.0"
    assert set(hub.paths()) == {
        "/api/models/owner/net/revision/main?blobs=true", f"/owner/net/resolve/{COMMIT}/model.safetensors",
    }  # fmt: skip
    assert [path.name for path in found.path.parent.rglob("*") if path != found.path] == ["hub.json"]
    assert any(isinstance(event, Notice) and COMMIT in event.text for event in events)


def test_a_second_time_needs_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = drained("owner/net")
    asked = len(hub.asked)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    again, events = drained("owner/net")
    assert (again.path, events) == (first.path, [])
    assert len(hub.asked) == asked


def test_nothing_is_said_of_this_machine_and_no_address_but_the_hubs_is_asked(hub: Hub) -> None:
    drained("owner/net")
    agents = {headers["User-Agent"] for _, headers in hub.asked}
    assert not any(word in agent.lower() for agent in agents for word in ("torch", "numpy", "agent"))


def test_huggingface_hub_is_imported_with_its_telemetry_off() -> None:
    code = "from regraft.backbones.fetch import hub_library; assert hub_library().constants.HF_HUB_DISABLE_TELEMETRY"
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    package = str(Path(sys.modules["regraft"].__path__[0]).parent)
    subprocess.run([sys.executable, "-c", code], env={**environment, "PYTHONPATH": package}, check=True, timeout=60)


def test_an_interrupted_download_is_taken_up_where_it_broke(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_library()
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut = 100_000
    found, _ = drained("owner/net")
    assert found.path.read_bytes() == BODY
    assert hub.asked[-1][1]["Range"] == "bytes=100000-"


def test_a_file_with_another_digest_than_the_hub_tells_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.told = {"model.safetensors": "ab" * 32}
    with pytest.raises(WeightsError, match="expected SHA-256 abab"):
        drained("owner/net")
    assert not (folder(tmp_path) / "model.safetensors").exists()


def test_a_file_without_a_digest_is_refused(hub: Hub) -> None:
    hub.told = {"model.safetensors": ""}
    with pytest.raises(WeightsError, match=r"lists no SHA-256 for model\.safetensors"):
        drained("owner/net")


def test_a_revision_and_a_file_can_be_named(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"a/one.pth": b"one" * 100, "two.pth": b"two" * 100}
    found, _ = drained("owner/net/a/one.pth@v1.0")
    assert found.path == folder(tmp_path, "v1.0") / "a" / "one.pth"
    assert found.path.read_bytes() == b"one" * 100
    assert "/revision/v1.0?" in hub.paths()[0]
    drained("owner/net/two.pth@refs/pr/1")
    assert any("/revision/refs%2Fpr%2F1?" in path for path in hub.paths())


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["pytorch_model.bin", "model.safetensors", "other.safetensors"], "model.safetensors"),
        (["net.safetensors", "one.pth", "two.pth"], "net.safetensors"),
        (["pytorch_model.bin", "flax_model.msgpack"], "pytorch_model.bin"),
        (["bvlc_googlenet.caffemodel"], "bvlc_googlenet.caffemodel"),
    ],
)
def test_a_repositorys_own_file_of_weights_is_found(names: list[str], chosen: str, hub: Hub) -> None:
    hub.files = {name: name.encode() * 100 for name in names}
    assert drained("owner/net")[0].path.name == chosen


def test_where_there_are_several_one_is_to_be_named(hub: Hub) -> None:
    hub.files = {"one.pth": b"1", "two.pth": b"2"}
    with pytest.raises(BadRequest, match=r"has one\.pth, two\.pth") as raised:
        drained("owner/net")
    assert raised.value.fix == "choose one: hf:owner/net/FILE."
    with pytest.raises(UnknownName, match=r"did you mean 'two\.pth'"):
        drained("owner/net/tow.pth")


def test_a_name_that_leads_out_of_the_folder_is_passed_over(hub: Hub) -> None:
    hub.files = {"../../escaped.safetensors": b"1"}
    with pytest.raises(BadRequest, match="has no weights file"):
        drained("owner/net")


@pytest.mark.parametrize(
    "text", ["", "owner", "owner/", "../net", "owner/net/../x", "owner/net@", "owner/.net", "a b/c"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="not an address on the Hugging Face Hub"):
        hub_address(text)
    with pytest.raises(BadRequest, match="not an address on the Hugging Face Hub"):
        parse(f"googlenet@hf:{text}")


def test_offline_the_error_says_where_to_put_the_file(offline: None, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="Connection refused") as raised:
        drained("owner/net/model.safetensors")
    assert str(folder(tmp_path)) in raised.value.fix
    assert "http://127.0.0.1:9/owner/net/tree/main" in raised.value.fix
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / "model.safetensors").write_bytes(BODY)
    for text in ("owner/net/model.safetensors", "owner/net"):
        found, events = drained(text)
        assert found.path.read_bytes() == BODY
        assert any(isinstance(event, Notice) and "not compared with the hub's" in event.text for event in events)


def test_the_hub_is_not_asked_where_that_is_forbidden(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_library()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # set by HF_HUB_OFFLINE=1 at its import
    with pytest.raises(WeightsMissing, match="HF_HUB_OFFLINE"):
        drained("owner/net")
    assert hub.asked == []


@pytest.mark.parametrize(("status", "said"), [(404, "returned 404"), (401, "HF_TOKEN"), (403, "HF_TOKEN")])
def test_a_refusal_is_final(status: int, said: str, hub: Hub, tmp_path: Path) -> None:
    hub.statuses = [status]
    with pytest.raises(WeightsMissing, match=said) as raised:
        drained("owner/net")
    assert len(hub.asked) == 1
    assert str(folder(tmp_path)) in raised.value.fix


@pytest.mark.parametrize("code", ["", "GatedRepo"])
def test_a_gated_repository_whose_files_are_refused_asks_for_a_token(code: str, hub: Hub, tmp_path: Path) -> None:
    hub.refused, hub.code = 403, code
    with pytest.raises(WeightsMissing, match="returned 403") as raised:
        drained("owner/net")
    assert "HF_TOKEN" in raised.value.fix
    assert str(folder(tmp_path)) in raised.value.fix
    assert "SHA-256" in raised.value.fix


@pytest.mark.parametrize(("body", "said"), [(b"<html>", "JSONDecodeError"), (b"{}", "KeyError")])
def test_an_answer_that_is_not_the_hubs_is_named(body: bytes, said: str, hub: Hub) -> None:
    hub.page = body
    with pytest.raises(WeightsMissing, match=said):
        drained("owner/net")


def test_the_token_is_shown_to_the_hub_and_to_nobody_else(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    storage = Hub(files=hub.files)
    with serving(storage) as server:
        hub.elsewhere = storage.url.replace("127.0.0.1", "localhost")
        found, events = drained("owner/net")
        server.shutdown()
    assert found.path.read_bytes() == BODY
    assert {headers.get("Authorization") for _, headers in hub.asked} == {"Bearer hf_secret"}
    assert {headers.get("Authorization") for _, headers in storage.asked} == {None}
    assert "hf_secret" not in str(events)


def test_a_backbone_opens_from_the_hub_with_its_terms(hub: Hub, tmp_path: Path) -> None:
    from regraft.backbones import googlenet

    torch.manual_seed(0)
    original = googlenet.ENTRY.build(googlenet.ENTRY.card("tiny")).original
    hub.files = {"model.safetensors": save(original.state_dict())}
    backbone = opened("googlenet@hf:owner/net", 32)
    assert backbone.card.name == "googlenet:tiny@hf:owner/net"
    assert backbone.card.licence == "apache-2.0"
    assert COMMIT in backbone.card.source
    torch.save(original.state_dict(), tmp_path / "same.pth")
    assert backbone.digest() == opened(f"googlenet:tiny@file:{tmp_path / 'same.pth'}", 32).digest()


def test_timms_pretrained_weights_come_from_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from regraft.backbones.timm import timm_library

    torch.manual_seed(0)
    net = timm_library().create_model("test_resnet", pretrained=False).eval()
    body = save(net.state_dict())
    answer = hub.answer

    def as_timm(request: BaseHTTPRequestHandler) -> None:
        request.path = request.path.replace("timm/test_resnet.r160_in1k", "owner/net")
        answer(request)

    monkeypatch.setattr(hub, "answer", as_timm)
    hub.files = {"model.safetensors": body}
    events = list(open_backbone("timm:test_resnet@pretrained", input_px=32))
    backbone = opened("timm:test_resnet@pretrained", 32)
    assert events
    assert backbone.card.name == "timm:test_resnet.r160_in1k@pretrained"
    assert backbone.card.trained_on == "ImageNet-1k (timm's tag r160_in1k)"
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = net(backbone.network.start({"pixels": pixels})["hidden"])
        torch.testing.assert_close(backbone.network({"pixels": pixels}), expected, rtol=1e-5, atol=1e-6)


def test_a_network_of_texts_comes_with_its_configuration_and_its_tokenizer(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from texts import folder_of

    folder = folder_of("bert", tmp_path / "net")
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    there, here = opened("transformers:owner/net@pretrained"), opened(f"transformers:{folder}@pretrained")
    assert there.stage_digests == here.stage_digests
    assert there.card.preparation == here.card.preparation
    assert there.card.licence == "apache-2.0"
    asked = len(hub.asked)
    opened("transformers:owner/net@pretrained")
    assert len(hub.asked) == asked  # from the cache
