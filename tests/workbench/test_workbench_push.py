"""A model goes to the hub in the hub's layout, and nothing else does: a server of our own takes it."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bundles.delivery import of_shelf
from regraft.bundles.bundle import load
from regraft.errors import RunError
from regraft.workbench.push import Pushed, push


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a push speaks."""

    taken: dict[str, bytes]
    asked: list[str]

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(self.path)
        said: dict[str, Any] = {"errors": [], "warnings": []}
        if self.path == "/api/repos/create":
            said = {"url": f"http://127.0.0.1:{self.server.server_address[1]}/someone/ants", "id": "1"}
        elif "/preupload/" in self.path:
            files = json.loads(data)["files"]
            said = {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]}
        elif "/commit/" in self.path:
            for line in map(json.loads, data.splitlines()):
                if line["key"] == "file":
                    self.taken[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            said = {"commitUrl": "http://127.0.0.1/someone/ants/commit/1", "commitOid": "1", "success": True}
        body = json.dumps(said).encode()
        self.send_response(404 if "missing" in self.path + data.decode(errors="replace")[:200] else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    kind = type("Fresh", (Hub,), {"taken": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield kind
    server.shutdown()
    server.server_close()


def test_a_model_is_sent_without_anything_else_of_its_run_and_is_itself_again(hub: type[Hub], tmp_path: Path) -> None:
    bundle = of_shelf("googlenet:tiny", 32, "classification", tmp_path / "run" / "model")
    (tmp_path / "run" / "model" / "README.md").write_text("# Ants\n\nFor ants.\n")
    for stray in ("run/predictions.csv", "run/model/photo.jpg"):
        (tmp_path / stray).write_text("somebody's own")
    *_, done = push(tmp_path / "run" / "model", "someone/ants")
    assert isinstance(done, Pushed)
    assert done.url.endswith("/someone/ants")
    assert set(hub.taken) == set(done.files) == {"README.md", "config.json", "bundle.json", "model.safetensors"}
    card = hub.taken["README.md"].decode()
    assert card.startswith('---\nlibrary_name: "regraft"\n')
    assert "For ants." in card
    assert json.loads(hub.taken["config.json"])["id2label"] == {"0": "even", "1": "ruled", "2": "warm"}
    (tmp_path / "again").mkdir()
    for name, data in hub.taken.items():
        (tmp_path / "again" / name).write_bytes(data)
    assert load(tmp_path / "again", threads=1).facts["digest"] == bundle.facts["digest"]
    with pytest.raises(RunError, match="did not accept"):
        list(push(tmp_path / "run" / "model", "someone/missing"))
