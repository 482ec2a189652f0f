"""Two runs side by side."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from answers import KINDS, label_of
from answers import sample as kind_sample
from regraft.contracts.example import Example
from regraft.contracts.metric import main_metric
from regraft.contracts.task import TASKS
from regraft.errors import RunError, UnknownName
from regraft.evaluation.differences import compare as paired
from regraft.files import write_json
from regraft.workbench.compare import compare
from regraft.workbench.run import predictions_table
from sample_report import changed, drawn, sample_report, sample_report_of, softmax

CLASSES = ("ants", "bees", "wasps")


def write_run(
    path: Path, probabilities: np.ndarray, targets: np.ndarray, *, classes: tuple[str, ...] = CLASSES,
    order: np.ndarray | None = None, groups: list[str] | None = None, main: str = "test", fingerprint: str = "f",
) -> Path:  # fmt: skip
    """A finished run's folder, as far as a comparison reads it."""
    path.mkdir()
    report = changed(changed(sample_report(), "main", main), "data.fingerprint", fingerprint)
    report = replace(report, evaluation={main: report.evaluation["test"]})
    write_json(path / "report.json", changed(report, "strategy.preset", path.name).to_json())
    with (path / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "id", "group", "label", "predicted", *(f"p:{name}" for name in classes)])
        for at in range(len(targets)) if order is None else order:
            row = probabilities[at]
            group = groups[at] if groups else ""
            label, predicted = classes[targets[at]], classes[row.argmax()]
            writer.writerow([main, f"{at}.jpg", group, label, predicted, *row])
        writer.writerow(["validation" if main == "test" else "test", "0.jpg", "", classes[0], classes[0], *row])
    return path


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    targets, logits = drawn(90, 3, 2.0, seed=0)
    return targets, softmax(logits), softmax(logits + np.random.default_rng(1).normal(size=logits.shape))


def test_runs_are_matched_by_id_and_class_whatever_their_order(tmp_path: Path, sample: Any) -> None:
    targets, a, b = sample
    write_run(tmp_path / "one", a, targets)
    turned = [2, 0, 1]
    new_targets = np.array([turned.index(target) for target in targets])
    shuffled = np.random.default_rng(5).permutation(90)
    names = tuple(CLASSES[i] for i in turned)
    write_run(tmp_path / "two", b[:, turned], new_targets, classes=names, order=shuffled)
    found = compare(tmp_path / "one", tmp_path / "two")
    assert found.paired == paired(targets, a, b, names=("one", "two"))
    assert (found.num_examples, found.split, found.num_groups) == (90, "test", None)
    assert found.described[0] == "one at 4e, googlenet:torchvision@imagenet"


def test_groups_are_drawn_whole(tmp_path: Path, sample: Any) -> None:
    targets, a, b = sample
    groups = [f"plant {at % 12}" if at < 60 else "" for at in range(90)]
    for name, table in (("one", a), ("two", b)):
        write_run(tmp_path / name, table, targets, groups=groups)
    found = compare(tmp_path / "one", tmp_path / "two", metric="log_loss")
    assert found.num_groups == 12 + 30
    assert found.paired.difference.method == "bootstrap by group"


def test_a_run_compared_with_itself_shows_no_difference(tmp_path: Path, sample: Any) -> None:
    targets, a, _ = sample
    write_run(tmp_path / "one", a, targets)
    found = compare(tmp_path / "one", tmp_path / "one").paired
    assert (found.difference.value, found.p_value, found.outcome) == (0.0, 1.0, "not resolved")


def test_different_tests_are_refused_with_what_differs(tmp_path: Path, sample: Any) -> None:
    targets, a, b = sample
    write_run(tmp_path / "one", a, targets)
    write_run(tmp_path / "fewer", b, targets, order=np.arange(3, 90))
    with pytest.raises(RunError, match=r"one on 90, fewer on 87, of which 87 are in both. Not in both: 0.jpg, 1.jpg"):
        compare(tmp_path / "one", tmp_path / "fewer")
    write_run(tmp_path / "relabelled", b, (targets + (np.arange(90) == 7)) % 3)
    with pytest.raises(RunError, match=r"1 of the shared examples have different labels in the two runs: 7.jpg"):
        compare(tmp_path / "one", tmp_path / "relabelled")
    write_run(tmp_path / "others", b, targets, classes=("ants", "bees", "hornets"))
    with pytest.raises(RunError, match="The classes differ"):
        compare(tmp_path / "one", tmp_path / "others")
    write_run(tmp_path / "crossed", b, targets, main="cross-validation")
    with pytest.raises(RunError, match="crossed on its cross-validation split"):
        compare(tmp_path / "one", tmp_path / "crossed")


def test_other_data_under_the_same_names_are_noted(tmp_path: Path, sample: Any) -> None:
    targets, a, b = sample
    write_run(tmp_path / "one", a, targets)
    write_run(tmp_path / "two", b, targets, fingerprint="g")
    assert "treated as identical" in compare(tmp_path / "one", tmp_path / "two").notes[0]


