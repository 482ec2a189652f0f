"""A loaded model says what the run said, wherever it lies, however many are asked, and executes nothing to do so."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.activations.disk import Memo
from regraft.bundles.bundle import Bundle, golden_logits, load, write_bundle
from regraft.errors import BadRequest
from regraft.recipe import Recipe
from regraft.values import Prediction
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone, open_run

Runs = Mapping[str, Any]
EXACT = 1e-6
"""Digits in predictions.csv; the head of a probe sees float32 from the same backend."""
KEPT_IN_HALF = 5e-3
"""Stored states of an inner cut are float16, the loaded model's are not."""


@pytest.fixture(scope="module")
def probe(runs: Runs) -> Bundle:
    return load(runs["probe"].path)


def table(answers: list[Prediction]) -> np.ndarray:
    return np.array([list(prediction.probabilities.values()) for prediction in answers])


def test_the_loaded_model_predicts_what_the_run_did(small: Any) -> None:
    said = small.answers()
    found = load(small.path).predict(list(said))
    wanted = np.array([list(row.values()) for row in said.values()])
    tolerance = KEPT_IN_HALF if small.path.name == "partial" else 1e-4 if small.path.name == "full" else 2 * EXACT
    np.testing.assert_allclose(table(found), wanted, atol=tolerance)
    clear = np.abs(wanted[:, 0] - wanted[:, 1]) > 2 * tolerance
    labels = np.array([prediction.label for prediction in found])
    classes = list(next(iter(said.values())))
    assert clear.any()
    assert (labels == np.array(classes)[wanted.argmax(axis=1)])[clear].all()
    assert [prediction.id for prediction in found] == list(map(str, said))
    np.testing.assert_allclose(table(found).sum(axis=1), 1)


def test_the_stages_below_the_cut_are_the_backbones_own(small: Any, runs: Runs) -> None:
    untouched, mine = (json.loads((run.model / "bundle.json").read_text())["backbone"]["stages"]
                       for run in (runs["probe"], small))  # fmt: skip
    trained = {stage for stage in mine if mine[stage] != untouched[stage]}
    assert trained == {"probe": set(), "partial": {"5a", "5b"}, "full": set(mine)}[small.path.name]


def test_torch_and_onnx_runtime_agree(runs: Runs) -> None:
    files = list(runs["full"].answers())
    one, other = (load(runs["full"].path, backend=backend).predict(files) for backend in ("auto", "torch"))
    np.testing.assert_allclose(table(one), table(other), atol=1e-4)


def test_how_many_are_asked_at_once_changes_no_prediction(probe: Bundle, photos: Path) -> None:
    files = sorted(photos.rglob("*.png"))
    assert len(files) > 32, "two full batches and a part of one"
    together = probe.predict(files)
    alone = [probe.predict([file])[0] for file in files]
    assert alone == together
    assert probe.predict(reversed(files)) == together[::-1]
    assert probe.predict(iter(files)) == together
    assert probe.predict([]) == []


def test_a_path_bytes_an_array_and_a_picture_are_the_same_input(probe: Bundle, photos: Path) -> None:
    path = next(iter(sorted(photos.rglob("*.png"))))
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    every = [path, str(path), path.read_bytes(), np.asarray(picture), picture]
    found = probe.predict(every)
    assert len({tuple(prediction.probabilities.items()) for prediction in found}) == 1
    assert [prediction.id for prediction in found] == [str(path), str(path), "2", "3", "4"]
    assert [probe.predict(one)[0].probabilities for one in every] == [prediction.probabilities for prediction in found]


def test_loading_by_a_path_with_spaces_and_accents_gives_the_same(runs: Runs, probe: Bundle, tmp_path: Path) -> None:
    place = tmp_path / "mes modèles" / "été 猫 (1) #2 %20 'x'"
    shutil.copytree(runs["probe"].model, place)
    files = list(runs["probe"].answers())[:3]
    assert load(place).predict(files) == load(str(place)).predict(files) == probe.predict(files)


def test_a_file_with_an_odd_name_is_an_input_like_any_other(probe: Bundle, photos: Path, tmp_path: Path) -> None:
    plain = next(iter(sorted(photos.rglob("*.png"))))
    odd = Path(shutil.copy(plain, tmp_path / "ein Bild, größer #1.png"))
    assert probe.predict(odd)[0].probabilities == probe.predict(plain)[0].probabilities


def test_unreadable_inputs_are_answered_in_their_place_and_the_others_too(
    probe: Bundle, photos: Path, tmp_path: Path
) -> None:
    good = next(iter(sorted(photos.rglob("*.png"))))
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:-40])
    (tmp_path / "text.png").write_bytes(b"no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    given = [
        tmp_path / "cut.png",
        good,
        tmp_path / "text.png",
        tmp_path / "none.png",
        tmp_path / "empty.png",
        good,
        tmp_path,
    ]
    found = probe.predict([*given, b"junk", np.zeros((4, 4, 7), np.uint8), np.zeros((0, 4, 3), np.uint8), 3])  # type: ignore[list-item]
    assert [prediction.error is None for prediction in found] == [False, True, False, False, False, True, *[False] * 5]
    assert found[1].probabilities == found[5].probabilities == probe.predict(good)[0].probabilities
    for prediction in found:
        assert (prediction.label is None) == (prediction.error is not None) == (not prediction.probabilities)
    for prediction, word in zip(
        (found[0], found[2], found[3], found[4]), ("cut", "format", "No such", "empty"), strict=True
    ):
        assert word in str(prediction.error)


