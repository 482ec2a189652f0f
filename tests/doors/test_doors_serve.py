"""Models over HTTP: the same predictions as in Python, in every form that inputs may come in."""

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinds import LABELS

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("python_multipart", reason="the extra `serve` is not installed")

from doors.serving import Process, Running, draw, in_base64, models_of, running
from regraft.bundles.bundle import Bundle, load
from regraft.records import to_json


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return models_of(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(runs: Mapping[str, Path]) -> Iterator[Running]:
    with running(runs, max_inputs=20) as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw(tmp_path_factory.mktemp("asked"), 19)


@pytest.fixture(scope="module")
def bundle(runs: Mapping[str, Path]) -> Bundle:
    return load(runs["classification"], threads=1)


@pytest.mark.parametrize("kind", LABELS)
def test_predictions_are_to_the_bit_those_of_python(
    kind: str, server: Running, runs: Mapping[str, Path], files: list[Path]
) -> None:
    wanted = load(runs[kind], threads=1).predict(files)
    found = server.predict(kind, *files).json
    assert found["model"] == {"name": kind, "digest": load(runs[kind], verify=False).facts["digest"]}
    assert found["predictions"] == [{**to_json(one), "id": Path(one.id).name} for one in wanted]
    alone = [server.predict(kind, path).json["predictions"][0] for path in files[:5]]
    assert alone == found["predictions"][:5]


def test_a_form_base64_and_bytes_are_the_same_input(server: Running, files: list[Path]) -> None:
    path, data = "/v1/models/classification/predict", files[0].read_bytes()
    first = server.predict("classification", files[0]).json["predictions"][0]
    raw = server.ask(path, data, headers={"Content-Type": "image/jpeg"}).json["predictions"][0]
    named = {"inputs": [{**in_base64(data), "id": files[0].name}, {"contents": {"file": in_base64(data)}}]}
    encoded = server.ask(path, named).json["predictions"]
    assert first == {**raw, "id": files[0].name} == encoded[0] == {**encoded[1], "id": files[0].name}


def test_the_label_is_withheld_as_in_python(server: Running, bundle: Bundle, files: list[Path]) -> None:
    found = server.predict("classification", *files, query="?abstain=0.5").json["predictions"]
    wanted = bundle.predict(files, abstain=0.5)
    assert [one["label"] for one in found] == [one.label for one in wanted]
    assert 0 < sum(one["abstained"] for one in found) < len(files)


def test_requests_that_arrive_together_are_predicted_together(
    runs: Mapping[str, Path], bundle: Bundle, files: list[Path]
) -> None:
    wanted = {Path(one.id).name: to_json(one) | {"id": Path(one.id).name} for one in bundle.predict(files)}
    with running({"one": runs["classification"]}, wait_s=0.3) as server:
        sizes = list[int]()
        served = server.app.worker.models["one"]
        served._seen = sizes.append
        served._full_from = 4
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda path: server.predict("one", path).json["predictions"][0], files[:16]))
        assert found == [wanted[path.name] for path in files[:16]]
        assert sum(sizes) == 16
        assert max(sizes) > 4
        assert server.app.worker.gate.held == served.pending == 0


