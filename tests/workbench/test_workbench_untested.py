"""Case K2: no number from folds that cannot train, whatever the metric, the task, the strategy and the page."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.bundles.bundle import load
from regraft.errors import RunError
from regraft.recipe import Recipe, Source, Target
from regraft.reports.report import Report, read_report
from regraft.workbench.compare import compare
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone

QUICK = {"epochs": 1, "min_steps": 2, "batch": 8}
Row = tuple[str, str]
"""Label and group."""
COINCIDE = [(name, f"site {name}") for name in "abc" for _ in range(10)]
ONE_ALONE = [("a", "site a")] * 10 + [(name, f"site {name}{at // 2}") for name in "bc" for at in range(20)]
BOTH_ALONE_BUT_ONE = [("a", "site a")] * 10 + [("b", f"site {at}") for at in range(20)]
A_TAG_ALONE = [("x;rare" if at < 4 else "x" if at % 2 else "y", f"site {max(at, 3) // 2}") for at in range(40)]
CONSTANT = [("1.5", f"site {at % 3}") for at in range(20)] + [("2.5", "site z")] * 10
SEVERAL_VALUES = [(f"{at % 7}.5", f"site {at // 3}") for at in range(36)]


def ran(folder: Path, rows: Sequence[Row], strategy: str = "probe", *, task: str = "auto") -> Report:
    """A fit on noise with these labels and groups."""
    random, data = np.random.default_rng(3), folder / "data"
    data.mkdir(parents=True)
    for at in range(len(rows)):
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(data / f"{at}.png")
    with (data / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "site"), *((f"{at}.png", *row) for at, row in enumerate(rows))])
    source = Source(group_column="site", label_delimiter=";" if task == "multilabel" else "")
    order = ("a", "b", "c") if task == "ordinal" else ()
    recipe = Recipe(
        data=str(data / "table.csv"), source=source, task=task, strategy=strategy, backbone="googlenet:tiny@random",
        input_px=32, threads=1, folds=4, max_repeats=2, target=Target(order=order),
        options={} if strategy == "probe" else QUICK,
    )  # fmt: skip
    *_, done = fit(recipe, folder / "run")
    assert isinstance(done, RunDone)
    return done.report


def numbers_in(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers_in(one)]
    if isinstance(value, list):
        return [number for one in value for number in numbers_in(one)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize(("strategy", "task"), [("probe", "auto"), ("partial", "auto"), ("probe", "ordinal")])
def test_k2_where_each_class_is_one_group_there_is_no_number_and_it_is_said_why(
    strategy: str, task: str, tmp_path: Path
) -> None:
    report = ran(tmp_path, COINCIDE, strategy, task=task)
    assert report.section is None
    assert (report.evaluation, report.gaps, report.probe, report.paired) == ({}, (), None, None)
    assert report.calibration is None
    assert report.untested.startswith("Groups and classes coincide: each class is one group")
    assert "There is no figure: the model was trained on these examples, but its accuracy" in report.untested
    run = tmp_path / "run"
    for page in ("report.md", "report.html", "model/README.md"):
        text = (run / page).read_text()
        assert "Nothing was measured. Groups and classes coincide" in text
        assert "Accuracy" not in text.replace("Accuracy on data from elsewhere", "")
        assert "[0." not in text
    found = json.loads((run / "report.json").read_text())
    assert found["untested"] == report.untested
    assert not any(numbers_in(found[key]) for key in ("evaluation", "gaps", "probe", "paired", "calibration"))
    assert len((run / "predictions.csv").read_text().splitlines()) == 1
    assert load(run).model.ood is None
    assert load(run).model.temperature == 1.0
    assert read_report(run).section is None


@pytest.mark.parametrize("strategy", ["probe", "partial"])
def test_a_class_of_one_group_is_tested_nowhere_and_the_others_are(strategy: str, tmp_path: Path) -> None:
    report = ran(tmp_path, ONE_ALONE, strategy)
    section = report.section
    assert section is not None
    assert (section.num_examples, section.num_groups, section.folds) == (40, 20, 4)
    by_class = {one.name: one for one in section.figures.per_class}
    assert (by_class["a"].support, by_class["b"].support) == (0, 20)
    assert np.isnan(by_class["a"].recall.value)
    assert section.headline.low is not None
    assert report.untested == (
        "Too few groups have a: 10 of 50 examples were used for training in every fold and never tested. "
        "The figure is still valid for the other classes, and nothing for a."
    )
    assert report.untested in (tmp_path / "run" / "report.md").read_text()
    if strategy == "partial":
        assert report.probe is not None
        assert report.probe.evaluation.num_examples == 40
        assert report.paired is not None
    reference = load(tmp_path / "run").model.ood
    assert reference is not None
    assert (reference.class_means.shape[0], len(reference.distances)) == (3, 40)
    predicted = csv.DictReader((tmp_path / "run" / "predictions.csv").read_text().splitlines())
    assert {row["label"] for row in predicted} == {"b", "c"}


def test_with_two_classes_of_which_one_is_one_group_nothing_is_claimed(tmp_path: Path) -> None:
    report = ran(tmp_path, BOTH_ALONE_BUT_ONE)
    assert report.section is None
    assert report.untested.startswith("Too few groups have a")


def test_a_label_that_one_group_has_alone_is_tested_nowhere(tmp_path: Path) -> None:
    report = ran(tmp_path, A_TAG_ALONE, task="multilabel")
    assert report.section is not None
    assert report.section.num_examples == 36
    assert "Too few groups have rare: 4 of 40 examples" in report.untested
    assert {one.name: one.support for one in report.section.figures.per_label}["rare"] == 0


def test_targets_that_are_constant_without_a_group_give_no_number(tmp_path: Path) -> None:
    report = ran(tmp_path, CONSTANT, task="regression")
    assert report.section is None
    assert "Too few groups have label" in report.untested


def test_targets_that_vary_in_every_fold_are_measured_as_before(tmp_path: Path) -> None:
    report = ran(tmp_path, SEVERAL_VALUES, task="regression")
    assert report.section is not None
    assert report.section.num_examples == 36
    assert report.untested == ""


def test_runs_without_a_number_are_not_compared(tmp_path: Path) -> None:
    for name in ("one", "two"):
        ran(tmp_path / name, COINCIDE)
    with pytest.raises(RunError, match=r"has no test result to compare\. Groups and classes coincide"):
        compare(tmp_path / "one" / "run", tmp_path / "two" / "run")
