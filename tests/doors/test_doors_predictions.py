"""Predictions as text."""

import csv
import json
from pathlib import Path

import pytest

from regraft.doors._predictions import write_predictions
from regraft.errors import BadData
from regraft.values import Prediction

GOOD = Prediction(id="a.jpg", label="ants", probabilities={"ants": 0.75, "bees": 0.25}, ood_score=0.5)
FAR = Prediction(id="b.jpg", label=None, probabilities={"ants": 0.5, "bees": 0.5}, ood_score=0.999, abstained=True)
BAD = Prediction(id="c,d.jpg", label=None, probabilities={}, error="image file is truncated")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_has_every_answer_with_every_probability(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "table.csv"
    write_predictions([GOOD, FAR], out=out, json_lines=False)
    first, second = rows(out)
    assert first == {
        "input": "a.jpg", "label": "ants", "probability": "0.750000", "ood_score": "0.500000", "abstained": "0",
        "error": "", "p:ants": "0.750000", "p:bees": "0.250000",
    }  # fmt: skip
    assert (second["label"], second["abstained"], second["p:bees"]) == ("", "1", "0.500000")
    assert capsys.readouterr().out == f"2 predictions in {out}\n"


@pytest.mark.parametrize("answers", [[BAD, GOOD], [GOOD, BAD], [BAD, BAD]], ids=["first", "last", "all"])
def test_unreadable_inputs_are_written_and_then_named(answers: list[Prediction], tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    with pytest.raises(BadData, match=r"could not be read and have no prediction: c,d.jpg: image file is truncated"):
        write_predictions(answers, out=out, json_lines=False)
    found = rows(out)
    assert [row["input"] for row in found] == [answer.id for answer in answers]
    assert {row["error"] for row in found} >= {BAD.error}


def test_json_is_one_object_a_line_and_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions([GOOD, FAR], out=None, json_lines=True)
    lines = capsys.readouterr().out.splitlines()
    assert [Prediction(**json.loads(line)) for line in lines] == [GOOD, FAR]


def test_between_tabs_stand_path_label_and_probability(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadData, match="1 of 3 inputs"):
        write_predictions([GOOD, FAR, BAD], out=None, json_lines=False)
    assert capsys.readouterr().out.splitlines() == [
        "a.jpg\tants\t0.7500",
        "b.jpg\t(abstained)\tOOD score 0.9990",
        "c,d.jpg\t(unreadable)\timage file is truncated",
    ]


def test_no_inputs_give_a_table_without_rows(tmp_path: Path) -> None:
    write_predictions([], out=tmp_path / "table.csv", json_lines=False)
    assert rows(tmp_path / "table.csv") == []


def test_a_table_that_is_cut_short_is_never_seen(tmp_path: Path) -> None:
    def failing() -> object:
        yield GOOD
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_predictions(failing(), out=tmp_path / "table.csv", json_lines=False)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


TAGS = Prediction(
    id="t.jpg", label="cat;dog", labels=["cat", "dog"], probabilities={"cat": 0.75, "cow": 0.125, "dog": 0.5}
)
NO_TAG = Prediction(id="n.jpg", label="", labels=[], probabilities={"cat": 0.25, "cow": 0.125, "dog": 0.25})
NUMBERS = Prediction(id="v.jpg", label="12.5;-3", probabilities={}, values={"width": 12.5, "height": -3.0})


def test_tags_stand_with_the_probability_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions([TAGS, NO_TAG], out=None, json_lines=False)
    assert capsys.readouterr().out == "t.jpg\tcat;dog\t0.7500;0.5000\nn.jpg\t(no label)\n"


def test_numbers_stand_alone(capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions([NUMBERS], out=None, json_lines=False)
    assert capsys.readouterr().out == "v.jpg\t12.5;-3\n"


def test_a_table_of_tags_has_a_probability_each_and_one_of_numbers_a_value_each(tmp_path: Path) -> None:
    write_predictions([TAGS], out=tmp_path / "tags.csv", json_lines=False)
    (found,) = rows(tmp_path / "tags.csv")
    assert (found["label"], found["probability"], found["p:cow"]) == ("cat;dog", "", "0.125000")
    with pytest.raises(BadData, match="could not be read"):
        write_predictions([BAD, NUMBERS], out=tmp_path / "numbers.csv", json_lines=False)
    unread, found = rows(tmp_path / "numbers.csv")
    assert (unread["v:width"], found["v:width"], found["v:height"], found["label"]) == ("", "12.5", "-3.0", "12.5;-3")


def test_json_has_tags_and_numbers_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions([TAGS, NUMBERS], out=None, json_lines=True)
    tags, numbers = map(json.loads, capsys.readouterr().out.splitlines())
    assert tags["labels"] == ["cat", "dog"]
    assert numbers["values"] == {"width": 12.5, "height": -3.0}
