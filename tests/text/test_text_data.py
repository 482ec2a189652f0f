"""Tables and files of texts that are not as they should be: each named, nothing passed over in silence."""

import json
from pathlib import Path

import numpy as np
import pytest

from regraft.contracts.example import Inline
from regraft.contracts.modality import MODALITIES
from regraft.data.dataset import Dataset
from regraft.data.open import open_dataset
from regraft.data.scan import ScanMemory, Scanned, scan
from regraft.data.splits import draw
from regraft.errors import BadData, BadRecipe, BadRequest, DamagedData, LeakedSplit, RegraftError, UnknownName
from regraft.modalities.text.tokens import Preparation
from texts import tokenizer

TEXT = MODALITIES.get("text")


def scanned(dataset: Dataset, memory: Path, share: float = 0.05) -> Scanned:
    *_, found = scan(dataset, ScanMemory(memory), max_damaged_share=share)
    assert isinstance(found, Scanned)
    return found


def table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_a_column_of_texts_is_recognised_and_it_is_said(tmp_path: Path) -> None:
    found = open_dataset(table(tmp_path / "t.csv", "Review,label\ngood,a\nbad,b\nfine,a\npoor,b\n"))
    assert found.modality == "text"
    assert [example.content for example in found.examples] == [Inline(one) for one in ("good", "bad", "fine", "poor")]
    assert any("the column 'Review' of t.csv are the examples" in note.text for note in found.notes)


