"""Comparing what two commits said, on run folders written by hand."""

import json
from pathlib import Path
from typing import Any

import compare_commits
import numpy as np
import pytest
from _compare_data import table_of
from compare_commits import Differences, compare_runs, flat
from safetensors.numpy import save_file

ROW = {"part": "test", "id": "a.png", "group": "", "label": "ant", "predicted": "ant", "p:ant": "0.900000"}
ACCURACY = {"value": 0.9, "low": 0.8, "high": 0.95, "method": "wilson"}
REPORT: dict[str, Any] = {
    "main": "test",
    "evaluation": {"test": {"metrics": {"accuracy": ACCURACY}, "notes": ["few"]}},
    "probe": {"metrics": {"accuracy": {"value": 0.7}}},
    "paired": None,
    "phases": [{"name": "data", "seconds": 1.0}],
    "calibration": {"temperature": 1.0},
}
TENSORS = {"head.weight": np.ones((2, 3), np.float32), "unlike.mean": np.zeros(3, np.float32)}
FACTS = {"facts": {"cut": "4e", "metrics": {"accuracy": 0.9}}, "digest": "abc"}


def run(
    folder: Path,
    *,
    row: dict[str, str] = ROW,
    report: dict[str, Any] = REPORT,
    tensors: dict[str, np.ndarray] = TENSORS,
    facts: dict[str, Any] = FACTS,
) -> Path:
    """A run folder with one prediction."""
    (folder / "model").mkdir(parents=True)
    (folder / "predictions.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "model" / "bundle.json").write_text(json.dumps(facts))
    save_file(tensors, folder / "model" / "model.safetensors")
    return folder


def changed(tmp_path: Path, **new: Any) -> Differences:
    """A run against the same with something changed."""
    return compare_runs(run(tmp_path / "old"), run(tmp_path / "new", **new))


def with_metric(**values: Any) -> dict[str, Any]:
    """The report with another accuracy."""
    return REPORT | {"evaluation": {"test": {"metrics": {"accuracy": ACCURACY | values}, "notes": ["few"]}}}


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    assert changed(tmp_path) == Differences()


def test_another_label_fails_and_names_the_example(tmp_path: Path) -> None:
    found = changed(tmp_path, row=ROW | {"predicted": "bee"})
    assert found.judged == ["predictions.csv: predicted of a.png is bee, was ant"]


def test_a_predicted_number_may_move_by_a_millionth_of_its_size(tmp_path: Path) -> None:
    old = run(tmp_path / "old", row=ROW | {"predicted": "500000.0"})
    assert not compare_runs(old, run(tmp_path / "near", row=ROW | {"predicted": "500000.4"})).judged
    assert compare_runs(old, run(tmp_path / "far", row=ROW | {"predicted": "500001.0"})).judged


def test_a_prediction_that_is_missing_fails(tmp_path: Path) -> None:
    found = changed(tmp_path, row=ROW | {"id": "b.png"})
    assert found.judged == [
        "predictions.csv: row test a.png is missing in the new",
        "predictions.csv: row test b.png is missing in the old",
    ]


@pytest.mark.parametrize("name", ["value", "low", "high"])
def test_estimates_and_bounds_of_intervals_are_judged_to_a_millionth(tmp_path: Path, name: str) -> None:
    assert not changed(tmp_path / "near", report=with_metric(**{name: ACCURACY[name] + 5e-7})).judged
    found = changed(tmp_path / "far", report=with_metric(**{name: ACCURACY[name] + 5e-6}))
    assert [line.partition(" is ")[0] for line in found.judged] == [
        f"report.json: evaluation.test.metrics.accuracy.{name}"
    ]


def test_a_metric_that_became_undefined_fails(tmp_path: Path) -> None:
    assert changed(tmp_path, report=with_metric(low=None)).judged


def test_a_metric_that_one_side_lacks_fails_and_the_side_is_named(tmp_path: Path) -> None:
    found = changed(tmp_path, report=REPORT | {"probe": {"metrics": {}}})
    assert found.judged == ["report.json: the new side lacks probe.metrics.accuracy.value"]


def test_sentences_are_listed_and_times_are_not(tmp_path: Path) -> None:
    report = with_metric(method="Wilson score") | {"phases": [{"name": "data", "seconds": 2.0}]}
    found = changed(tmp_path, report=report)
    assert not found.judged
    assert found.other == [
        "report.json: evaluation.test.metrics.accuracy.method is 'Wilson score', was 'wilson'",
    ]


def test_columns_tensors_and_keys_that_were_only_renamed_are_equal(tmp_path: Path) -> None:
    row = {{"part": "split"}.get(name, name): value for name, value in ROW.items()}
    tensors = {"head.weight": TENSORS["head.weight"], "ood.mean": TENSORS["unlike.mean"]}
    assert changed(tmp_path, row=row, tensors=tensors) == Differences()
    assert flat({"parts": {"part": 1}}, "") == {"splits.split": 1}


def test_a_split_that_was_only_renamed_is_the_same_split(tmp_path: Path) -> None:
    old = run(tmp_path / "old", row=ROW | {"part": "val"})
    assert compare_runs(old, run(tmp_path / "new", row=ROW | {"part": "validation"})) == Differences()


def test_a_setting_is_asked_for_by_its_new_name_where_it_was_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compare_commits.RENAMED_ARGUMENTS, "options.min_steps", "options.minimum_steps")
    assert compare_commits.with_new_spelling("options.min_steps=0") == "options.minimum_steps=0"
    assert compare_commits.with_new_spelling("--quiet") == "--quiet"


def test_tensors_and_probabilities_that_moved_are_listed_and_judge_nothing(tmp_path: Path) -> None:
    tensors = TENSORS | {"head.weight": np.full((2, 3), 1.5, np.float32)}
    found = changed(tmp_path, row=ROW | {"p:ant": "0.890000"}, tensors=tensors)
    assert not found.judged
    assert found.other == [
        "predictions.csv: p:ant differs by up to 1.0e-02",
        "model.safetensors: head.weight differs by up to 5.0e-01",
    ]


def test_metadata_of_a_bundle_is_listed_and_digests_are_not(tmp_path: Path) -> None:
    facts = {"facts": {"cut": "4d", "metrics": {"accuracy": 0.9}}, "digest": "xyz"}
    assert changed(tmp_path, facts=facts).other == ["bundle.json: facts.cut is '4d', was '4e'"]


def test_images_are_drawn_where_an_archive_is_absent(tmp_path: Path) -> None:
    table, real = table_of("house_prices", tmp_path / "nowhere", tmp_path / "data")
    assert not real
    lines = table.read_text().splitlines()
    assert lines[0] == "file,given_split,patient,target"
    assert len(lines) == 121
    assert all((table.parent / line.partition(",")[0]).is_file() for line in lines[1:])
