"""Adding classes to a finished model: the rest stays bit for bit, the old classes are asked, the new one is known."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import regraft
from regraft.bundle_format import FACTS, TENSORS, read_tensors
from regraft.bundles.bundle import load
from regraft.errors import BadData, BadRecipe, BadRequest, RunError
from regraft.recipe import Recipe
from regraft.values import Event, Notice
from regraft.workbench.compare import compare
from regraft.workbench.evaluate import Evaluated, evaluate
from regraft.workbench.fit import fit
from regraft.workbench.recipes import extension_for
from regraft.workbench.run import RunDone

TINTS = {"blue": (60, 60, 190), "green": (60, 190, 60), "red": (190, 60, 60), "grey": (120, 120, 120)}
COUNTS = {"train": 12, "test": 8}
EASY = 1.0
"""A limit that everything keeps: these few examples are not there to measure."""


def extend(
    run: Path, data: Path, *, out: Path, old: Path | None = None, max_loss: float = 0.02, threads: int = 0
) -> Iterator[Event]:
    recipe = extension_for(run, data, old=old, max_loss=max_loss, settings={"threads": threads})
    return fit(recipe, out)


def paint(root: Path, labels: tuple[str, ...], parts: Mapping[str, int] = COUNTS) -> Path:
    """`root/PART/LABEL/N.png`, noise on a tint; without parts where there is one called ''."""
    for part, count in parts.items():
        for label in labels:
            folder = root / part / label
            folder.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng([len(part), *map(ord, label)])
            for number in range(count):
                pixels = random.normal(TINTS[label], 40, (36, 36, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of two old classes and a new one, and runs on the old: a probe and a tuned one."""
    root = tmp_path_factory.mktemp("extend")
    paint(root / "old", ("blue", "green"))
    paint(root / "new", ("red",))
    for strategy, options in (("probe", {}), ("partial", {"epochs": 1, "min_steps": 3, "batch": 8})):
        recipe = Recipe(
            data=str(root / "old"), backbone="googlenet:tiny@random", strategy=strategy, input_px=32, threads=1,
            augmentation="none", views=1, options=options,
        )  # fmt: skip
        assert isinstance(list(fit(recipe, root / strategy))[-1], RunDone)
    for strategy in ("probe", "partial"):
        list(extend(root / strategy, root / "new", out=root / f"{strategy}-3", max_loss=EASY, threads=1))
    return root


def told(place: Path, name: str) -> dict:
    report: dict = json.loads((place / name / "report.json").read_text())
    return report


@pytest.mark.parametrize("strategy", ["probe", "partial"])
def test_network_and_old_rows_stay_bit_for_bit(place: Path, strategy: str) -> None:
    before, after = (read_tensors(place / name / "model" / TENSORS) for name in (strategy, f"{strategy}-3"))
    for name, array in before.items():
        if name.startswith("head/"):
            np.testing.assert_array_equal(after[name][: len(array)], array)
            assert len(after[name]) == len(array) + 1
        elif not name.startswith("ood/"):
            np.testing.assert_array_equal(after[name], array)
    assert before.keys() == after.keys()
    facts = [json.loads((place / name / "model" / FACTS).read_text()) for name in (strategy, f"{strategy}-3")]
    assert facts[1]["backbone"]["stages"] == facts[0]["backbone"]["stages"]
    assert facts[1]["temperature"] == facts[0]["temperature"]
    assert facts[1]["task"]["classes"] == ["blue", "green", "red"]


@pytest.mark.parametrize("strategy", ["probe", "partial"])
def test_the_new_model_loads_and_knows_the_new_class(place: Path, strategy: str) -> None:
    model = load(place / f"{strategy}-3")
    answers = model.predict(sorted((place / "new" / "test" / "red").iterdir()))
    assert np.mean([one.label == "red" for one in answers]) > 0.7
    assert sum(answers[0].probabilities.values()) == pytest.approx(1)
    assert model.facts["facts"]["trained_on_examples"] == 36
    assert model.facts["facts"]["calibration"]["kept"] is False
    assert model.model.temperature == load(place / strategy).model.temperature
    assert len(model.model.ood.class_means) == 3


def test_the_check_asks_both_models_about_the_old_test_part(place: Path) -> None:
    (finding,) = told(place, "probe-3")["findings"]
    old = sorted((place / "old" / "test").rglob("*.png"))
    said = [[one.label for one in load(place / name).predict(old)] for name in ("probe", "probe-3")]
    right = [np.mean([one == path.parent.name for one, path in zip(of, old, strict=True)]) for of in said]
    assert finding["score"] == pytest.approx(right[1] - right[0])
    figures = rf"on 16 old test examples \(not seen by the old model\) was {right[0]:.3f} before and is {right[1]:.3f}"
    assert re.search(figures, finding["message"])
    taken = {f"test/{path.parent.name}/{path.name}" for path, one in zip(old, said[1], strict=True) if one == "red"}
    assert set(finding["examples"]) == taken


