"""Parallel files and tables of pairs: what is read, and what is refused by name."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import processors

from regraft.backbones.seq2seq import card_of
from regraft.contracts.example import SHOWN, Example, Inline
from regraft.contracts.modality import MODALITIES
from regraft.data.dataset import Dataset
from regraft.data.open import open_dataset
from regraft.errors import BadData, RegraftError, UnknownName
from regraft.modalities.text.tokens import Preparation
from texts import tokenizer

EN = "A dog runs.\nTwo cats sleep.\nA red house.\n"
DE = "Ein Hund rennt.\nZwei Katzen schlafen.\nEin rotes Haus.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "val", "test_2016_flickr"):
        (tmp_path / f"{split}.en").write_text(EN.replace("dog", f"{split} dog"))
        (tmp_path / f"{split}.de").write_text(DE.replace("Hund", f"{split} Hund"), encoding="utf-8")
    (tmp_path / "README.md").write_text("about these texts")
    return tmp_path


def opened(folder: Path, source: str = "en", target: str = "de") -> Dataset:
    return open_dataset(folder, text_columns=(source,), label_column=target)


def test_lines_of_two_files_are_pairs_and_names_of_files_are_splits(folder: Path) -> None:
    found = opened(folder)
    assert (found.kind, found.modality, found.classes, found.num_examples) == ("sequence", "text", (), 9)
    assert {one.split for one in found.examples} == {"train", "val", "test"}
    first = next(one for one in found.examples if one.id == "train line 1")
    assert first.label == "Ein train Hund rennt."
    assert any("not used: README.md" in one.text for one in found.notes)
    assert {name: str(one) for name, one in first.contents.items()} == {
        "en": "A train dog runs.", SHOWN: "Ein train Hund rennt."}  # fmt: skip
    other = opened(folder, "de", "en")
    assert next(one for one in other.examples if one.id == "train line 2").label == "Two cats sleep."


def test_a_table_with_two_columns_of_text_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("one,two\n01,1\nA dog., Ein Hund. \n1,01\nTwo,Ein Hund.\n")
    found = open_dataset(tmp_path / "pairs.csv", task="sequence", text_columns=("one",), label_column="two")
    assert [one.label for one in found.examples] == ["1", "Ein Hund.", "01", "Ein Hund."]


def lengthened(folder: Path) -> None:
    (folder / "train.de").write_text(DE + "Noch eine Zeile.\n")


def emptied(folder: Path) -> None:
    (folder / "val.en").write_text(EN.replace("Two cats sleep.", " "))


def lost(folder: Path) -> None:
    (folder / "val.de").unlink()


def garbled(folder: Path) -> None:
    (folder / "train.de").write_bytes(bytes(range(128, 256)) * 4)


def mixed(folder: Path) -> None:
    (folder / "news.en").write_text(EN)
    (folder / "news.de").write_text(DE)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lengthened, "numbers of lines differ: train.en 3 and train.de 4"),
        (emptied, "val.en line 2: it is empty (1 line in all)"),
        (lost, "contains val.en, but not val.de"),
        (garbled, "train.de: its encoding cannot be determined"),
        (mixed, "other names (news)"),
    ],
)
def test_what_cannot_be_paired_is_refused_by_name(folder: Path, damage: object, said: str) -> None:
    assert callable(damage)
    damage(folder)
    with pytest.raises(BadData, match=re.escape(said)):
        opened(folder)


def test_another_encoding_is_read_and_said(folder: Path) -> None:
    (folder / "val.de").write_bytes(DE.replace("Haus", "Häuschen").encode("cp1252"))
    found = opened(folder)
    assert any("val.de is not UTF-8 and is read as Windows-1252" in one.text for one in found.notes)
    assert "Häuschen" in next(one.label for one in found.examples if one.id == "val line 3")


def test_texts_that_are_cut_off_on_either_side_are_named() -> None:
    ended = tokenizer()
    ended.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
    prepared = Preparation(
        tokenizer=ended.to_str(), max_tokens=9, max_target_tokens=8, start=0, end=3, vocabulary=32, prefix="the table "
    )
    card = card_of("small", {"model_type": "t5", "vocab_size": 32, "d_model": 8, "num_layers": 1}, "")
    texts = {"short": ("apple", "pear"), "source": ("apple " * 7, "pear"), "target": ("apple", "pear " * 8)}
    kind, examples = MODALITIES.get("text"), [
        Example(id=name, contents={"en": Inline(one), SHOWN: Inline(other)}, label=other)
        for name, (one, other) in texts.items()
    ]  # fmt: skip
    prints = np.array([kind.fingerprint(one.contents) for one in examples])
    found = [one.text for one in kind.check(examples, prints, replace(card, preparation=prepared))]
    assert ["ignored: source." in found[0], "truncated after 8 tokens: target." in found[1]] == [True, True]
    record, _ = kind.load(examples[2].contents, prepared, None)
    assert record["decoder"].tolist() == [0, *[15] * 7]
    assert record["mask"].tolist() == [True] * 4 + [False] * 4
    assert kind.load({"en": Inline("apple")}, prepared, None)[0]["decoder"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("columns", [{}, {"text_columns": ("en",)}, {"text_columns": ("en",), "label_column": "fr"}])
def test_the_direction_has_to_be_said(folder: Path, columns: dict[str, object]) -> None:
    with pytest.raises(RegraftError) as error:
        open_dataset(folder, **columns)
    assert isinstance(error.value, UnknownName) == ("label_column" in columns)
    assert "--text-column" in error.value.fix or "'de'" in error.value.fix or "de" in error.value.fix
