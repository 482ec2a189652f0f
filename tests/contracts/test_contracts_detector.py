"""A detector that is no part of the package goes the whole way: data, store, training, proof, bundle, prediction."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vision_toys as toys
from regraft.bundles.bundle import load
from regraft.contracts.modality import MODALITIES, View
from regraft.contracts.task import TASKS
from regraft.errors import BadRecipe
from regraft.recipe import Recipe
from regraft.values import Event
from regraft.workbench.fit import fit
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone

COLOURS = {"brick": (220, 60, 40), "slate": (40, 90, 220)}
QUICK = {"epochs": 1, "min_steps": 40, "batch": 16, "lr": 3e-3, "head_lr_factor": 1.0}


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        toys.install(tmp_path_factory.mktemp("site"), patch)
        patch.setattr("regraft.strategies.probe.HEAD_EPOCHS", 1)
        patch.setattr("regraft.strategies.probe.HEAD_STEPS", 80)
        yield


def paint(path: Path, seed: int) -> str:
    """One or two coloured boxes on noise, 48 x 40 pixels; returns their label."""
    random = np.random.default_rng(seed)
    pixels = random.integers(90, 170, (40, 48, 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(pixels).resize((12, 10)).resize((48, 40)))  # blotches that tell images apart
    pixels = (pixels.astype(np.int64) + random.integers(-40, 40, (40, 48, 3))).clip(0, 255).astype(np.uint8)
    found = []
    for column in range(1 + seed % 2):
        name = sorted(COLOURS)[int(random.integers(2))]
        width, height = random.integers(11, 17, 2).tolist()
        left, top = column * 26 + int(random.integers(0, 22 - width + 1)), int(random.integers(0, 40 - height + 1))
        pixels[top : top + height, left : left + width] = COLOURS[name]
        found.append({"label": name, "box": [left, top, left + width, top + height]})
    Image.fromarray(pixels).save(path)
    return json.dumps(found)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of images with boxes: 48 to train on, 16 to test on."""
    root = tmp_path_factory.mktemp("boxes")
    with (root / "boxes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split"])
        for number in range(64):
            table.writerow(
                [f"{number}.png", paint(root / f"{number}.png", number), "test" if number % 4 == 3 else "train"]
            )
    return root / "boxes.csv"


def recipe(data: Path, strategy: str, **changes: object) -> Recipe:
    given = {"backbone": "toy_pyramid@random", "task": "toy_detection", "threads": 1, **changes}
    return Recipe(data=str(data), strategy=strategy, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tuned(boxes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDone, list[Event]]:
    events = list(fit(recipe(boxes, "partial", options=QUICK, views=3), tmp_path_factory.mktemp("tuned") / "run"))
    assert isinstance(events[-1], RunDone)
    return events[-1], events


def test_the_classes_are_those_that_the_boxes_name(tuned: tuple[RunDone, list[Event]]) -> None:
    data = tuned[0].report.data
    assert data.classes == ("brick", "slate")
    assert data.splits["train"].examples == 48
    assert set(data.splits["train"].per_class) == {"brick", "slate"}


def test_boxes_are_found_and_the_model_stands_beside_its_probe(tuned: tuple[RunDone, list[Event]]) -> None:
    report = tuned[0].report
    found = report.evaluation["test"].metrics["toy_map"]
    assert found.value > 0.2
    assert report.strategy.cut == "fine"
    assert report.strategy.trained_stages == ("coarse", "top")
    assert 0 <= report.probe.evaluation.metrics["toy_map"].value <= 1
    assert report.paired.metric == "toy_map"


def test_stored_and_recomputed_outputs_agree(tuned: tuple[RunDone, list[Event]]) -> None:
    check = tuned[0].report.store.check
    assert check.examples == 16
    assert check.largest_error < 1e-2


def test_a_loaded_detector_predicts_what_was_evaluated(tuned: tuple[RunDone, list[Event]], boxes: Path) -> None:
    path = boxes.parent / "3.png"
    bundle = load(tuned[0].path, verify=True)
    (one,) = bundle.predict(path)
    (same,) = [found for found in predict(tuned[0].path, [path], threads=1) if isinstance(found, toys.Detected)]
    assert np.allclose(one.boxes, same.boxes)
    assert 0 < len(one.boxes) < toys.GRID**2, "what overlaps was left out"
    with (tuned[0].path / "predictions.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["id"] == "3.png")
    assert [box["label"] for box in json.loads(row["predicted"])] == [box["label"] for box in json.loads(one.label)]
    raw = bundle.raw([bundle.prepare_pieces(path)])
    assert raw[0]["boxes"].shape == (toys.GRID**2, 4)


def test_the_head_alone_is_trained_where_it_cannot_be_solved(boxes: Path, tmp_path: Path) -> None:
    *_, done = fit(recipe(boxes, "probe"), tmp_path / "run")
    assert isinstance(done, RunDone)
    assert done.report.strategy.trained_stages == ()
    assert done.report.evaluation["test"].metrics["toy_map"].value > 0.1


@pytest.mark.parametrize("number", range(6))
def test_boxes_move_with_the_views_of_their_images(number: int, boxes: Path) -> None:
    """Inside a moved box a view has the box's colour, wherever it was cut and however it was flipped."""
    modality = MODALITIES.get("image")
    with boxes.open() as file:
        row = list(csv.DictReader(file))[6]
    view = View(
        number=number, seed=0, content="a", augmentation=modality.augmentation("flips" if number % 2 else "default", {})
    )
    task = TASKS.get("toy_detection")(["brick", "slate"])
    contents = modality.given(boxes.parent / row["path"])
    record, placement = modality.load(contents, toys.card().preparation, view if number else None)
    moved = task.encoded(task.encode([row["label"]]), {name: array[None] for name, array in placement.items()})
    seen = 0
    for box, label in zip(moved["boxes"][0], moved["labels"][0], strict=True):
        left, top, right, bottom = (box * toys.SIDE).round().astype(int) + np.array([2, 2, -2, -2])
        if label >= 0 and left < right and top < bottom:
            inside = record["pixels"][top:bottom, left:right].reshape(-1, 3).astype(int)
            assert np.abs(inside - COLOURS[task.classes[label]]).max() < 12
            seen += 1
    assert seen


def test_views_that_do_not_say_where_they_lie_are_refused(boxes: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="operations"):
        list(fit(recipe(boxes, "partial", augmentation="strong"), tmp_path / "run"))


def test_a_weight_of_the_toy_metric_counts_an_example_as_often() -> None:
    random = np.random.default_rng(0)
    targets, outputs = np.empty(8, dtype=object), np.empty(8, dtype=object)
    for at in range(8):
        truth = np.sort(random.uniform(0, 40, (2, 2, 2)), axis=1).reshape(2, 4)
        targets[at] = {"boxes": truth, "labels": random.integers(0, 2, 2)}
        outputs[at] = {
            "boxes": truth + random.normal(0, 4, (2, 4)),
            "labels": targets[at]["labels"],
            "scores": random.random(2),
        }
    times = np.array([0, 1, 2, 3, 1, 0, 2, 1])
    repeated = np.repeat(np.arange(8), times)
    weighted = toys.MAP.of_weights(targets, outputs)(times[None].astype(float))[0]
    assert weighted == pytest.approx(toys.MAP.compute(targets[repeated], outputs[repeated]), abs=0.05)
