"""What is served of recordings, in pieces, and of texts is what Python says; nothing in the server knows of either."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("python_multipart", reason="the extra `serve` is not installed")
pytest.importorskip("soundfile", reason="the extra `sound` is not installed")

from doors.serving import in_base64, running
from regraft.bundles.bundle import load
from regraft.recipe import Recipe, Source
from regraft.records import to_json
from regraft.workbench.fit import fit
from sound.test_sound_features import tones, wav
from toy_texts.installed import installed

pytestmark = pytest.mark.slow
WORDS = (("apple", "pear", "plum", "the", "on"), ("hammer", "saw", "nail", "the", "on"))


def test_recordings_of_several_pieces_are_served(tmp_path: Path) -> None:
    files = []
    for number in range(24):
        path = tmp_path / "clips" / ("low", "high")[number % 2] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = tones(8000, 0.4 + 0.1 * (number % 9), ((300.0, 2400.0)[number % 2] + 3 * number,))
        path.write_bytes(wav(np.clip(samples, -1, 1), 8000))
        files.append(path)
    recipe = Recipe(data=str(tmp_path / "clips"), backbone="googlenet:tiny@random", input_px=64, threads=1, folds=2,
                    max_repeats=1, prepare={"seconds": 0.5, "step_seconds": 0.5})  # fmt: skip
    *_, _ = fit(recipe, tmp_path / "run")
    bundle = load(tmp_path / "run", threads=1)
    wanted = [to_json(one) | {"id": Path(one.id).name} for one in bundle.predict(files[:9])]
    assert wanted[0]["ood_score"] is not None
    with running({"clips": tmp_path / "run"}) as server:
        assert server.predict("clips", *files[:9]).json["predictions"] == wanted
        place, data = "/v1/models/clips/predict", files[8].read_bytes()
        (raw,) = server.ask(place, data, headers={"Content-Type": "audio/wav"}).json["predictions"]
        assert raw | {"id": files[8].name} == wanted[8]
        assert (
            server.ask(place, server.ask("/v1/models/clips/example").body, headers={"Content-Type": "audio/wav"}).status
            == 200
        )
        assert server.ask(place, data[:30], headers={"Content-Type": "audio/wav"}).status == 422
        assert server.ask(place, {"inputs": ["a text"]}).status == 400
        assert server.ask(place, {"inputs": [in_base64(data)]}).json["predictions"] == [raw]


def near(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """The same but for what padding changes."""
    assert found["label"] == wanted["label"]
    assert found["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-5)


def test_texts_are_served_as_texts(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS[at % 2], random.integers(2, 9))) for at in range(60)]
    with (tmp_path / "texts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((text, "ab"[at % 2]) for at, text in enumerate(texts))])
    with installed(tmp_path / "installed"):
        recipe = Recipe(data=str(tmp_path / "texts.csv"), backbone="toy_encoder@random", threads=1,
                        source=Source(text_columns=("text",)))  # fmt: skip
        *_, _ = fit(recipe, tmp_path / "run")
        wanted = [to_json(one) for one in load(tmp_path / "run", threads=1).predict(texts[:5])]
        place = "/v1/models/texts/predict"
        with running({"texts": tmp_path / "run"}) as server:
            for found in (
                server.ask(place, {"inputs": texts[:5]}).json,
                server.ask(place, {"inputs": [{"contents": {"text": text}} for text in texts[:5]]}).json,
                server.ask(place, {"inputs": [in_base64(text.encode()) for text in texts[:5]]}).json,
            ):
                for one, other in zip(found["predictions"], wanted, strict=True):
                    near(one, other)
            tensor = {"name": "input", "datatype": "BYTES", "shape": [2], "data": texts[:2]}
            said = server.ask("/v2/models/texts/infer", {"inputs": [tensor]}).json["outputs"]
            assert said[0]["data"] == [one["label"] for one in wanted[:2]]
            assert server.ask(place, b"\xff", headers={"Content-Type": "text/plain"}).status == 400
