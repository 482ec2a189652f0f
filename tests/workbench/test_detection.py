"""Detection goes the whole way: a VOC folder, the stored prefix, training, report, bundle, prediction, comparison."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.bundles.bundle import load
from regraft.evaluation.metrics.boxes import BoxFigures
from regraft.recipe import Recipe, Target
from regraft.reports.report import read_report
from regraft.workbench.compare import compare
from regraft.workbench.evaluate import Evaluated, evaluate
from regraft.workbench.export import Exported, export
from regraft.workbench.fit import fit
from regraft.workbench.mistakes import Looks
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone

pytestmark = pytest.mark.slow
COLOURS = {"brick": (220, 60, 40), "slate": (40, 90, 220)}


def painted(root: Path, count: int) -> Path:
    """One or two coloured boxes on noise, 96 x 64 pixels, as VOC; every fourth image is for the test."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    splits = dict[str, list[str]]()
    for number in range(count):
        random = np.random.default_rng(number)
        coarse = random.integers(90, 170, (16, 24, 3)).astype(np.uint8)
        pixels = np.array(Image.fromarray(coarse).resize((96, 64)))
        objects = ""
        for column in range(1 + number % 2):
            name = sorted(COLOURS)[int(random.integers(2))]
            width, height = random.integers(22, 36, 2).tolist()
            left, top = 48 * column + int(random.integers(0, 48 - width)), int(random.integers(0, 64 - height))
            pixels[top : top + height, left : left + width] = COLOURS[name]
            sides = zip(("xmin", "ymin", "xmax", "ymax"), (left, top, left + width, top + height), strict=True)
            inner = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
            objects += f"<object><name>{name}</name><bndbox>{inner}</bndbox></object>"
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{number}.png")
        (root / "Annotations" / f"{number}.xml").write_text(
            f"<annotation><filename>{number}.png</filename>{objects}</annotation>"
        )
        splits.setdefault("test" if number % 4 == 3 else "train", []).append(str(number))
    for split, names in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painted(tmp_path_factory.mktemp("boxes") / "voc", 48)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    recipe = Recipe(
        data=str(data), backbone="googlenet:tiny@random", strategy="finetune", cut="4e", views=2, threads=1,
        input_px=64, options={"epochs": 24, "min_steps": 0, "batch": 12, "lr": 2e-3, "head_lr_factor": 3.0},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regraft.tasks.detection.Detection.head_epochs", 1, raising=False)
        done = list(fit(recipe, tmp_path_factory.mktemp("runs") / "run"))[-1]
    assert isinstance(done, RunDone)
    return done


def test_boxes_are_found_beside_the_probe_and_told_by_class(run: RunDone) -> None:
    found = run.report.evaluation["test"]
    assert found.main_metric == "ap50"
    assert found.metrics["ap50"].value > 0.15
    assert found.metrics["map"].low <= found.metrics["map"].value <= found.metrics["map"].high
    assert isinstance(found.figures, BoxFigures)
    assert [one.name for one in found.figures.per_class] == ["brick", "slate"]
    assert run.report.paired.metric == "ap50"
    assert str(read_report(run.path).evaluation["test"].figures) == str(found.figures)
    assert "Boxes by class and size" in (run.path / "report.md").read_text()


def test_the_whole_image_is_shown_and_the_prefix_stored(run: RunDone) -> None:
    card = load(run.path).card
    assert card.preparation.resize_px == "letterbox"
    assert run.report.store.cuts["4e"].views == 2
    assert run.report.store.check.largest_error < 1e-2


def test_a_model_predicts_boxes_in_pixels_of_the_image(run: RunDone, data: Path) -> None:
    path = data / "JPEGImages" / "3.png"
    (one,) = load(run.path).predict(path)
    (same,) = [found for found in predict(run.path, [path], threads=1) if hasattr(found, "record")]
    assert one.record == same.record
    sides = np.array([box["box"] for box in one.record])
    assert sides.min() >= 0
    assert (sides <= [96, 64, 96, 64]).all()
    stated = sorted(box["label"] for box in one.record if box["score"] >= 0.4)
    assert one.label == ";".join(stated)
    with (run.path / "predictions.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["id"] == "3.png")
    assert [box["label"] for box in json.loads(row["record"])] == [box["label"] for box in one.record]


def test_an_evaluation_gives_the_numbers_of_the_run_and_can_be_compared(
    run: RunDone, data: Path, tmp_path: Path
) -> None:
    *_, done = evaluate(run.path, data, out=tmp_path / "e", previews=2, threads=1)
    assert isinstance(done, Evaluated)
    again = done.report.evaluation["test"].metrics["ap50"].value
    assert again == pytest.approx(run.report.evaluation["test"].metrics["ap50"].value, abs=0.05)
    found = compare(run.path, tmp_path / "e")
    assert found.paired.metric == "ap50"
    assert abs(found.paired.difference.value) < 0.05
    page = (tmp_path / "e" / "report.html").read_text()
    assert page.count("data:image/png") == 2, "the largest mistakes, drawn"
    assert "| example | predicted | label |" in (tmp_path / "e" / "report.md").read_text()
    assert "data:image" not in (run.path / "report.html").read_text(), "shown only where that was asked for"


def test_faster_rcnn_finds_boxes_above_a_stored_cut_and_is_exported(data: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        data=str(data), backbone="googlenet:tiny@random", strategy="finetune", cut="4e", views=2, threads=1,
        input_px=64, options={"epochs": 24, "min_steps": 0, "batch": 12, "lr": 2e-3, "head_lr_factor": 3.0},
        target=Target(detector="faster_rcnn"),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regraft.tasks.detection.Detection.head_epochs", 1, raising=False)
        *_, done = fit(recipe, tmp_path / "run")
    assert isinstance(done, RunDone)
    assert done.report.evaluation["test"].metrics["ap50"].value > 0.1
    assert load(tmp_path / "run").model.task.facts["detector"] == "faster_rcnn"
    preview = Looks(tmp_path / "run").preview("3.png")
    assert isinstance(preview, bytes)
    assert Image.open(io.BytesIO(preview)).size == (264, 176), "with what was predicted drawn over it"
    *_, made = export(tmp_path / "run", to="onnx", threads=1)
    assert isinstance(made, Exported)
    assert made.same_labels is not None
    assert made.same_labels >= 0.9 * made.examples
    *_, small = export(tmp_path / "run", to="onnx-int8", max_loss=0.15, threads=1)
    assert isinstance(small, Exported), "what selects boxes and the second stage stay in float32"
