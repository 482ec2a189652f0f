"""A network taught by another one, from images with labels and without, to a run with its report."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.activations.runner import Prefixes
from regraft.bundles.bundle import load
from regraft.data.open import open_dataset
from regraft.errors import BadData, BadRequest
from regraft.recipe import Recipe
from regraft.workbench.evaluate import evaluate
from regraft.workbench.fit import fit
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone

TEACHER = "googlenet:tiny@random"
OPTIONS = {"teacher": TEACHER, "teacher_side": 48, "epochs": 2, "min_steps": 2, "batch": 8}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred images in folders that are no classes: some of them deeper than others."""
    root, random = tmp_path_factory.mktemp("images") / "photographs", np.random.default_rng(0)
    for number in range(100):
        folder = root / ("", "summer", "summer/beach")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        grid = random.integers(0, 255, (5, 5, 3)).astype(np.uint8)
        Image.fromarray(grid).resize((40, 40)).save(folder / f"{number}.png")
    return root


def recipe(data: Path, **changes: object) -> Recipe:
    given = {"backbone": "googlenet:tiny@random", "input_px": 32, "threads": 1, "views": 2, "strategy": "distill",
             "task": "features", "options": OPTIONS, "seed": 3, **changes}  # fmt: skip
    return Recipe(data=str(data), **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(images: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    *_, last = fit(recipe(images), tmp_path_factory.mktemp("run") / "run")
    assert isinstance(last, RunDone)
    return last


def test_an_unlabelled_folder_is_read_whole(images: Path) -> None:
    found = open_dataset(images, task="features")
    assert len(found.examples) == 100
    assert {example.label for example in found.examples} == {""}
    assert found.classes == ()
    with pytest.raises(BadData, match="--strategy distill --task features"):
        open_dataset(images / "summer" / "beach")


def test_the_held_out_distance_is_the_main_figure_and_the_probe_stands_beside_it(done: RunDone) -> None:
    report = done.report
    held = report.evaluation[report.main]
    assert held.main_metric == "feature_distance"
    assert 0 < held.metrics["feature_distance"].value < 2
    assert held.metrics["feature_distance"].low is not None
    assert report.probe is not None
    assert report.strategy.facts["teacher"]["name"] == TEACHER
    page = (done.path / "report.md").read_text(encoding="utf-8")
    assert "Squared distance from the teacher's features" in page


def test_the_model_gives_features_and_is_a_backbone_for_the_next_transfer(done: RunDone, images: Path) -> None:
    (one,) = predict(done.path, [images / "0.png"], threads=1)
    width = load(done.path / "model").model.task.facts["num_outputs"]
    assert len(one.values) == width
    with pytest.raises(BadRequest, match="evaluated against its teacher"):
        list(evaluate(done.path, images))


@pytest.mark.slow
def test_the_teacher_looks_once_at_every_view(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: RunDone
) -> None:
    counted, before = list[int](), Prefixes.states

    def states(self: Prefixes, cuts: tuple[str, ...], records: list[object]) -> object:
        if self.backbone.card.input_px == (48, 48):
            counted.append(len(records))
        return before(self, cuts, records)

    monkeypatch.setattr(Prefixes, "states", states)
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    list(fit(recipe(images), tmp_path / "one"))
    assert 200 <= sum(counted) <= 300  # a batch is run twice, to tell how long the rest will take
    counted.clear()
    list(fit(recipe(images, options={**OPTIONS, "epochs": 3}), tmp_path / "two"))
    assert counted == []


def test_other_strategies_need_labels(images: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="come from a teacher, but the strategy probe has none"):
        list(fit(recipe(images, strategy="probe", options={}), tmp_path / "run"))
