"""A run from labelled pictures to a proven model, on small generated ones."""

import csv
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.bundle_format import read_tensors
from regraft.bundles.bundle import load
from regraft.errors import BadRequest, BundleError, LeakedSplit, RegraftError, RunError, UnknownCut, UnknownName
from regraft.recipe import Decision, Recipe, read_recipe
from regraft.reports.report import Report
from regraft.values import Event, Notice, Plan, Prediction
from regraft.workbench.evaluate import Evaluated, evaluate
from regraft.workbench.fit import fit
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone

QUICK = {"epochs": 1, "min_steps": 2, "batch": 8}


def paint(path: Path, label: int, seed: int, size: int = 40) -> None:
    """Stripes along rows or columns, with noise: two classes that any features tell apart."""
    random = np.random.default_rng(seed)
    edges = np.sort(random.choice(size, 8, replace=False))
    wave = (np.searchsorted(edges, np.arange(size)) % 2) * 120
    plane = wave[:, None].repeat(size, 1) if label else wave[None].repeat(size, 0)
    tint = random.integers(0, 80, 3)
    pixels = np.clip(plane[..., None] + tint + random.integers(0, 40, (size, size, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("divided") / "stripes"
    for part, count in (("train", 24), ("test", 10)):
        for number in range(count):
            label = number % 2
            paint(root / part / ("rows", "columns")[1 - label] / f"{number}.png", label, 1000 * len(part) + number)
    return root


@pytest.fixture(scope="module")
def undivided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undivided") / "stripes"
    for number in range(30):
        paint(root / ("rows", "columns")[1 - number % 2] / f"{number}.png", number % 2, number)
    return root


def recipe(data: Path, strategy: str = "probe", **changes: object) -> Recipe:
    given = {"backbone": "googlenet:tiny@random", "input_px": 32, "threads": 1, **changes}
    return Recipe(data=str(data), strategy=strategy, **given)  # type: ignore[arg-type]


def run(chosen: Recipe, out: Path, **how: bool) -> tuple[RunDone, list[Event]]:
    events = list(fit(chosen, out, **how))
    assert isinstance(events[-1], RunDone)
    return events[-1], events


@pytest.mark.parametrize(
    ("strategy", "changes", "said"),
    [
        ("partial", {"options": {"cutmix": 1.0}}, "options.cutmix is 1.0, but the cut is"),
        ("partial", {"options": {"side_heads": True}, "cut": "5b"}, "Side heads are enabled, but none is above"),
        ("full", {"options": {"regulariser": "delta"}}, "are random"),
        ("full", {"options": {"regulariser": "deltaa"}}, "deltaa"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_stored(
    strategy: str, changes: dict[str, object], said: str, divided: Path, tmp_path: Path
) -> None:
    seen = list[Event]()
    with pytest.raises(RegraftError, match=re.escape(said)):
        seen.extend(fit(recipe(divided, strategy, **changes), tmp_path / "run"))
    assert not [event for event in seen if isinstance(event, Plan)]
    assert not (tmp_path / "run" / "recipe.toml").exists()


@pytest.fixture(scope="module")
def probed(divided: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    return run(recipe(divided), tmp_path_factory.mktemp("runs") / "probe")[0]


def test_a_probe_ends_with_a_report_and_a_model_that_predicts_what_the_report_says(
    probed: RunDone, divided: Path
) -> None:
    assert probed.report.main == "test"
    assert probed.report.data.splits["test"].examples == 10
    with (probed.path / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    model = load(probed.path)
    predictions = model.predict([divided / row["id"] for row in rows])
    assert [found.label for found in predictions] == [row["predicted"] for row in rows]
    for found, row in zip(predictions, rows, strict=True):
        assert found.probabilities[row["predicted"]] == pytest.approx(float(row[f"p:{row['predicted']}"]), abs=1e-4)


def test_the_positive_class_and_the_costs_decide_the_thresholds(divided: Path, tmp_path: Path) -> None:
    decision = Decision(positive="columns", specificity=0.8, cost_false_positive=1.0, cost_false_negative=5.0)
    done, _ = run(recipe(divided, decision=decision), tmp_path / "run")
    found = done.report.evaluation["test"]
    assert found.figures.positive_class == "columns"
    assert found.classes == ("rows", "columns")
    assert [point.rule for point in found.figures.operating_points] == [
        "specificity of at least 0.8", "lowest cost, 1 per false positive and 5 per false negative",
    ]  # fmt: skip
    assert found.figures.operating_points[1].cost.value >= 0
    bundle = load(done.path)
    assert bundle.classes == ("rows", "columns")
    answers = bundle.predict(sorted((divided / "test" / "columns").iterdir()))
    with (done.path / "predictions.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file) if row["split"] == "test"}
    for path, prediction in zip(sorted((divided / "test" / "columns").iterdir()), answers, strict=True):
        assert prediction.label == rows[f"test/columns/{path.name}"]["predicted"]
    page = (done.path / "report.md").read_text()
    assert "columns is the positive class" in page


@pytest.mark.parametrize(("positive", "said"), [("column", "did you mean 'columns'"), ("ill", "choose one of")])
def test_a_positive_class_that_is_none_is_refused(positive: str, said: str, divided: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"decision\.positive") as raised:
        run(recipe(divided, decision=Decision(positive=positive)), tmp_path / "run")
    assert said in raised.value.fix


def test_the_report_on_disk_is_the_one_returned_and_has_a_page_and_a_recipe(probed: RunDone) -> None:
    assert json.loads((probed.path / "report.json").read_text()) == probed.report.to_json()
    assert "accuracy" in (probed.path / "report.md").read_text().lower()
    again = read_recipe(probed.path / "recipe.toml")
    assert again.seen.backbone == probed.report.backbone.digest
    assert (probed.path / "model" / "README.md").is_file()
    assert not (probed.path / "checkpoints").exists()


@pytest.mark.parametrize("strategy", ["partial", "full", "lp_ft", "scratch", "gradual", "lora"])
def test_a_tuned_model_is_shown_beside_its_probe(strategy: str, divided: Path, tmp_path: Path) -> None:
    done, _ = run(recipe(divided, strategy, options=QUICK), tmp_path / "run")
    report = done.report
    assert report.probe.evaluation.metrics["accuracy"].low is not None
    assert report.paired.difference.value == pytest.approx(
        report.evaluation["test"].metrics["accuracy"].value - report.probe.evaluation.metrics["accuracy"].value
    )
    assert (report.strategy.trained_stages == ("5a", "5b")) == (strategy in ("partial", "gradual", "lora"))


def test_what_low_rank_updates_train_is_counted_and_the_model_is_as_large_as_its_backbone(
    divided: Path, tmp_path: Path
) -> None:
    done, _ = run(recipe(divided, "lora", options={**QUICK, "rank": 1}), tmp_path / "run")
    plain, _ = run(recipe(divided, "partial", options=QUICK), tmp_path / "plain")
    counts = [report.backbone.parameters_trained for report in (done.report, plain.report)]
    assert counts[0] < counts[1] / 4
    shapes = [
        {name: array.shape for name, array in read_tensors(path / "model" / "model.safetensors").items()}
        for path in (done.path, plain.path)
    ]
    assert shapes[0] == shapes[1]


def test_stored_and_recomputed_activations_are_compared_when_kept_in_half_precision(
    divided: Path, tmp_path: Path
) -> None:
    done, _ = run(recipe(divided, "partial", options=QUICK), tmp_path / "run")
    check = done.report.store.check
    assert check.examples == 10
    assert 0 < check.largest_error < 1e-2


def test_small_data_without_a_test_split_are_cross_validated_and_all_of_them_train(
    undivided: Path, tmp_path: Path
) -> None:
    done, _ = run(recipe(undivided, folds=3, max_repeats=2), tmp_path / "run")
    assert done.report.main == "cross-validation"
    section = done.report.evaluation["cross-validation"]
    assert (section.repeats, section.folds) == (2, 3)
    assert done.report.data.splits.get("test") is None
    assert done.report.strategy.facts["examples"] == 30


def test_a_tuned_model_on_small_data_is_cross_validated_on_the_probes_folds(undivided: Path, tmp_path: Path) -> None:
    done, _ = run(recipe(undivided, "partial", folds=3, max_repeats=1, options=QUICK), tmp_path / "run")
    assert done.report.evaluation["cross-validation"].num_examples == 30
    assert done.report.paired is not None


def many(root: Path, count: int) -> Path:
    """So many undivided pictures of two classes."""
    for number in range(count):
        paint(root / "stripes" / ("rows", "columns")[1 - number % 2] / f"{number}.png", number % 2, number, size=32)
    return root / "stripes"


def test_examples_enough_to_validate_train_along_where_cross_validation_is_the_proof(tmp_path: Path) -> None:
    """Between 334 and 499 undivided examples: the folds train on everything, so the model that is kept does too."""
    chosen = recipe(many(tmp_path, 340), "partial", folds=3, max_repeats=1, views=1, options=QUICK)
    done, events = run(chosen, tmp_path / "run")
    assert done.report.evaluation["cross-validation"].num_examples == 340
    assert done.report.probe.evaluation.num_examples == 340
    assert done.report.paired is not None
    assert any(isinstance(event, Notice) and "early stopping is off" in event.text for event in events)


def test_views_on_the_device_are_made_of_the_few_that_would_validate_too(tmp_path: Path) -> None:
    chosen = recipe(many(tmp_path, 100), "full", folds=2, max_repeats=1, options=QUICK, augment={"on_device": True})
    assert run(chosen, tmp_path / "run")[0].report.evaluation["cross-validation"].num_examples == 100


def test_the_same_recipe_gives_the_same_model(divided: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        run(recipe(divided, "partial", options=QUICK), tmp_path / name)
        digests.add(json.loads((tmp_path / name / "model" / "bundle.json").read_text())["digests"]["model.safetensors"])
    assert len(digests) == 1


def test_a_plan_comes_before_activations_are_computed(divided: Path, tmp_path: Path) -> None:
    _, events = run(recipe(divided, input_px=33), tmp_path / "run")
    plans = [event for event in events if isinstance(event, Plan) and event.phase == "activations"]
    assert plans[0].examples == 34
    _, events = run(recipe(divided, input_px=33), tmp_path / "again")
    assert not [event for event in events if isinstance(event, Plan)], "nothing is computed twice"


def test_a_run_that_was_stopped_goes_on_to_the_same_model(divided: Path, tmp_path: Path) -> None:
    options = {"epochs": 4, "min_steps": 1, "batch": 8}
    whole, _ = run(recipe(divided, "partial", options=options), tmp_path / "whole")
    stopped = fit(recipe(divided, "partial", options=options), tmp_path / "stopped")
    for event in stopped:
        if getattr(event, "phase", "") == "training" and event.facts:
            break
    stopped.close()
    with pytest.raises(RunError, match="unfinished"):
        next(fit(recipe(divided, "partial", options=options), tmp_path / "stopped"))
    done, _ = run(recipe(divided, "partial", options=options), tmp_path / "stopped", resume=True)

    def losses(report: Report) -> list[float]:
        assert report.strategy
        return [record["loss"] for record in report.strategy.curve]

    assert losses(done.report) == losses(whole.report)


def test_a_finished_run_is_never_overwritten(probed: RunDone, divided: Path) -> None:
    with pytest.raises(RunError, match="finished"):
        next(fit(recipe(divided), probed.path))


def test_a_recipe_refuses_other_weights_and_other_data_than_it_saw(
    probed: RunDone, undivided: Path, tmp_path: Path
) -> None:
    again = read_recipe(probed.path / "recipe.toml")
    from dataclasses import replace

    with pytest.raises(BundleError, match="backbone weights"):
        list(fit(replace(again, seed=7), tmp_path / "a"))
    with pytest.raises(RunError, match="fingerprint"):
        list(fit(replace(again, data=str(undivided)), tmp_path / "b"))


def test_names_that_do_not_exist_are_refused_with_the_nearest(divided: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="partial"):
        next(fit(recipe(divided, "partal"), tmp_path / "a"))
    with pytest.raises(UnknownCut):
        list(fit(recipe(divided, "partial", cut="4z"), tmp_path / "b"))
    with pytest.raises(BadRequest, match="output"):
        list(fit(recipe(divided, "probe", cut="4e"), tmp_path / "c"))


def test_a_split_that_leaks_stops_the_run_unless_allowed(divided: Path, tmp_path: Path) -> None:
    import shutil

    from regraft.recipe import Source

    leaking = tmp_path / "leaking"
    shutil.copytree(divided, leaking)
    shutil.copy(next((leaking / "train" / "rows").glob("*.png")), leaking / "test" / "rows" / "copy.png")
    with pytest.raises(LeakedSplit, match=r"copy\.png"):
        list(fit(recipe(leaking), tmp_path / "a"))
    done, _ = run(recipe(leaking, source=Source(allow_leaks=True)), tmp_path / "b")
    assert any("copy.png" in note for note in done.report.data.notes)


def test_a_model_is_the_next_backbone(probed: RunDone, undivided: Path, tmp_path: Path) -> None:
    chosen = recipe(undivided, "partial", backbone=f"bundle:{probed.path}", input_px=0, folds=3, max_repeats=1)
    from dataclasses import replace

    done, _ = run(replace(chosen, options=QUICK), tmp_path / "run")
    assert done.report.backbone.input_px == (32, 32)


def test_evaluating_a_run_on_its_test_part_gives_its_own_numbers(probed: RunDone, divided: Path) -> None:
    found = list(evaluate(probed.path, divided))[-1]
    assert isinstance(found, Evaluated)
    mine = found.report.evaluation["test"].metrics["accuracy"].value
    assert mine == probed.report.evaluation["test"].metrics["accuracy"].value


def test_predicting_a_folder_names_unreadable_files_and_goes_on(probed: RunDone, divided: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "good.png").write_bytes(next((divided / "test" / "rows").glob("*.png")).read_bytes())
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / ".hidden").write_bytes(b"")
    found = list(predict(probed.path, [folder], threads=1))
    notices = [event.text for event in found if isinstance(event, Notice)]
    predictions = {Path(one.id).name: one for one in found if not isinstance(one, Event)}
    assert any("hidden" in text for text in notices)
    assert predictions["bad.png"].error
    assert predictions["bad.png"].label is None
    assert sum(predictions["good.png"].probabilities.values()) == pytest.approx(1)


def test_near_duplicates_are_looked_for_once(divided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = run(recipe(divided), tmp_path / "first")
    monkeypatch.setattr(
        "regraft.modalities.image.modality.near_pairs", lambda prints: pytest.fail("they were looked for again")
    )
    second, _ = run(recipe(divided), tmp_path / "second")
    assert second.report.data == first.report.data


def test_a_warm_probe_loads_neither_torch_nor_scikit_learn_nor_scipy(
    probed: RunDone, divided: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from regraft.recipe import Recipe; from regraft.workbench.fit import fit\n"
        f"list(fit(Recipe(data={str(divided)!r}, backbone='googlenet:tiny@random', input_px=32, threads=1), "
        f"Path({str(tmp_path / 'run')!r})))\n"
        "loaded = [name for name in ('torch', 'sklearn', 'scipy', 'onnxruntime') if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    env = {**os.environ, **child_env}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr


def test_files_in_an_archive_are_answered_under_the_archives_name(
    probed: RunDone, divided: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "some.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(divided / "test" / "rows" / "1.png", "a/1.png")
        packed.writestr("broken.png", b"no picture")
    found = [one for one in predict(probed.path, [archive]) if isinstance(one, Prediction)]
    assert [one.id for one in found] == [str(archive / "a" / "1.png"), str(archive / "broken.png")]
    assert found[0].label in ("rows", "columns")
    assert found[1].error is not None
    assert str(archive / "broken.png") in found[1].error