def test_what_is_no_finished_run_is_named(tmp_path: Path, sample: Any) -> None:
    targets, a, _ = sample
    one = write_run(tmp_path / "one", a, targets)
    with pytest.raises(RunError, match="contains no run"):
        compare(one, tmp_path)
    (tmp_path / "begun.json").write_text("{}")
    with pytest.raises(RunError, match="holds an unfinished run"):
        compare(one, tmp_path)
    with pytest.raises(UnknownName, match="accuracy"):
        compare(one, one, metric="acuracy")


def test_a_damaged_table_is_told_from_a_missing_one(tmp_path: Path, sample: Any) -> None:
    targets, a, _ = sample
    one = write_run(tmp_path / "one", a, targets)
    table = one / "predictions.csv"
    text = table.read_text()
    for damaged, said in [
        (
            text.replace("0.jpg,,", "0.jpg,,", 1).replace(text.splitlines()[1], text.splitlines()[1][:-30]),
            "not a table",
        ),
        (text.replace("split,id", "id,split"), "its columns are"),
        (text + "\n".join(text.splitlines()[1:2]) + "\n", "occurs twice"),
    ]:
        table.write_text(damaged)
        with pytest.raises(RunError, match=said):
            compare(one, one)
    table.unlink()
    with pytest.raises(RunError, match="cannot be read"):
        compare(one, one)


def write_run_of(kind: str, path: Path, targets: np.ndarray, outputs: np.ndarray, names: tuple[str, ...]) -> Path:
    """The same of any kind of task, its table written as runs write it."""
    path.mkdir()
    report = sample_report() if kind == "classification" else sample_report_of(kind)
    write_json(path / "report.json", report.to_json())
    examples = [
        Example(id=f"{at}.jpg", contents={}, label=label_of(kind, target, names)) for at, target in enumerate(targets)
    ]
    (path / "predictions.csv").write_text(predictions_table(TASKS.get(kind)(names), {"test": (examples, outputs)}))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_every_kind_are_compared_by_its_main_metric(tmp_path: Path, kind: str) -> None:
    targets, outputs = kind_sample(kind, digits=6)
    other = kind_sample(kind, seed=5, digits=6)[1]
    runs = [
        write_run_of(kind, tmp_path / name, targets, table, CLASSES) for name, table in (("a", outputs), ("b", other))
    ]
    found = compare(*runs).paired
    assert found.metric == main_metric(kind).name
    known = paired(targets, outputs, other, metric=found.metric, outputs=CLASSES)
    assert (found.outcome, found.only_a_right, found.p_value) == (known.outcome, known.only_a_right, known.p_value)
    assert (found.a, found.b) == pytest.approx((known.a, known.b), abs=1e-5)


def test_columns_of_tags_and_numbers_are_matched_by_name_but_ranks_have_one_order(tmp_path: Path) -> None:
    turned = [2, 0, 1]
    names = tuple(CLASSES[at] for at in turned)
    for kind in ("multilabel", "regression"):
        targets, outputs = kind_sample(kind, digits=6)
        one = write_run_of(kind, tmp_path / f"{kind} one", targets, outputs, CLASSES)
        two = write_run_of(kind, tmp_path / f"{kind} two", targets[:, turned], outputs[:, turned], names)
        assert compare(one, two).paired.difference.value == 0.0
    targets, outputs = kind_sample("ordinal")
    one = write_run_of("ordinal", tmp_path / "one", targets, outputs, CLASSES)
    two = write_run_of("ordinal", tmp_path / "two", targets, outputs, names)
    with pytest.raises(RunError, match="The classes, or their order, differ: one has ants, bees, wasps; two has wasps"):
        compare(one, two)


def test_runs_of_different_kinds_and_metrics_of_another_kind_are_refused(tmp_path: Path) -> None:
    classes = write_run_of("classification", tmp_path / "sorted", *kind_sample("classification"), CLASSES)
    numbers = write_run_of("regression", tmp_path / "measured", *kind_sample("regression"), CLASSES)
    with pytest.raises(RunError, match="sorted is classification, measured is regression"):
        compare(classes, numbers)
    with pytest.raises(RunError, match="The metric accuracy is not one of regression runs") as raised:
        compare(numbers, numbers, metric="accuracy")
    assert "choose from mae, " in str(raised.value)


def test_tags_that_differ_are_told_by_example(tmp_path: Path) -> None:
    targets, outputs = kind_sample("multilabel")
    one = write_run_of("multilabel", tmp_path / "one", targets, outputs, CLASSES)
    targets[1] = [1, 0, 1]
    two = write_run_of("multilabel", tmp_path / "two", targets, outputs, CLASSES)
    with pytest.raises(RunError, match=r"1\.jpg is without a label in one, ants;wasps in two"):
        compare(one, two)
