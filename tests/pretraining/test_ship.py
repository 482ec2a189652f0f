"""A finished run goes into the package as weights with a card."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import ship
from PIL import Image
from ship import CURVE_POINTS, thinned

from cards import figure
from regraft.backbones import shipped as in_package
from regraft.backbones.shipped import Shipped, shipped_weights
from regraft.bundle_format import read_json
from regraft.files import write_json
from regraft.recipe import Recipe
from regraft.workbench.fit import fit


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tints, twenty pictures of each to train on and four to judge by."""
    root, random = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    for number in range(12):
        for part, count in (("train", 20), ("val", 4)):
            folder = root / part / f"tint_{number:02d}"
            folder.mkdir(parents=True)
            for at in range(count):
                grey = random.integers(0, 60, (36, 36, 3)) + np.array([number * 15, 90, 180 - number * 15])
                Image.fromarray(grey.astype(np.uint8)).save(folder / f"{at}.png")
    return root


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short pretraining of the narrowest network."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    options = {"epochs": 2, "min_steps": 1, "batch": 60, "patience": 0, "side_heads": True}
    recipe = Recipe(data=str(corpus), backbone="googlenet:tiny", strategy="scratch", input_px=32, options=options,
                    augment={"smallest_share": 0.25}, threads=1)  # fmt: skip
    list(fit(recipe, out))
    return out


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for the package's weights."""
    for module in (in_package, ship):
        monkeypatch.setattr(module, "weights_folder", lambda: tmp_path)
    monkeypatch.setattr(ship, "ROOT", tmp_path)
    return tmp_path


def shipped(run: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Shipped:
    monkeypatch.setattr(sys, "argv", ["ship.py", str(run), "--input-px", "64", "--corpus", str(corpus)])
    ship.main()
    found = shipped_weights("googlenet")
    assert found is not None
    return found


def test_the_card_says_what_the_run_was_and_what_the_written_file_is_worth(
    run: Path, corpus: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shipped(run, corpus, monkeypatch)
    report = read_json(run / "report.json")
    assert found.sha256 == hashlib.sha256((package / "googlenet.safetensors").read_bytes()).hexdigest()
    assert found.card.preparation.input_px == (64, 64)
    assert found.card.source_classes == tuple(f"tint_{number:02d}" for number in range(12))
    assert found.recipe["examples"] == 240
    assert found.recipe["seen"] == 2 * report["data"]["splits"]["train"]["examples"]
    assert found.recipe["settings"]["augment.smallest_share"] == 0.25
    assert [row["epoch"] for row in found.recipe["curve"]] == [1, 2]
    assert found.recipe["curve"][1]["loss"] == pytest.approx(report["strategy"]["curve"][1]["loss"], abs=1e-4)
    kept = found.source_features()
    assert kept is not None
    assert kept["rows"].shape == (240, len(kept["axes"]))
    top1, top5 = found.figures
    measured = report["evaluation"]["test"]["metrics"]
    assert top1.what == "top-1 accuracy on the corpus's validation split (48 images, 32 px)"
    assert top1.value == pytest.approx(measured["accuracy"]["value"], abs=1.5 / 48)  # float16 may turn one of them
    assert top5.value == pytest.approx(measured["top5_accuracy"]["value"], abs=1.5 / 48)


@pytest.mark.slow
def test_the_features_of_the_corpus_can_be_made_again(
    run: Path, corpus: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = shipped(run, corpus, monkeypatch).corpus_sha256
    (package / "corpus" / "googlenet.safetensors").unlink()
    monkeypatch.setattr(sys, "argv", ["ship.py", "--features", "googlenet", "--corpus", str(corpus)])
    ship.main()
    found = shipped_weights("googlenet")
    assert found is not None
    assert found.source_features() is not None
    assert found.corpus_sha256 == digest


def test_figures_of_other_measurements_stay_with_the_weights_that_they_were_measured_of(
    run: Path, corpus: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, path = shipped(run, corpus, monkeypatch), package / "googlenet.json"
    card = json.loads(path.read_text())
    write_json(path, {**card, "figures": [*card["figures"], figure("linear probes", 0.6)]})
    again = shipped(run, corpus, monkeypatch)
    assert [one.what for one in again.figures] == [*(one.what for one in first.figures), "linear probes"]
    write_json(path, {**json.loads(path.read_text()), "sha256": "0" * 64})  # as if other weights had lain there
    assert shipped(run, corpus, monkeypatch).figures == first.figures


def test_a_long_curve_is_thinned_to_what_a_card_holds_its_ends_kept() -> None:
    curve = [{"epoch": float(at), "loss": 1 / 3, "learning_rate_factor": 0.1} for at in range(1, 301)]
    kept = thinned(curve)
    assert len(kept) == CURVE_POINTS
    assert kept[0] == {"epoch": 1.0, "loss": 0.3333}
    assert kept[-1]["epoch"] == 300.0
    assert [row["epoch"] for row in thinned(curve[:3])] == [1.0, 2.0, 3.0]
