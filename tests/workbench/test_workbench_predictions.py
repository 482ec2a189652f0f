"""The table of predictions: what is written is what is read."""

from pathlib import Path

import numpy as np
import pytest

from answers import KINDS, sample
from regraft.errors import RunError
from regraft.workbench._predictions import Answer, predictions_table, read_predictions

NAMES = ("a;b", "c\\", "d, e")
"""Names with every sign that the table parts by."""


def _written(kind: str, targets: np.ndarray, outputs: np.ndarray) -> str:
    answers = [
        Answer(part="test", id=f"{at}.jpg", group="", target=np.asarray(target), outputs=row)
        for at, (target, row) in enumerate(zip(targets, outputs, strict=True))
    ]
    return predictions_table(kind, NAMES, answers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_every_kind_is_read_as_it_was_written(tmp_path: Path, kind: str) -> None:
    targets, outputs = sample(kind, n=40)
    path = tmp_path / "predictions.csv"
    path.write_text(_written(kind, targets, outputs))
    found = read_predictions(path, "test", kind)
    assert found.classes == NAMES
    assert found.ids[39] == "39.jpg"
    assert found.targets.dtype == targets.dtype
    np.testing.assert_array_equal(found.targets, targets)
    np.testing.assert_allclose(found.outputs, outputs, rtol=1e-8, atol=5e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_columns_follow_the_order_that_is_asked_for(tmp_path: Path, kind: str) -> None:
    targets, outputs = sample(kind, n=40)
    path = tmp_path / "predictions.csv"
    path.write_text(_written(kind, targets, outputs))
    rows, columns = np.arange(40)[::-1], [2, 0, 1]
    turned = read_predictions(path, "test", kind).in_order([f"{at}.jpg" for at in rows], [NAMES[at] for at in columns])
    np.testing.assert_allclose(turned.outputs, outputs[rows][:, columns], rtol=1e-8, atol=5e-7)
    if targets.ndim == 2:
        np.testing.assert_array_equal(turned.targets, targets[rows][:, columns])
    else:
        assert [turned.classes[code] for code in turned.targets] == [NAMES[code] for code in targets[rows]]


def test_tags_stand_beside_each_other_and_may_be_none() -> None:
    lines = _written("multilabel", np.array([[1, 1, 0], [0, 0, 0]]), np.array([[0.5, 0.2, 0.9], [0.1, 0.2, 0.3]]))
    assert lines.splitlines() == [
        "part,id,group,label,predicted,p:a;b,p:c\\,\"p:d, e\"",
        "test,0.jpg,,a\\;b;c\\\\,\"a\\;b;d, e\",0.500000,0.200000,0.900000",
        "test,1.jpg,,,,0.100000,0.200000,0.300000",
    ]  # fmt: skip


def test_numbers_stand_as_they_were_given() -> None:
    lines = _written("regression", np.array([[208500.0, 1e-3, 2.5]]), np.array([[199999.75, 0.002, 1 / 3]]))
    assert (
        lines.splitlines()[1] == "test,0.jpg,,208500;0.001;2.5,199999.75;0.002;0.333333333,199999.75,0.002,0.333333333"
    )


@pytest.mark.parametrize(
    ("kind", "label", "said"),
    [
        ("classification", "x", "there is no column for 'x'"),
        ("multilabel", "d, e;x", "there is no column for 'x'"),
        ("regression", "1;2", "a label has 2 numbers for 3 columns"),
        ("regression", "1;2;x", "could not convert string to float: 'x'"),
    ],
)
def test_a_label_that_is_none_of_the_outputs_is_named(tmp_path: Path, kind: str, label: str, said: str) -> None:
    path, prefix = tmp_path / "predictions.csv", "v" if kind == "regression" else "p"
    header = ",".join(["part", "id", "group", "label", "predicted", f"{prefix}:a;b", f"{prefix}:c", f'"{prefix}:d, e"'])
    path.write_text(f'{header}\ntest,0.jpg,,"{label}",,0.1,0.2,0.7\n')
    with pytest.raises(RunError, match="is not a table of predictions as regraft writes it") as raised:
        read_predictions(path, "test", kind)
    assert said in str(raised.value)


def test_a_table_of_numbers_is_none_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(_written("regression", *sample("regression", n=5)))
    with pytest.raises(RunError, match=r"its columns are .*v:a;b.*; expected are .* p:NAME"):
        read_predictions(path, "test")
