"""The page: who may ask, what may be dropped, jobs that outlive the server, and the way from data to a model."""

import json
import os
import signal
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("python_multipart", reason="the extra `serve` is not installed")

from starlette.testclient import TestClient

from doors.serving import draw, form
from regraft.doors.ui.app import web_app
from regraft.doors.ui.guard import form_token
from regraft.doors.ui.jobs import Job, Queue
from regraft.doors.ui.live import live
from regraft.doors.ui.place import Place
from regraft.errors import BadRequest
from sample_findings import write_all

HOST = "http://127.0.0.1:8001"
SMALL = "input_px=32\nthreads=1\nfolds=2\nmax_repeats=1"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, child_env: dict[str, str]) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", child_env["PYTHONPATH"])
        folder = tmp_path_factory.mktemp("page")
        (folder / "data").mkdir()
        yield folder


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[TestClient]:
    app = web_app(root, "127.0.0.1")
    with TestClient(app, base_url=HOST, headers={"Accept": "text/html"}) as found:
        assert found.get("/", params={"token": app.key}, follow_redirects=False).status_code == 303
        found.headers["X-Regraft-Token"] = form_token(app.key)
        yield found


def asked(client: TestClient, **fields: str) -> str:
    """The number of the job that a form asks for."""
    found = client.post("/jobs", data=fields, follow_redirects=False)
    assert found.status_code == 303, found.text
    return found.headers["location"].rpartition("/")[2]


def ended(root: Path, number: str) -> tuple[str, str]:
    """How a job ends, and what it printed."""
    queue = Queue(root)
    return until(lambda: (state := queue.state(queue.job(number))) not in ("waiting", "running") and state), queue.log(
        queue.job(number)
    )


def until(true: Callable[[], object], seconds: float = 120) -> str:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return str(found)