def test_out_of_distribution_inputs_are_refused_when_asked_and_only_then(probe: Bundle, photos: Path) -> None:
    strange = [
        np.full((40, 40, 3), value, np.uint8) for value in (250, 255)
    ]  # a network of random weights is easily fooled
    known = sorted((photos / "train").rglob("*.png"))
    told = probe.predict([*known, *strange])
    assert all(prediction.label and not prediction.abstained for prediction in told)
    assert all(prediction.ood_score is not None and 0 <= prediction.ood_score <= 1 for prediction in told)
    refused = probe.predict([*known, *strange], abstain=0.95)
    assert [prediction.abstained for prediction in refused[len(known) :]] == [True] * len(strange)
    assert sum(prediction.abstained for prediction in refused[: len(known)]) <= 0.2 * len(known)
    for before, after in zip(told, refused, strict=True):
        assert after.label == (None if after.abstained else before.label)
        assert after.abstained == (before.ood_score is not None and before.ood_score > 0.95)
        assert after.probabilities == before.probabilities


@pytest.mark.parametrize("abstain", [-0.1, 1.1, float("nan")])
def test_a_share_to_abstain_by_lies_from_0_to_1(probe: Bundle, abstain: float) -> None:
    with pytest.raises(BadRequest, match="must be between 0 and 1"):
        probe.stream([], abstain=abstain)


def test_a_model_without_a_reference_says_that_it_cannot_abstain(probe: Bundle, photos: Path, tmp_path: Path) -> None:
    plain = replace(probe.model, ood=None)
    write_bundle(tmp_path, plain, facts={}, golden=golden_logits(probe), backend=probe.backend_name)
    found = load(tmp_path)
    with pytest.raises(BadRequest, match="has no out-of-distribution score") as caught:
        found.predict([], abstain=0.9)
    assert "leave out abstain" in caught.value.fix
    (prediction,) = found.predict(next(iter(photos.rglob("*.png"))))
    assert (prediction.ood_score, prediction.abstained) == (None, False)


def test_golden_logits_are_the_same_remembered_and_computed(probe: Bundle, tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    first, again, fresh = golden_logits(probe, memo), golden_logits(probe, memo), golden_logits(probe)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, fresh)
    np.testing.assert_allclose(first, probe.facts["golden"]["logits"], rtol=1e-6)


def test_a_model_written_from_a_loaded_one_is_the_same_file(probe: Bundle, runs: Runs, tmp_path: Path) -> None:
    write_bundle(tmp_path, probe.model, facts={}, golden=golden_logits(probe), backend=probe.backend_name)
    name = "model.safetensors"
    assert (tmp_path / name).read_bytes() == (runs["probe"].model / name).read_bytes()


WATCHED = """
import json, sys
from pathlib import Path
seen = []
sys.addaudithook(lambda event, values: seen.append(event)
                 if event in ("pickle.find_class", "os.system", "os.exec", "subprocess.Popen") else None)
from regraft.bundles.bundle import load
answers = load(sys.argv[1]).predict(sys.argv[2:])
loaded = [name for name in ("torch", "sklearn", "scipy") if name in sys.modules]
print(json.dumps([seen, loaded, [prediction.probabilities for prediction in answers]]))
"""


def test_a_fresh_process_executes_nothing_from_the_bundle_and_predicts_the_same(
    runs: Runs, probe: Bundle, child_env: dict[str, str]
) -> None:
    files = list(map(str, runs["probe"].answers()))[:3]
    code = [sys.executable, "-c", WATCHED, str(runs["probe"].path), *files]
    done = subprocess.run(code, env={**os.environ, **child_env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen, loaded, answers = json.loads(done.stdout)
    assert seen == []
    assert loaded == [], "the exported prefix is in the cache, so torch is not needed"
    assert answers == [prediction.probabilities for prediction in probe.predict(files)]


@pytest.mark.parametrize("form", ["{path}", "bundle:{path}/model"])
def test_a_model_is_the_next_backbone_by_any_of_its_names(form: str, runs: Runs, photos: Path, tmp_path: Path) -> None:
    before = runs["partial"]
    chosen = Recipe(data=str(photos), backbone=form.format(path=before.path), threads=1)
    done = list(fit(chosen, tmp_path / "run"))[-1]
    assert isinstance(done, RunDone)
    again, first = (json.loads((path / "model" / "bundle.json").read_text()) for path in (done.path, before.path))
    assert again["backbone"]["stages"] == first["backbone"]["stages"]
    card = again["backbone"]["card"]
    assert card["weights"] == "bundle:partial"
    assert "then 2 classes" in card["trained_on"]
    assert card["preparation"]["input_px"] == [32, 32]
    mine, theirs = open_run(done.path).model, load(before.path)
    prepared = [theirs.prepare(path) for path in before.answers()]
    np.testing.assert_array_equal(mine.features(prepared), theirs.features(prepared))