def test_an_unreadable_file_is_named_and_the_others_are_predicted(
    server: Running, files: list[Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(files[1].read_bytes()[:300])
    good, bad = server.predict("classification", files[1], cut).json["predictions"]
    assert good["label"]
    assert "cannot be decoded" in bad["error"]
    assert bad["label"] is None
    alone = server.predict("classification", cut)
    assert alone.status == 422
    assert alone.json["error"]["message"] == bad["error"]


def test_models_are_told_with_card_and_metrics_and_without_paths(
    server: Running, runs: Mapping[str, Path], bundle: Bundle
) -> None:
    found = {one["name"]: one for one in server.ask("/v1/models").json["models"]}
    assert set(found) == set(runs)
    one = server.ask("/v1/models/classification").json
    assert one == found["classification"]
    assert one["classes"] == list(bundle.classes)
    assert one["card"]["family"] == "googlenet"
    assert set(one["facts"]["metrics"]) == set(bundle.facts["facts"]["metrics"])
    assert str(runs["classification"].parent) not in json.dumps(found)


def test_health_and_counters_are_told(server: Running, files: list[Path]) -> None:
    assert server.ask("/health").status == server.ask("/ready").status == server.ask("/v2/health/live").status == 200
    server.predict("ordinal", files[0])
    server.ask("/v1/models/none/predict", {})
    text = server.ask("/metrics").body.decode()
    assert re.search(r'regraft_requests_total\{model="ordinal",status="200"\} [1-9]', text)
    assert re.search(r'regraft_requests_total\{model="",status="404"\} [1-9]', text)
    assert 'regraft_batch_inputs_count{model="ordinal"}' in text


def test_every_example_of_the_page_works_and_nothing_is_loaded_from_elsewhere(server: Running, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    page = server.ask("/docs").body.decode()
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(", page)
    commands = [line for block in re.findall(r"<pre><code>(.*?)</code>", page, re.DOTALL) for line in block.split("\n")]
    commands = [line.replace("&#x27;", "'").replace("&quot;", '"').replace("&amp;", "&") for line in commands]
    assert len(commands) > 12
    for line in sorted(commands, key=lambda one: "/example" not in one):  # an example first, for the others need it
        done = subprocess.run(
            ["sh", "-c", line.replace("curl -s", "curl -sf")], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, f"{shlex.quote(line)}: {done.stderr!r}"
    described = server.ask("/openapi.json").json
    (post,) = (one["post"] for path, one in described["paths"].items() if path == "/v1/models/{name}/predict")
    body = post["requestBody"]["content"]["application/json"]["example"]
    assert server.ask("/v1/models/classification/predict", body).status == 200


def test_the_inference_protocol_says_the_same(server: Running, bundle: Bundle, files: list[Path]) -> None:
    wanted = bundle.predict(files[:3])
    place = "/v2/models/classification"
    tensors = server.ask(place).json
    assert [one["name"] for one in tensors["outputs"]] == [
        "label", "prediction", "abstained", "probabilities", "ood_score"
    ]  # fmt: skip
    data = [in_base64(path.read_bytes())["base64"] for path in files[:3]]
    asked = {"id": "7", "inputs": [{"name": "input", "datatype": "BYTES", "shape": [3], "data": data}]}
    found = server.ask(f"{place}/infer", asked).json
    by_name = {one["name"]: one for one in found["outputs"]}
    assert found["id"] == "7"
    assert found["model_version"] == tensors["versions"][0] == bundle.facts["digest"]
    assert by_name["label"]["data"] == [one.label for one in wanted]
    assert by_name["probabilities"]["shape"] == [3, 3]
    assert by_name["probabilities"]["data"] == [p for one in wanted for p in one.probabilities.values()]
    assert by_name["ood_score"]["data"] == [one.ood_score for one in wanted]
    versioned = server.ask(f"{place}/versions/{bundle.facts['digest']}/infer", asked).json
    assert versioned == found


def test_the_inference_protocol_takes_and_gives_binary_tensors(
    server: Running, bundle: Bundle, files: list[Path]
) -> None:
    wanted = bundle.predict(files[:2])
    raw = b"".join(struct.pack("<I", len(data)) + data for data in (path.read_bytes() for path in files[:2]))
    head = json.dumps({
        "inputs": [{"name": "input", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(raw)}}],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}],
    }).encode()  # fmt: skip
    name = "Inference-Header-Content-Length"
    found = server.ask("/v2/models/classification/infer", head + raw, headers={name: str(len(head))})
    length = int(found.headers[name.lower()])
    told = json.loads(found.body[:length])["outputs"]
    shares = np.frombuffer(found.body[length:], "<f8").reshape(told[0]["shape"])
    assert shares.tolist() == [list(one.probabilities.values()) for one in wanted]
    assert told[1]["data"] == [one.label for one in wanted]


def test_the_inference_protocol_takes_arrays(server: Running, bundle: Bundle, files: list[Path]) -> None:
    pixels = np.asarray(Image.open(files[1]))
    tensor = {"name": "input", "datatype": "UINT8", "shape": [1, *pixels.shape], "data": pixels.ravel().tolist()}
    found = server.ask(
        "/v2/models/classification/infer", {"inputs": [tensor], "outputs": [{"name": "prediction"}]}
    ).json
    assert json.loads(found["outputs"][0]["data"][0]) == to_json(bundle.predict([files[1]])[0]) | {"id": "0"}


def test_a_public_client_of_the_inference_protocol_gets_the_same(
    server: Running, bundle: Bundle, files: list[Path]
) -> None:
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("classification")
    assert client.get_model_metadata("classification")["name"] == "classification"
    wanted = bundle.predict(files[:4])
    given = np.array([path.read_bytes() for path in files[:4]], dtype=object)
    tensor = triton.InferInput("input", [4], "BYTES")
    tensor.set_data_from_numpy(given, binary_data=True)
    found = client.infer("classification", [tensor])
    assert found.as_numpy("probabilities").tolist() == [list(one.probabilities.values()) for one in wanted]
    assert [one.decode() for one in found.as_numpy("label")] == [one.label for one in wanted]
    assert found.as_numpy("ood_score").tolist() == [one.ood_score for one in wanted]
    client.close()


def test_what_was_accepted_is_predicted_after_sigterm(
    runs: Mapping[str, Path], bundle: Bundle, files: list[Path], child_env: dict[str, str]
) -> None:
    wanted = to_json(bundle.predict([files[0]])[0]) | {"id": "0"}
    data = files[0].read_bytes()
    head = (
        "POST /v1/models/run/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    with Process(str(runs["classification"]), env=child_env) as server:
        begun = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        begun.sendall(head.encode() + data[:100])
        time.sleep(0.3)
        server.stop()
        server.until(lambda: _refused(server.port))
        begun.sendall(data[100:])
        with contextlib.closing(begun), http.client.HTTPResponse(begun) as reply:
            reply.begin()
            assert json.loads(reply.read())["predictions"] == [wanted]
    assert server.code == 0
    assert "Traceback" not in server.told


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.slow
def test_workers_that_die_are_replaced(
    runs: Mapping[str, Path], bundle: Bundle, files: list[Path], child_env: dict[str, str]
) -> None:
    wanted = to_json(bundle.predict([files[0]])[0]) | {"id": files[0].name}
    with Process(f"ants={runs['classification']}", "--workers", "2", "--threads", "1", env=child_env) as server:
        server.until(lambda: len(server.workers()) == 2)
        before = set(server.workers())
        assert server.predict("ants", files[0]).json["predictions"] == [wanted]
        os.kill(min(before), signal.SIGKILL)
        server.until(lambda: len(set(server.workers()) - {min(before)}) == 2)
        found = [server.predict("ants", files[0]).json["predictions"][0] for _ in range(4)]
        assert found == [wanted] * 4
        assert b'regraft_requests_total{model="ants",status="200"}' in server.ask("/metrics").body
    assert server.code == 0
