"""The table of predictions: what is written is what is read."""

from pathlib import Path

import numpy as np
import pytest

from answers import KINDS, label_of, sample
from regraft.contracts.example import Example
from regraft.contracts.task import TASKS
from regraft.errors import RunError
from regraft.workbench.run import predictions_table, read_predictions

NAMES = ("a:b", "c\\", "d, e")
"""Names with signs that CSV and the table's own columns use."""


def _labels(kind: str, targets: np.ndarray) -> list[str]:
    return [label_of(kind, target, NAMES) for target in targets]


def _written(kind: str, labels: list[str], outputs: np.ndarray) -> str:
    examples = [Example(id=f"{at}.jpg", contents={}, label=label) for at, label in enumerate(labels)]
    return predictions_table(TASKS.get(kind)(NAMES), {"test": (examples, outputs)})


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_every_kind_is_read_as_it_was_written(tmp_path: Path, kind: str) -> None:
    targets, outputs = sample(kind, n=40)
    path = tmp_path / "predictions.csv"
    path.write_text(_written(kind, _labels(kind, targets), outputs))
    found = read_predictions(path, "test", kind)
    assert found.task.classes == NAMES
    assert found.ids[39] == "39.jpg"
    np.testing.assert_array_equal(found.targets, targets)
    np.testing.assert_allclose(found.outputs, outputs, rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_columns_follow_the_order_that_is_asked_for(tmp_path: Path, kind: str) -> None:
    targets, outputs = sample(kind, n=40)
    path = tmp_path / "predictions.csv"
    path.write_text(_written(kind, _labels(kind, targets), outputs))
    rows, columns = np.arange(40)[::-1], [2, 0, 1]
    turned = read_predictions(path, "test", kind).in_order([f"{at}.jpg" for at in rows], [NAMES[at] for at in columns])
    np.testing.assert_allclose(turned.outputs, outputs[rows][:, columns], rtol=1e-8)
    if targets.ndim == 2:
        np.testing.assert_array_equal(turned.targets, targets[rows][:, columns])
    else:
        assert [turned.task.classes[code] for code in turned.targets] == [NAMES[code] for code in targets[rows]]


def test_labels_stand_beside_each_other_and_may_be_none() -> None:
    lines = _written("multilabel", ["a:b;c\\", ""], np.array([[0.5, 0.2, 0.9], [0.1, 0.2, 0.3]]))
    assert lines.splitlines() == [
        "split,id,group,label,predicted,p:a:b,p:c\\,\"p:d, e\"",
        "test,0.jpg,,a:b;c\\,\"a:b;d, e\",0.5,0.2,0.9",
        "test,1.jpg,,,,0.1,0.2,0.3",
    ]  # fmt: skip


def test_numbers_stand_as_they_were_given() -> None:
    lines = _written("regression", ["208500;0.001;2.5"], np.array([[199999.75, 0.002, 1 / 3]]))
    assert lines.splitlines()[1] == "test,0.jpg,,208500;0.001;2.5,200000;0.002;0.333333,199999.75,0.002,0.333333333"


@pytest.mark.parametrize(
    ("kind", "label", "said"),
    [
        ("classification", "x", "'x'"),
        ("multilabel", "d, e;x", "'x'"),
        ("regression", "1;2", "'1;2' is not 3 finite number"),
        ("regression", "1;2;x", "'1;2;x' is not 3 finite number"),
    ],
)
def test_a_label_that_is_none_of_the_outputs_is_named(tmp_path: Path, kind: str, label: str, said: str) -> None:
    path, prefix = tmp_path / "predictions.csv", "v" if kind == "regression" else "p"
    header = ",".join(["split,id,group,label,predicted", f"{prefix}:a:b", f"{prefix}:c", f'"{prefix}:d, e"'])
    path.write_text(f'{header}\ntest,0.jpg,,"{label}",,0.1,0.2,0.7\n')
    with pytest.raises(RunError, match="is not a table of predictions written by regraft") as raised:
        read_predictions(path, "test", kind)
    assert said in str(raised.value)


def test_a_table_of_numbers_is_none_of_classes(tmp_path: Path) -> None:
    path, (targets, outputs) = tmp_path / "predictions.csv", sample("regression", n=5)
    path.write_text(_written("regression", _labels("regression", targets), outputs))
    with pytest.raises(RunError, match=r"its columns are .*v:a:b.*; expected .* p:NAME"):
        read_predictions(path, "test", "classification")


def test_a_row_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("split,id,group,label,predicted,p:a,p:b\ntest,0.jpg,,a,a,0.5\n")
    with pytest.raises(RunError, match="a row is cut short"):
        read_predictions(path, "test", "classification")
