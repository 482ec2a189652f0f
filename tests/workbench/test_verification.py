"""Verification goes the whole way: folders of identities with a table of pairs, the whitened probe, fine-tuning."""

import csv
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.bundles.bundle import load
from regraft.contracts.task import TASKS
from regraft.data.open import open_dataset
from regraft.errors import BadData, BadRequest
from regraft.recipe import Recipe
from regraft.reports.report import Report
from regraft.values import Prediction
from regraft.workbench.compare import compare
from regraft.workbench.evaluate import Evaluated, evaluate
from regraft.workbench.fit import fit
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone

IDENTITIES, SHOTS = 24, 4


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Identities of two colours each; the last twelve are in pairs."""
    root = tmp_path_factory.mktemp("faces")
    for identity in range(IDENTITIES):
        colours = np.random.default_rng(identity).integers(40, 215, (2, 3))
        for shot in range(SHOTS):
            noise = np.random.default_rng([identity, shot]).integers(-40, 40, (36, 36, 3))
            pixels = np.repeat(colours[None], 36, axis=0).repeat(18, axis=1) + noise
            (root / f"id{identity:02}").mkdir(exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"id{identity:02}" / f"{shot}.png")
    tested = [f"id{identity:02}" for identity in range(12, IDENTITIES)]
    same = [(f"{one}/{a}.png", f"{one}/{b}.png", 1) for one in tested for a, b in ((0, 1), (2, 3))]
    others = [(f"{a}/0.png", f"{b}/2.png", 0) for a, b in itertools.combinations(tested, 2)]
    with (root / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image_a", "image_b", "same"), *same, *others])
    return root


def run(data: Path, out: Path, **changes: object) -> Report:
    given = {"backbone": "googlenet:tiny@random", "task": "verification", "input_px": 32, "threads": 1, **changes}
    *_, done = fit(Recipe(data=str(data), **given), out)  # type: ignore[arg-type]
    assert isinstance(done, RunDone)
    return done.report


def test_pairs_are_for_the_test_and_the_other_identities_for_training(faces: Path) -> None:
    found = open_dataset(faces / "pairs.csv")
    assert found.kind == "verification"
    assert found.splits == ("train", "test")
    assert sum(one.split == "train" for one in found.examples) == 12 * SHOTS
    assert found.classes == tuple(f"id{at:02}" for at in range(IDENTITIES))


def test_a_pair_that_contradicts_its_folders_is_named(faces: Path) -> None:
    table = faces / "wrong.csv"
    table.write_text("image_a,image_b,same\nid00/0.png,id01/0.png,1\n")
    with pytest.raises(BadData, match=r"wrong\.csv row 2: same is '1', but the images show id00 and id01"):
        open_dataset(table)
    table.write_text("image_a,image_b,same\nid00/0.png,id00/9.png,1\n")
    with pytest.raises(BadData, match=r"'id00/9\.png' is not an image"):
        open_dataset(table)
    table.unlink()


def test_the_whitened_probe_tells_unseen_identities_apart_and_says_from_which_cosine(
    faces: Path, tmp_path: Path
) -> None:
    report = run(faces / "pairs.csv", tmp_path / "run", strategy="probe")
    found = report.evaluation["test"]
    assert found.metrics["pair_auroc"].value > 0.8
    assert found.figures.given
    assert found.figures.identities == 12
    bundle = load(tmp_path / "run")
    threshold = bundle.model.task.thresholds["eer"]
    one, same, other = (np.array(bundle.predict(faces / name)[0].record) for name in
                        ("id20/0.png", "id20/1.png", "id21/0.png"))  # fmt: skip
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-4)
    assert one @ same > one @ other
    assert -1 < threshold < 1
    assert "Do not use this model to identify" in (tmp_path / "run" / "model" / "README.md").read_text()
    *_, done = evaluate(tmp_path / "run", faces / "pairs.csv", out=tmp_path / "again", threads=1)
    assert isinstance(done, Evaluated)
    again = done.report.evaluation["test"].metrics["pair_auroc"].value
    assert again == pytest.approx(found.metrics["pair_auroc"].value, abs=1e-6)
    assert compare(tmp_path / "run", tmp_path / "again").paired.difference.value == pytest.approx(0)


@pytest.mark.slow
def test_fine_tuning_starts_from_the_probe_and_cross_validation_is_by_identity(faces: Path, tmp_path: Path) -> None:
    options = {"epochs": 2, "min_steps": 10, "lr": 1e-4}
    report = run(faces / "pairs.csv", tmp_path / "tuned", strategy="partial", views=2, options=options)
    assert report.evaluation["test"].metrics["pair_auroc"].value > 0.7
    assert report.paired.metric == "pair_auroc"
    (faces / "pairs.csv").rename(faces.parent / "pairs.csv")
    report = run(faces, tmp_path / "folds", strategy="probe", folds=3)
    found = report.evaluation["cross-validation"]
    assert found.folds == 3
    assert found.mean_of_folds.value > 0.7
    assert set(found.metrics) == {"pair_auroc"}, "embeddings of two folds' heads are never compared"
    assert found.metrics["pair_auroc"].value == found.mean_of_folds.value


def test_enrolled_identities_are_found_and_others_are_not(faces: Path, tmp_path: Path) -> None:
    run(faces / "pairs.csv", tmp_path / "run", strategy="probe")
    for name in ("id20", "id21"):
        (tmp_path / "gallery" / name).mkdir(parents=True)
        for shot in (0, 1):
            shutil.copy(faces / name / f"{shot}.png", tmp_path / "gallery" / name)
    asked = [faces / "id20" / "3.png", faces / "id21" / "2.png"]
    said = [
        one for one in predict(tmp_path / "run", asked, gallery=tmp_path / "gallery") if isinstance(one, Prediction)
    ]
    assert [max(one.values, key=one.values.__getitem__) for one in said] == ["id20", "id21"]
    limit = max(load(tmp_path / "run").model.task.thresholds.values())
    assert [one.label for one in said] == [name if max(one.values.values()) >= limit else "" for name, one in
                                           zip(("id20", "id21"), said, strict=True)]  # fmt: skip
    with pytest.raises(BadRequest, match="classification model identifies nobody"):
        TASKS.get("classification")(("a", "b")).enrolled((), np.zeros((0, 2)))