def test_the_page_and_the_card_say_what_was_added_and_kept(place: Path) -> None:
    for page in ("report.md", "model/README.md"):
        text = (place / "partial-3" / page).read_text()
        assert "With red added and nothing else changed, the accuracy on 16 old test" in text
        assert "ncalibrated" in text
    report = (place / "partial-3" / "report.md").read_text()
    assert "## Data checks" in report
    assert "old model partial" in report
    assert "then 2 classes of the user's (partial)" in report


def test_it_is_compared_with_a_head_retrained_on_all_examples(place: Path) -> None:
    report = told(place, "probe-3")
    assert report["probe"]["facts"]["examples"] == 36
    assert "the linear probe" in report["paired"]["verdict"]
    assert report["backbone"]["parameters_trained"] == load(place / "probe-3").model.weight.shape[1] + 1


def test_it_can_be_evaluated_and_compared(place: Path) -> None:
    paint(place / "all", ("blue", "green", "red"))
    done = list(evaluate(place / "probe-3", place / "all", threads=1))[-1]
    assert isinstance(done, Evaluated)
    expected = told(place, "probe-3")["evaluation"]["test"]["metrics"]["accuracy"]["value"]
    assert done.report.evaluation["test"].metrics["accuracy"].value == pytest.approx(expected)
    found = compare(place / "probe-3", place / "partial-3")
    assert found.num_examples == 24
    assert found.described[0] == "extend at output, googlenet:tiny@bundle:probe"


def test_the_same_seed_gives_the_same_model(place: Path, tmp_path: Path) -> None:
    list(extend(place / "probe", place / "new", out=tmp_path / "again", max_loss=EASY, threads=1))
    one, again = (path / "model" / TENSORS for path in (place / "probe-3", tmp_path / "again"))
    assert one.read_bytes() == again.read_bytes()


def test_too_much_lost_writes_nothing(place: Path, tmp_path: Path) -> None:
    """The new class is painted like an old one, which cannot be kept."""
    paint(tmp_path / "twin", ("blue",), {"train": 40, "test": 8})
    for part in COUNTS:
        (tmp_path / "twin" / part / "blue").rename(tmp_path / "twin" / part / "azure")
    for number, path in enumerate(sorted((tmp_path / "twin").rglob("*.png"))):
        pixels = np.asarray(Image.open(path)).copy()
        pixels[0, 0] = number
        Image.fromarray(pixels).save(path)
    with pytest.raises(
        BadData, match=r"With azure added and nothing else changed, the accuracy on 16 old test .* Nothing was"
    ) as caught:
        list(extend(place / "probe", tmp_path / "twin", out=tmp_path / "out", threads=1))
    assert "--max-loss" in caught.value.fix
    assert not (tmp_path / "out").exists()
    list(extend(place / "probe", tmp_path / "twin", out=tmp_path / "out", max_loss=1.0, threads=1))
    assert load(tmp_path / "out").classes == ("blue", "green", "azure")


def test_a_model_without_its_run_takes_old_examples_that_are_given(place: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(place / "probe" / "model", tmp_path / "model"))
    with pytest.raises(BadData, match="no examples of the old classes") as caught:
        list(extend(model, place / "new", out=tmp_path / "out", max_loss=EASY, threads=1))
    assert "--old" in caught.value.fix
    paint(tmp_path / "some", ("blue", "green", "grey"), {"": 10})
    events = list(extend(model, place / "new", out=tmp_path / "out", old=tmp_path / "some", max_loss=EASY, threads=1))
    said = " ".join(event.text for event in events if isinstance(event, Notice))
    assert "unknown to the model left out: grey" in said
    assert "possibly seen by the old model in training" in said
    assert "on 4 old test examples" in told(tmp_path, "out")["findings"][0]["message"]


def test_old_examples_among_the_new_data_count_as_old(place: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(place / "probe" / "model", tmp_path / "model"))
    paint(tmp_path / "both", ("blue", "red"))
    done = list(extend(model, tmp_path / "both", out=tmp_path / "out", max_loss=EASY, threads=1))[-1]
    assert isinstance(done, RunDone)
    facts, (finding,) = done.report.strategy.facts, done.report.findings
    assert (facts["added"], facts["old_examples"], finding.severity) == (["red"], 12, "warn")
    assert "no old test examples of green" in (tmp_path / "out" / "report.md").read_text()


def test_where_no_old_example_is_left_to_ask_about_the_model_says_so(place: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(place / "probe" / "model", tmp_path / "model"))
    paint(tmp_path / "both", ("blue", "green"), {"train": 6})
    paint(tmp_path / "both", ("red",))
    events = list(extend(model, tmp_path / "both", out=tmp_path / "out", threads=1))
    assert any("could not be checked" in event.text for event in events if isinstance(event, Notice))
    for page in ("report.md", "model/README.md"):
        assert "could not be checked: no old example was available" in (tmp_path / "out" / page).read_text()
    assert told(tmp_path, "out")["findings"][0]["severity"] == "warn"


