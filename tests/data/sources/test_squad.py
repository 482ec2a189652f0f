"""Questions from SQuAD's JSON: what is read, and what is refused; nothing is left out."""

import json
from pathlib import Path
from typing import Any

import pytest

from questions import squad
from regraft.contracts.example import Inline
from regraft.data.open import open_dataset
from regraft.errors import BadData, BadRequest

CONTEXT = "Zürich lies on the Limmat. It is old."
RIGHT = {"id": "q1", "question": "Where is Zürich?", "answers": [{"text": "on the Limmat", "answer_start": 12}]}


def write(path: Path, *asked: dict[str, Any], context: str = CONTEXT, **article: Any) -> Path:
    paragraphs = [{"context": context, "qas": list(asked)}]
    path.write_text(json.dumps({"data": [{"title": "Zürich", "paragraphs": paragraphs, **article}]}), "utf-8")
    return path


def test_a_file_is_questions_with_their_paragraph_grouped_by_article(tmp_path: Path) -> None:
    impossible = {
        "id": 2, "question": "How high is it?", "is_impossible": True, "answers": [],
        "plausible_answers": [{"text": "old", "answer_start": 33}],
    }  # fmt: skip
    found = open_dataset(write(tmp_path / "some.json", RIGHT, impossible))
    first, second = found.examples
    assert (found.kind, found.modality, found.classes) == ("span", "text", ())
    assert (first.id, first.group, first.split) == ("q1", "Zürich", None)
    assert first.contents == {"question": Inline("Where is Zürich?"), "context": Inline(CONTEXT)}
    assert json.loads(first.label) == RIGHT["answers"]
    assert (second.id, second.label) == ("2", "[]")
    assert [note.text for note in found.notes] == ["1 question has no answer in the context."]


def test_a_folder_has_a_file_for_each_split(tmp_path: Path) -> None:
    squad(tmp_path / "train-v2.0.json", 8)
    squad(tmp_path / "dev-v2.0.json", 4)
    found = open_dataset(tmp_path)
    assert found.splits == ("train", "val")
    assert found.describe() == "12 examples of a question with its context; train 8, val 4; 3 groups"
    squad(tmp_path / "more.json", 4)
    with pytest.raises(BadData, match=r"more\.json do not indicate a split"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answers": [{"text": "on the Limmat", "answer_start": 13}]}, "not in the context at its answer_start"),
        ({"answers": [{"text": " ", "answer_start": 6}]}, "not in the context at its answer_start"),
        ({"answers": [{"text": "It", "answer_start": -10}]}, "not in the context at its answer_start"),
        ({"answers": []}, "has no answer and is not marked is_impossible"),
        ({"question": " "}, "empty question"),
        ({"answers": [{"text": "old", "answer_start": "33"}]}, "answer 0: answer_start is '33'"),
        ({"answers": ["old"]}, "answers 0 is 'old'"),
        ({"question": None}, "question is None"),
    ],
)
def test_a_question_that_cannot_be_used_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadData, match=said) as caught:
        open_dataset(write(tmp_path / "some.json", {**RIGHT, "id": "q0"}, {**RIGHT, **changes}))
    assert "q1" in caught.value.message or "question 1" in caught.value.message


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    asked = [RIGHT, RIGHT, {**RIGHT, "id": "q3", "answers": [{"text": "nowhere", "answer_start": 0}]}]
    with pytest.raises(BadData) as caught:
        open_dataset(write(tmp_path / "some.json", *asked))
    assert "1 question has an id that occurred before (q1)" in caught.value.message
    assert "1 question has an answer that is not in the context at its answer_start (q3)" in caught.value.message
    with pytest.raises(BadData, match="empty context"):
        open_dataset(write(tmp_path / "other.json", {**RIGHT, "answers": []}, context="\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"data": [', "is not valid JSON"),
        ('{"data": {}}', "data is {}"),
        ('{"data": [{"title": "a"}]}', "article 0: paragraphs is None"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "article 0, paragraph 0: context is None"),
        ('{"data": []}', "holds no questions"),
    ],
)
def test_another_form_is_named_with_the_one_that_is_expected(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "some.json").write_text(text)
    with pytest.raises(BadData, match=said):
        open_dataset(tmp_path / "some.json")


def test_questions_are_for_their_own_task(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="for a span task"):
        open_dataset(write(tmp_path / "some.json", RIGHT), task="classification")
