"""Runs that predict tags, ranks and numbers, from a table to a model that says what the report says."""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.bundle_format import read_facts
from regraft.bundles.bundle import load
from regraft.contracts.metric import main_metric
from regraft.errors import BadData, BadRecipe, RunError, UnknownName
from regraft.recipe import Decision, Recipe, Source, Target, read_recipe
from regraft.values import Event, Notice
from regraft.workbench.compare import compare
from regraft.workbench.evaluate import Evaluated, evaluate
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone

HEADER = ("path", "split", "plot", "tags", "warm", "striped", "level", "price", "width")
SOURCES = {
    "classification": (Source(label_column="level"), "auto"),
    "multilabel": (Source(label_column="tags", label_delimiter="|"), "auto"),
    "ordinal": (Source(label_column="level"), "ordinal"),
    "regression": (Source(label_columns=("price", "width")), "auto"),
}
"""How each task is asked of the table."""
KINDS = pytest.mark.parametrize("kind", SOURCES)


def paint(root: Path, count: int, *, split: bool) -> Path:
    """Pictures that are warm or not, striped or not, of three brightnesses; and a table of them."""
    random = np.random.default_rng(count)
    (root / "pictures").mkdir(parents=True)
    rows = []
    for at in range(count):
        warm, striped, level = int(random.integers(2)), int(random.integers(2)), at % 3
        pixels = random.integers(20, 60, (36, 36, 3)) + 45 * level
        pixels[::4] += 60 * striped
        pixels[..., 0] += 50 * warm
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / "pictures" / f"{at}.png")
        tags = "|".join(name for name, here in (("warm", warm), ("striped", striped)) if here)
        price = 100.0 * 3**level * (1 + 0.05 * random.random())
        part = ("train", "test")[at % 4 == 3] if split else ""
        rows.append((f"pictures/{at}.png", part, f"plot{at // 2}", tags, warm, striped, level, price, 4 + 2 * warm))
    path = root / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("divided"), 64, split=True)


@pytest.fixture(scope="module")
def undivided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("undivided"), 40, split=False)


def recipe(data: Path, kind: str, **changes: object) -> Recipe:
    source, task = SOURCES[kind]
    given = {"backbone": "googlenet:tiny@random", "input_px": 32, "threads": 1, "max_repeats": 2, **changes}
    return Recipe(data=str(data), source=source, task=task, **given)  # type: ignore[arg-type]


def run(chosen: Recipe, out: Path) -> tuple[RunDone, list[Event]]:
    events = list(fit(chosen, out))
    assert isinstance(events[-1], RunDone)
    return events[-1], events


Fitted = Callable[[str], RunDone]