def upload(client: TestClient, name: str, files: dict[str, bytes]) -> str:
    """Drop files; the address of the data."""
    begun = client.post("/uploads", params={"name": name}).json()["name"]
    for path, data in files.items():
        assert client.put(f"/uploads/{begun}/{path}", content=data).status_code == 204
    return str(client.post(f"/uploads/{begun}").json()["at"])


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.7", "[::1", ""])
def test_a_name_that_is_not_this_machine_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 421


def test_nothing_is_shown_without_the_token_that_was_printed(root: Path) -> None:
    app = web_app(root, "127.0.0.1")
    stranger = TestClient(app, base_url=HOST)
    for path in ("/", "/?token=guessed", "/static/live.js", "/files/runs/x/report.html"):
        assert stranger.get(path).status_code == 401
    first = stranger.get("/", params={"token": app.key}, follow_redirects=False)
    assert "HttpOnly" in first.headers["set-cookie"]
    assert "samesite=strict" in first.headers["set-cookie"].lower()
    assert app.key not in stranger.get("/").text


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_a_form_of_another_site_is_refused(client: TestClient, origin: str) -> None:
    found = client.post("/jobs", data={"verb": "audit", "data": "x"}, headers={"Origin": origin})
    assert found.status_code == 403


def test_a_form_without_its_token_is_refused(client: TestClient) -> None:
    for method, path in (("POST", "/jobs"), ("POST", "/data"), ("POST", "/uploads"), ("PUT", "/uploads/a/b"),
                         ("POST", "/jobs/00001/stop"), ("POST", "/runs/x/predict")):  # fmt: skip
        assert client.request(method, path, headers={"X-Regraft-Token": "wrong"}).status_code in (403, 400)
    assert (
        client.post("/jobs", data={"verb": "audit", "token": "é"}, headers={"X-Regraft-Token": ""}).status_code == 403
    )


def test_scripts_come_from_the_server_alone_and_no_frame_holds_the_page(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]


@pytest.mark.parametrize(
    "path", ["..%2Fout.png", "a/../../out.png", "a/.hidden", "%5C..%5Cout.png", "a//b", "c:out", "a%00b"]
)
def test_an_upload_is_written_nowhere_else(client: TestClient, root: Path, path: str) -> None:
    begun = client.post("/uploads", params={"name": "mine"}).json()["name"]
    assert client.put(f"/uploads/{begun}/{path}", content=b"x").status_code in (307, 400, 404, 405)
    assert not list(root.parent.rglob("out.png"))
    assert client.put("/uploads/..%2F..%2Fother/a.png", content=b"x").status_code in (404, 405)
    assert client.post(f"/uploads/{begun}").status_code == 400


def test_what_is_dropped_appears_when_it_is_whole(client: TestClient, root: Path) -> None:
    begun = client.post("/uploads", params={"name": "my photos!"}).json()["name"]
    client.put(f"/uploads/{begun}/cat/1.png", content=b"1")
    assert begun not in Place(root).data()
    client.put(f"/uploads/{begun}/dog/2.png", content=b"2")
    assert client.post(f"/uploads/{begun}").json()["at"] == "/data/my-photos"
    assert (root / "data/my-photos/dog/2.png").read_bytes() == b"2"
    assert client.post("/uploads", params={"name": "my photos!"}).json()["name"] == "my-photos-2"
    assert upload(client, "table", {"table.csv": b"path,label\n"}) == "/data/table.csv"
    assert upload(client, "cells", {"cells.h5ad": b"X"}) == "/data/cells.h5ad"


@pytest.mark.parametrize(
    "path",
    ["/files/queue/key", "/files/runs/..%2F..%2Fqueue/key", "/files/..%2Fqueue/key", "/queue/key", "/runs/.x",
     "/runs/%2Fetc", "/data/..%2Fqueue", "/static/..%2Fapp.py", "/jobs/x", "/files/runs/model.safetensors"],
)  # fmt: skip
def test_no_address_leads_out_of_the_folder(client: TestClient, path: str) -> None:
    found = client.get(path)
    assert found.status_code in (400, 404)
    assert "token_urlsafe" not in found.text


def test_data_elsewhere_become_a_recipe_with_how_they_are_read(client: TestClient, root: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("path,kind\n")
    sent = {"path": str(tmp_path / "rows.csv"), "source.label_column": "kind"}
    assert client.post("/data", data=sent, follow_redirects=False).headers["location"] == "/data/rows.toml"
    assert 'label_column = "kind"' in (root / "data/rows.toml").read_text()
    wrong = client.post("/data", data={"path": str(tmp_path / "none")})
    assert wrong.status_code == 400
    assert "does not exist" in wrong.text


def test_a_setting_that_does_not_exist_is_said_before_anything_waits(client: TestClient, root: Path) -> None:
    upload(client, "some", {"cat/1.png": b"1"})
    before = len(Queue(root).jobs())
    found = client.post("/jobs", data={"verb": "fit", "data": "some", "settings": "sed=3"})
    assert found.status_code == 400
    assert "sed" in found.text
    assert client.post("/jobs", data={"verb": "rm", "data": "some"}).status_code == 400
    assert client.post("/jobs", data={"verb": "fit", "data": "../queue"}).status_code == 400
    assert len(Queue(root).jobs()) == before


def test_a_bomb_is_named_and_not_unpacked(client: TestClient, root: Path, cache: Path) -> None:
    bomb, before = root / "bomb.zip", set((cache / "archives").rglob("*.png"))
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("cat/1.png", b"1")
    data, announced = bytearray(bomb.read_bytes()), struct.pack("<I", 3_000_000_000)
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = announced
    bomb.unlink()
    upload(client, "bomb", {"bomb.zip": bytes(data)})
    number = asked(client, verb="audit", data="bomb.zip")
    state, log = ended(root, number)
    assert state == "failed"
    assert "unpacks to more than" in log
    assert "unpacks to more than" in client.get(f"/jobs/{number}").text
    assert set((cache / "archives").rglob("*.png")) == before


@pytest.fixture
def place(root: Path, tmp_path: Path) -> Path:
    (tmp_path / "queue").mkdir()
    return tmp_path


def waits(queue: Queue) -> Job:
    """A job that runs until it is stopped."""
    return queue.add("Wait", ["ui", "other", "--port=0"])


def test_jobs_run_one_at_a_time_and_outlive_the_server(place: Path) -> None:
    queue = Queue(place)
    first, second = waits(queue), queue.add("Version", ["--version"])
    queue.start()
    until((place / "other/queue/.lock").exists)
    again = Queue(place)  # the server was killed, and started again
    assert [again.state(one) for one in (first, second)] == ["running", "waiting"]
    again.start()
    assert again.state(second) == "waiting"
    again.stop(first)
    until(lambda: again.state(first) == "stopped")
    again.start()
    until(lambda: again.state(second) == "done")
    assert "regraft" in again.log(second)
    again.again(first)
    assert again.state(first) == "waiting"
    again.stop(first)
    assert [one.id for one in again.jobs()] == [second.id]


def test_a_job_that_was_killed_is_told_and_does_not_begin_by_itself(place: Path) -> None:
    queue = Queue(place)
    job = waits(queue)
    queue.start()
    until((place / "other/queue/.lock").exists)
    os.kill(int((place / "queue" / job.id / "pid").read_text()), signal.SIGKILL)
    until(lambda: Queue(place).state(job) == "interrupted")
    Queue(place).start()
    assert Queue(place).state(job) == "interrupted"
    with pytest.raises(BadRequest, match="no job"):
        queue.job("../../x")


def test_the_curve_of_a_run_that_went_on_is_one(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    rows = [{"type": "Progress", "phase": "training", "done": step, "total": 40, "seconds_left": 3.0,
             "facts": {"loss": 1 / step, "val_accuracy": 0.5}} for step in (10, 20, 20, 30)]  # fmt: skip
    log.write_text("\n".join(map(json.dumps, rows)) + '\n{"type": "Prog')
    found = live(log)
    assert [one["step"] for one in found.epochs] == [10, 20, 30]
    assert (found.done, found.left) == (30, "3.0 s left")
    assert [title for title, _, _ in found.charts] == ["Loss", "Val accuracy"]
    assert "<script" not in "".join(drawing for _, drawing, _ in found.charts)


def test_a_sweep_says_how_far_it_is_beside_the_run_that_it_is_at(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    rows = [{"type": "Progress", "phase": phase, "done": 1, "total": 4, "seconds_left": 90.0, "facts": {}}
            for phase in ("sweep", "2/4 googlenet partial, seed 0: training")]  # fmt: skip
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = live(log)
    assert found.whole == "1 of 4 runs done, 90 s left"
    assert found.phase == "2/4 googlenet partial, seed 0: training"


def test_reports_of_every_kind_are_shown_between_the_pages(client: TestClient, root: Path) -> None:
    write_all(root)
    for kind, said in (
        ("audits", "9 examples lie in train"),
        ("advice", "Noise floor"),
        ("sweeps", "googlenet partial"),
    ):
        page = client.get(f"/{kind}/sample").text
        assert said in page
        assert "Skip to the content" in page
    assert "<image" in client.get("/audits/sample").text
    assert "<is>" not in client.get("/audits/sample").text
    (root / "data/advised/a").mkdir(parents=True)
    (root / "advice/sample").rename(root / "advice/advised")
    (root / "advice/advised/advice.json").write_text('{"data": "data/advised"}')
    assert "Fit googlenet partial" in client.get("/advice/advised").text
    (root / "sweeps/sample/report.json").write_text('{"format": 9}')
    assert client.get("/sweeps/sample").status_code == 409


def test_from_dropped_images_to_a_model_that_is_tried(client: TestClient, root: Path, tmp_path: Path) -> None:
    paths = draw(tmp_path / "images", 24)
    files = {f"{'abc'[at % 3]}/{path.name}": path.read_bytes() for at, path in enumerate(paths)}
    address = upload(client, "three", files)
    assert "Audit these data" in client.get(address).text
    number = asked(client, verb="fit", data="three", strategy="probe", backbone="googlenet:tiny@random", settings=SMALL)
    assert "three-probe" in client.get(f"/jobs/{number}").text
    assert ended(root, number)[0] == "done"
    page = client.get("/runs/three-probe").text
    assert "Try it" in page
    assert "Accuracy" in page
    body, kind = form({paths[0].name: paths[0].read_bytes(), "cut.png": paths[1].read_bytes()[:60]})
    said = client.post("/runs/three-probe/predict", content=body, headers={"Content-Type": kind}).text
    assert paths[0].name in said
    assert "cannot be read" in said
    found = client.get("/runs/three-probe/mistakes").text
    assert "most confident first" in found or "None:" in found
    shown = client.get("/runs/three-probe/example", params={"id": "a/00.jpg"})
    assert shown.content.startswith(b"\x89PNG")
    assert "sandbox" in client.get("/files/runs/three-probe/report.html").headers["content-security-policy"]
    assert client.get("/compare", params={"a": "three-probe", "b": "three-probe"}).status_code == 200
    assert "three-probe" in client.get("/").text
