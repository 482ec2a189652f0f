"""Segmentation goes the whole way: folders of images and masks, the stored prefix, training, report, bundle, masks."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.bundles.bundle import load
from regraft.evaluation.metrics.masks import MaskFigures
from regraft.recipe import Recipe
from regraft.reports.report import read_report
from regraft.values import Prediction
from regraft.workbench.compare import compare
from regraft.workbench.evaluate import Evaluated, evaluate
from regraft.workbench.fit import fit
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone

pytestmark = pytest.mark.slow
COLOURS = ((200, 200, 190), (220, 60, 40), (40, 90, 220))


def painted(root: Path, count: int) -> Path:
    """A coloured ellipse of one of two classes on noise, 96 x 64 pixels; every fourth image is for the test."""
    for number in range(count):
        random = np.random.default_rng(number)
        y, x = np.mgrid[:64, :96]
        centre, radius = random.integers((22, 22), (74, 42)), random.integers(14, 20, 2)
        inside = ((x - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2 < 1
        mask = np.where(inside, 1 + number % 2, 0).astype(np.uint8)
        pixels = np.array(COLOURS)[mask] + random.integers(-40, 40, (64, 96, 1))
        split = "test" if number % 4 == 3 else "train"
        for folder, image in (("images", np.clip(pixels, 0, 255).astype(np.uint8)), ("masks", mask)):
            (root / split / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / split / folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painted(tmp_path_factory.mktemp("masks") / "ellipses", 40)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    recipe = Recipe(
        data=str(data), backbone="googlenet:tiny@random", strategy="finetune", cut="4e", views=2, threads=1,
        input_px=64, options={"epochs": 30, "min_steps": 0, "batch": 10, "lr": 2e-3, "head_lr_factor": 3.0},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regraft.tasks.segmentation.Segmentation.head_epochs", 1, raising=False)
        done = list(fit(recipe, tmp_path_factory.mktemp("runs") / "run"))[-1]
    assert isinstance(done, RunDone)
    return done


def test_masks_are_learned_beside_the_probe_and_told_by_class(run: RunDone) -> None:
    found = run.report.evaluation["test"]
    assert found.main_metric == "iou"
    assert found.metrics["iou"].value > 0.5
    assert found.metrics["dice"].low <= found.metrics["dice"].value <= found.metrics["dice"].high
    assert isinstance(found.figures, MaskFigures)
    assert [one.name for one in found.figures.per_class] == ["0", "1", "2"]
    assert run.report.paired.metric == "iou"
    assert str(read_report(run.path).evaluation["test"].figures) == str(found.figures)
    assert "Masks by class" in (run.path / "report.md").read_text()


def test_the_whole_image_is_shown_and_the_prefix_stored(run: RunDone) -> None:
    assert load(run.path).card.preparation.resize_px == "letterbox"
    assert run.report.store.cuts["4e"].views == 2
    assert run.report.store.check.largest_error < 1e-2


def test_a_model_gives_masks_of_the_size_of_the_image_and_draws_them(run: RunDone, data: Path, tmp_path: Path) -> None:
    path = data / "test" / "images" / "3.png"
    (one,) = load(run.path).predict(path)
    (same,) = [found for found in predict(run.path, [path], draw=tmp_path, threads=1) if isinstance(found, Prediction)]
    assert same.record == {**one.record, "files": ["3.mask.png", "3.overlay.png"]}
    with Image.open(tmp_path / "3.mask.png") as drawn, Image.open(tmp_path / "3.overlay.png") as laid:
        mask = np.asarray(drawn)
        assert (drawn.mode, drawn.size, laid.size) == ("P", (96, 64), (96, 64))
    shares = np.bincount(mask.ravel(), minlength=3) / mask.size
    assert list(one.record["shares"].values()) == pytest.approx(shares, abs=1e-6)
    with (run.path / "predictions.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["id"] == "test/images/3.png")
    assert json.loads(row["record"])["size"] == [64, 96]


def test_an_evaluation_gives_the_numbers_of_the_run_and_can_be_compared(
    run: RunDone, data: Path, tmp_path: Path
) -> None:
    *_, done = evaluate(run.path, data, out=tmp_path / "e", threads=1)
    assert isinstance(done, Evaluated)
    again = done.report.evaluation["test"].metrics["iou"].value
    assert again == pytest.approx(run.report.evaluation["test"].metrics["iou"].value, abs=0.1)
    assert compare(run.path, tmp_path / "e").paired.metric == "iou"