@pytest.fixture(scope="module")
def tuned(divided: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A function from a kind to a run that tuned a little, once for all tests."""

    @cache
    def fitted(kind: str) -> RunDone:
        options = {"epochs": 1, "min_steps": 2, "batch": 16}
        chosen = recipe(divided, kind, strategy="partial", views=1, options=options, dtype="float32")
        return run(chosen, tmp_path_factory.mktemp("tuned") / kind)[0]

    return fitted


def rows_of(path: Path, split: str) -> list[Mapping[str, str]]:
    with (path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


@KINDS
def test_the_model_says_what_the_report_and_the_table_say(kind: str, tuned: Fitted, divided: Path) -> None:
    done = tuned(kind)
    assert (done.report.main, done.report.data.kind) == ("test", kind)
    rows = rows_of(done.path, "test")
    assert len(rows) == 16
    prefix = "v:" if kind == "regression" else "p:"
    model = load(done.path)
    answers = model.predict([divided.parent / row["id"] for row in rows])
    largest = max(float(row[f"{prefix}{name}"]) for row in rows for name in model.classes)
    for prediction, row in zip(answers, rows, strict=True):
        said = prediction.values if kind == "regression" else prediction.probabilities
        assert said == pytest.approx(
            {name: float(row[f"{prefix}{name}"]) for name in model.classes}, abs=1e-4 * max(1.0, largest)
        )
        if kind != "regression":
            assert prediction.label == row["predicted"]
        assert prediction.labels == (row["predicted"].split(";") if row["predicted"] else []) or kind != "multilabel"
        assert prediction.ood_score is not None
    task = model.model.task
    main = main_metric(kind)
    outputs = np.array([[float(row[f"{prefix}{name}"]) for name in model.classes] for row in rows])
    told = done.report.evaluation["test"].metrics[main.name].value
    assert told == pytest.approx(main.compute(task.encode([row["label"] for row in rows]), outputs), rel=1e-4)


@KINDS
def test_the_probe_stands_beside_a_tuned_model_with_the_paired_difference(kind: str, tuned: Fitted) -> None:
    report = tuned(kind).report
    assert report.probe.evaluation.kind == kind
    assert report.paired.metric == main_metric(kind).name
    assert (report.paired.p_value is None) == (not load(tuned(kind).path).model.task.exclusive)


@KINDS
def test_a_later_test_reads_the_table_alike_and_finds_the_same(
    kind: str, tuned: Fitted, divided: Path, tmp_path: Path
) -> None:
    done = tuned(kind)
    source = SOURCES[kind][0] if kind in ("classification", "ordinal") else Source()
    if kind == "multilabel":
        source = Source(label_column="tags")
    *_, last = evaluate(done.path, divided, out=tmp_path / "test", source=source)
    assert isinstance(last, Evaluated)
    main = main_metric(kind).name
    found, told = (report.evaluation["test"].metrics[main] for report in (last.report, done.report))
    assert found.value == pytest.approx(told.value, rel=1e-4)
    compared = compare(done.path, tmp_path / "test", metric=main)
    assert compared.paired.a == pytest.approx(compared.paired.b, rel=1e-4)


@KINDS
def test_small_data_are_judged_by_cross_validation(kind: str, undivided: Path, tmp_path: Path) -> None:
    chosen = recipe(undivided, kind)
    chosen = replace(chosen, source=replace(chosen.source, group_column="plot"))
    done, _ = run(chosen, tmp_path / "run")
    assert done.report.main == "cross-validation"
    section = done.report.evaluation["cross-validation"]
    assert (section.repeats, section.folds, section.num_groups) == (2, 5, 20)
    mean = section.mean_of_folds
    assert mean.low is None or mean.low <= mean.value <= mean.high
    assert len(rows_of(done.path, "cross-validation")) == 40


@pytest.mark.slow
@KINDS
def test_the_recipe_that_a_run_wrote_makes_the_same_model(kind: str, tuned: Fitted, tmp_path: Path) -> None:
    done = tuned(kind)
    written = read_recipe(done.path / "recipe.toml")
    assert written.task == kind
    again, _ = run(written, tmp_path / "again")
    one, other = (path / "model" / "model.safetensors" for path in (done.path, again.path))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
@KINDS
def test_a_model_of_any_kind_is_the_next_backbone(kind: str, tuned: Fitted, divided: Path, tmp_path: Path) -> None:
    other = "regression" if kind == "classification" else "classification"
    done, _ = run(recipe(divided, other, backbone=f"bundle:{tuned(kind).path}", input_px=0), tmp_path / "next")
    outputs = {"multilabel": "2 labels", "regression": "2 targets"}.get(kind, "3 classes")
    assert done.report.backbone.trained_on.endswith(f"then {outputs} of the user's ({kind})")


def test_the_bundle_keeps_what_the_task_must_know(tuned: Fitted) -> None:
    facts = {kind: read_facts(tuned(kind).path / "model")["task"] for kind in SOURCES}
    assert facts["classification"] == {"kind": "classification", "classes": ["0", "1", "2"]}
    assert facts["multilabel"]["delimiter"] == "|"
    assert facts["ordinal"] == {"kind": "ordinal", "classes": ["0", "1", "2"]}
    assert facts["regression"]["classes"] == ["price", "width"]
    assert len(facts["regression"]["mean"]) == len(facts["regression"]["std"]) == 2


def test_the_scale_comes_from_training_examples_alone(tuned: Fitted, divided: Path) -> None:
    with divided.open(newline="") as file:
        prices = np.array([float(row["price"]) for row in csv.DictReader(file) if row["split"] == "train"])
    facts = read_facts(tuned("regression").path / "model")["task"]
    assert facts["mean"][0] == pytest.approx(prices.mean())
    assert facts["std"][0] == pytest.approx(prices.std())


def test_prices_by_their_logarithm_come_out_in_their_unit(divided: Path, tmp_path: Path) -> None:
    source = Source(label_column="price")
    chosen = replace(recipe(divided, "regression"), source=source, task="regression", target=Target(transform="log"))
    done, _ = run(chosen, tmp_path / "run")
    rows = rows_of(done.path, "test")
    actual, said = (np.array([float(row[name]) for row in rows]) for name in ("label", "v:price"))
    assert np.abs(np.log(said / actual)).mean() < 0.3
    assert read_facts(done.path / "model")["task"]["transform"] == "log"
    assert done.report.calibration is None


def test_no_word_of_calibration_where_nothing_is_stated(divided: Path, tmp_path: Path) -> None:
    _, events = run(recipe(divided, "regression"), tmp_path / "run")
    assert not [event for event in events if isinstance(event, Notice) and event.topic == "calibration"]


@pytest.mark.parametrize(
    ("changes", "kind", "error", "said"),
    [
        ({"task": "regresion"}, "ordinal", UnknownName, "no task named 'regresion'"),
        ({"target": Target(transform="log")}, "ordinal", BadRecipe, "target.transform is set, but this is a ordinal"),
        ({"target": Target(order=("0", "1", "2"))}, "classification", BadRecipe, "target.order is set"),
        ({"decision": Decision(positive="0")}, "ordinal", BadRecipe, "decision.positive is '0', but this is a ordinal"),
        ({"options": {"balanced": True}}, "regression", BadRecipe, "options.balanced is true"),
    ],
)
def test_settings_that_mean_nothing_for_the_task_are_refused(
    changes: dict[str, object], kind: str, error: type[Exception], said: str, divided: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said.replace(".", r"\.")):
        run(replace(recipe(divided, kind), **changes), tmp_path / "run")  # type: ignore[arg-type]


def test_a_number_without_a_logarithm_is_named(divided: Path, tmp_path: Path) -> None:
    table = divided.with_name("minus.csv")
    lines = divided.read_text().splitlines()
    lines[5] = lines[5].rpartition(",")[0] + ",-4"
    table.write_text("\n".join(lines) + "\n")
    chosen = replace(recipe(table, "regression"), target=Target(transform="log"))
    with pytest.raises(BadData, match=r"minus\.csv row 6: width is -4\.0; target\.transform is log"):
        run(chosen, tmp_path / "run")


def test_runs_of_two_kinds_cannot_be_compared(tuned: Fitted) -> None:
    with pytest.raises(RunError):
        compare(tuned("regression").path, tuned("ordinal").path)


def test_report_json_is_plain_json_for_every_kind(tuned: Fitted) -> None:
    for kind in SOURCES:
        done = tuned(kind)
        assert json.loads((done.path / "report.json").read_text()) == done.report.to_json()
        assert (done.path / "report.md").read_text(encoding="utf-8").startswith("# partial on table.csv")


def test_tags_have_thresholds_from_held_out_examples_and_numbers_the_training_medians(
    tuned: Fitted, divided: Path
) -> None:
    tags = tuned("multilabel").report.probe.evaluation.figures.per_label
    assert [0 < one.chosen.threshold < 1 for one in tags] == [True, True]
    with divided.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    medians = [float(np.median([float(row[name]) for row in rows])) for name in ("price", "width")]
    report = tuned("regression").report
    for section in (report.evaluation["test"], report.probe.evaluation):
        assert section.figures.baseline.outputs == pytest.approx(medians)