def test_data_that_changed_since_are_not_taken_for_those_of_the_run(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "old", tmp_path / "old")
    recipe = (place / "probe" / "recipe.toml").read_text()
    run = Path(shutil.copytree(place / "probe", tmp_path / "run"))
    (run / "recipe.toml").write_text(recipe.replace(str(place / "old"), str(tmp_path / "old")))
    (tmp_path / "old" / "train" / "blue" / "0.png").unlink()
    events = extend(run, place / "new", out=tmp_path / "out", threads=1)
    said = []
    with pytest.raises(BadData, match="no examples of the old classes"):
        said += [event.text for event in iter(lambda: next(events), None) if isinstance(event, Notice)]
    shutil.rmtree(tmp_path / "old")
    events = extend(run, place / "new", out=tmp_path / "out", threads=1)
    notices = []
    with pytest.raises(BadData, match="no examples of the old classes"):
        for event in events:
            notices += [event.text] if isinstance(event, Notice) else []
    assert any("cannot be used: " in text and "does not exist" in text for text in notices)


def test_one_picture_under_an_old_and_a_new_label_is_refused(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "new", tmp_path / "new")
    shutil.copy(place / "old" / "train" / "blue" / "3.png", tmp_path / "new" / "train" / "red" / "wrong.png")
    with pytest.raises(BadData, match=r"1 examples of a new class .*train/blue/3\.png is blue there and red in new"):
        list(extend(place / "probe", tmp_path / "new", out=tmp_path / "out", max_loss=EASY, threads=1))


def test_what_makes_no_sense_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"Every class of .* \(blue, green\) already belongs to the model"):
        list(extend(place / "probe", place / "old", out=tmp_path / "out", threads=1))
    with pytest.raises(BadRecipe, match=r"max_loss is 2"):
        list(extend(place / "probe", place / "new", out=tmp_path / "out", max_loss=2, threads=1))
    plain = Recipe(data=str(place / "new"), backbone="googlenet:tiny@random", strategy="extend", threads=1)
    with pytest.raises(BadRequest, match="adds classes to a finished model"):
        list(fit(plain, tmp_path / "out"))
    with pytest.raises(BadRequest, match="would also change the predictions"):
        list(fit(replace(plain, backbone=f"bundle:{place / 'probe'}", input_px=48), tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(RunError, match="holds a finished run"):
        list(extend(place / "probe", place / "new", out=place / "probe-3", threads=1))


def test_from_python_it_gives_a_run(place: Path, tmp_path: Path) -> None:
    run = regraft.extend(
        place / "probe", place / "new", out=tmp_path / "out", max_loss=EASY, quiet=True, group_pattern=r"(\w+/\w+/\d)"
    )
    assert run.verdict().count("With red added and nothing else changed") == 1
    assert run.predict([place / "new" / "test" / "red" / "0.png"])[0].label in ("blue", "green", "red")
    assert run.report.data.groups is not None


@pytest.mark.slow
def test_a_model_that_was_extended_is_extended_again_with_all_that_it_was_made_of(place: Path, tmp_path: Path) -> None:
    paint(tmp_path / "more", ("grey",))
    done = list(extend(place / "probe-3", tmp_path / "more", out=tmp_path / "out", max_loss=EASY, threads=1))[-1]
    assert isinstance(done, RunDone)
    assert done.report.strategy.facts["old_examples"] == 36
    assert "on 24 old test examples (not seen by the old model)" in done.report.findings[0].message
    model, before = load(tmp_path / "out"), load(place / "probe-3")
    assert model.classes == ("blue", "green", "red", "grey")
    np.testing.assert_array_equal(model.model.weight[:3], before.model.weight)


@pytest.mark.slow
def test_a_sixth_disease_is_added_to_five(unpacked, shared_weights: Path, tmp_path: Path) -> None:
    """On real leaves: about as good as a head retrained on all six, and the loss of the old classes is told."""
    six = unpacked("plantvillage_tomato")
    for part in COUNTS:
        for folder in (six / part).iterdir():
            name = "new" if folder.name == "septoria_leaf_spot" else "five"
            shutil.copytree(folder, tmp_path / name / part / folder.name)
    common = {"backbone": f"googlenet:torchvision@file:{shared_weights / 'googlenet-short.pth'}", "input_px": 64}
    whole = regraft.fit(six, out=tmp_path / "whole", quiet=True, **common)
    five = regraft.fit(tmp_path / "five", out=tmp_path / "run", quiet=True, **common)
    run = regraft.extend(five, tmp_path / "new", out=tmp_path / "six", max_loss=0.1, quiet=True)
    anew, added = (one.report.evaluation["test"].metrics["accuracy"].value for one in (whole, run))
    assert added > anew - 0.05
    (finding,) = run.report.findings
    assert "on 175 old test examples" in finding.message
    assert -0.1 <= finding.score <= 0.01
    recall = {one.name: one.recall.value for one in run.report.evaluation["test"].figures.per_class}
    assert recall["septoria_leaf_spot"] > 0.5