@pytest.mark.parametrize(
    ("name", "text", "columns", "error", "said"),
    [
        ("t.csv", "text,label\nx,a\n,b\n \n,a\n", ("text",), BadData, "row 3, 5: the column 'text' is empty (2 rows"),
        (
            "t.csv",
            "messages,label\nx,a\n",
            ("message",),
            UnknownName,
            "did you mean 'messages'? Set the name with --text-c",
        ),
        ("t.jsonl", '{"text": "x", "label": "a"}\n{"text": 5, "label": "b"}\n', (), BadData, "row 2: text is 5 (int)"),
        (
            "t.jsonl",
            '{"text": ["x"], "label": "a"}\n',
            (),
            BadData,
            "row 1: text is ['x'] (list); expected text",
        ),
        ("t.jsonl", '{"text": "x", "label": "a"}\noops\n', (), BadData, "line 2 is oops; expected a JSON object"),
        ("t.jsonl", '{"label": "a"}\n{"text": "x", "label": "b"}\n', (), BadData, "row 1: the column 'text' is empty"),
        ("t.csv", "text,label\nПривет как дела,a\n", (), BadData, "line 2 is not UTF-8"),
    ],
)
def test_a_table_that_is_not_as_it_should_be_is_refused(
    name: str, text: str, columns: tuple[str, ...], error: type[RegraftError], said: str, tmp_path: Path
) -> None:
    path = table(tmp_path / name, text, "cp1251" if "П" in text else "utf-8")
    with pytest.raises(error) as caught:
        open_dataset(path, text_columns=columns)
    assert said in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("encoding", "said"), [("cp1252", "Windows-1252"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16-LE")]
)
def test_another_encoding_is_recognised_and_said(encoding: str, said: str, tmp_path: Path) -> None:
    rows = "text,label\nEin schöner Film über Zürich,a\nvery good,b\nLe film était très bon,a\nnot bad,b\n"
    found = open_dataset(table(tmp_path / "t.csv", rows, encoding))
    assert found.examples[0].content == Inline("Ein schöner Film über Zürich")
    assert any(said in note.text for note in found.notes)
    for at, row in enumerate(rows.splitlines()[1:]):
        text, label = row.split(",")
        (tmp_path / "files" / label).mkdir(parents=True, exist_ok=True)
        table(tmp_path / "files" / label / f"{at}.txt", text, encoding)
    told = [note.text for note in scanned(open_dataset(tmp_path / "files"), tmp_path / "memory").notes]
    assert any(said in one and "a/0.txt" in one for one in told)


def test_empty_and_unreadable_files_are_left_out_by_name(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "files" / label).mkdir(parents=True)
        for at in range(3):
            (tmp_path / "files" / label / f"{at}.txt").write_text(f"text {label} {at}")
    (tmp_path / "files" / "a" / "0.txt").write_text(" \n")
    (tmp_path / "files" / "b" / "1.txt").write_bytes("Привет, как дела".encode("koi8-r"))
    dataset = open_dataset(tmp_path / "files")
    with pytest.raises(
        DamagedData, match=r"a/0.txt \(the text is empty\), b/1.txt \(its encoding cannot be determined"
    ):
        scanned(dataset, tmp_path / "memory")
    assert [one.id for one in scanned(dataset, tmp_path / "other", 0.5).quarantined] == ["a/0.txt", "b/1.txt"]


LONG = "you have won a prize of two thousand pounds, please call the number below before the end of this month"


def test_near_copies_are_found_and_told_of_across_splits(tmp_path: Path) -> None:
    others = [f"{at} words that have nothing at all to do with {'abcdefgh'[at] * 9}" for at in range(8)]
    texts = [
        *others[:4],
        LONG,
        *others[4:],
        LONG.upper() + "!!",
        LONG.replace("below", "above"),
        LONG + " by post, friend",
    ]
    rows = [f'"{text}",{"ab"[at % 2]},{"train" if at < 6 else "test"}' for at, text in enumerate(texts)]
    found = scanned(
        open_dataset(table(tmp_path / "t.csv", "\n".join(["text,label,split", *rows]))), tmp_path / "memory"
    )
    pairs = TEXT.near_copies(found.rows).tolist()
    assert pairs == [[4, 9], [4, 11], [9, 11]]  # another word in a short text makes another text
    rules = {"seed": 0, "val_share": 0.1, "test_share": 0.2}
    splits = draw(found.dataset, found, allow_leaks=False, **rules)  # type: ignore[arg-type]
    assert any("row 6 (train) and row 11 (test)" in note.text for note in splits.notes)
    again = table(tmp_path / "u.csv", "\n".join(["text,label,split", *rows, f'"  {LONG} ",a,test']))
    with pytest.raises(LeakedSplit, match="are the same text"):
        second = scanned(open_dataset(again), tmp_path / "memory")
        draw(second.dataset, second, allow_leaks=False, **rules)  # type: ignore[arg-type]


def test_a_text_of_100_000_characters_is_measured_and_cut() -> None:
    contents = {"text": Inline("apple and pear " * 7000)}
    assert int(TEXT.fingerprint(contents)["characters"]) == 105_000
    record, _ = TEXT.load(contents, Preparation(tokenizer=tokenizer().to_str(), max_tokens=20), None)
    assert record["ids"].shape == (20,)
    assert record["ids"].dtype == np.int32


def test_a_cell_may_hold_a_text_longer_than_the_csv_reader_allows_by_itself(tmp_path: Path) -> None:
    found = open_dataset(table(tmp_path / "t.csv", f"text,label\n{'apple ' * 40_000},a\npear,b\nfig,a\nplum,b\n"))
    assert len(found.examples[0].content.value) >= 239_999


def test_settings_that_mean_nothing_for_texts_are_refused() -> None:
    with pytest.raises(UnknownName, match="augmentation of texts"):
        TEXT.augmentation("colour", {})
    with pytest.raises(BadRecipe, match=r"augment\.magnitude"):
        TEXT.augmentation("default", {"magnitude": 3})
    with pytest.raises(BadRecipe, match="max_tokens is 900; it must be 8 to 512"):
        Preparation(max_tokens=900, positions=512)
    with pytest.raises(BadRecipe, match="overlap is -1"):
        Preparation(overlap=-1)
    with pytest.raises(BadRequest, match="tokenizer of this network is missing"):
        Preparation().encoded("x")
    with pytest.raises(BadRequest, match="no size in pixels"):
        Preparation().scaled_to(64)


def test_golden_texts_are_the_same_everywhere() -> None:
    found = TEXT.golden(0, Preparation())
    assert found[0]["text"] == Inline("strange :-) bad")
    assert json.dumps([len(one["text"].value.split()) for one in found]) == "[3, 12, 40, 150]"
    assert TEXT.golden_digests(0, None)[0] != TEXT.golden_digests(1, None)[0]
