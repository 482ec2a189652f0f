"""Folders of class folders, as people really have them."""

import os
import sys
import unicodedata
from pathlib import Path

import pytest

from data.pictures import folder_of, picture
from regraft.data.dataset import Dataset
from regraft.data.open import open_dataset
from regraft.data.sources.folder import files_in
from regraft.errors import BadData


def ants_and_bees(prefix: str = "", each: int = 2) -> list[str]:
    return [f"{prefix}{label}/{at}.png" for label in ("ants", "bees") for at in range(each)]


def told(dataset: Dataset) -> str:
    return "\n".join(note.text for note in dataset.notes)


def test_class_folders_become_labels(tmp_path: Path) -> None:
    dataset = open_dataset(folder_of(tmp_path, ants_and_bees()))
    assert [example.id for example in dataset.examples] == ["ants/0.png", "ants/1.png", "bees/0.png", "bees/1.png"]
    assert dataset.classes == ("ants", "bees")
    assert dataset.targets.tolist() == [0, 0, 1, 1]
    assert dataset.splits == ()
    assert all(example.path.is_file() and example.path.is_absolute() for example in dataset.examples)
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("train", "val", "test"), [("train", "val", "test"), ("Train", "VALID", "Test"), ("training", "validation", "TEST")]
)
def test_split_folders_become_splits_in_any_case(tmp_path: Path, train: str, val: str, test: str) -> None:
    names = [name for part in (train, val, test) for name in ants_and_bees(f"{part}/")]
    dataset = open_dataset(folder_of(tmp_path, names))
    assert dataset.splits == ("train", "val", "test")
    assert dataset.classes == ("ants", "bees")
    assert {example.id: example.split for example in dataset.examples}[f"{val}/bees/1.png"] == "val"


def test_train_alone_may_be_given(tmp_path: Path) -> None:
    assert open_dataset(folder_of(tmp_path, ants_and_bees("train/"))).splits == ("train",)


def test_deeper_folders_belong_to_their_class(tmp_path: Path) -> None:
    dataset = open_dataset(folder_of(tmp_path, ["ants/2019/May/1.png", "ants/2.png", "bees/x/1.png", "bees/2.png"]))
    assert [example.label for example in dataset.examples] == ["ants", "ants", "bees", "bees"]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    names = [f"{label}/{at}.png" for label in ("bus", "train", "car") for at in range(2)]
    dataset = open_dataset(folder_of(tmp_path, names))
    assert dataset.classes == ("bus", "car", "train")
    assert dataset.splits == ()


def test_hidden_files_and_unknown_kinds_are_left_out_and_counted(tmp_path: Path) -> None:
    folder_of(tmp_path, [*ants_and_bees(), "ants/.ipynb_checkpoints/0.png", ".cache/x.png", "bees/._0.png"])
    for name in ("ants/Thumbs.db", "ants/notes.txt", "bees/README", "labels.csv"):
        (tmp_path / name).write_text("words")
    dataset = open_dataset(tmp_path)
    assert dataset.num_examples == 4
    assert "4 hidden entries left out" in told(dataset)
    assert "ants/.ipynb_checkpoints" in told(dataset)
    assert "3 files of unknown type left out" in told(dataset)
    assert "1 .txt" in told(dataset)
    assert "1 no extension" in told(dataset)
    assert "labels.csv was not read" in told(dataset)


def test_pictures_outside_class_folders_are_left_out_and_said_so(tmp_path: Path) -> None:
    dataset = open_dataset(folder_of(tmp_path, [*ants_and_bees(), "cover.png"]))
    assert dataset.num_examples == 4
    assert "1 image in no class folder left out: cover.png." in told(dataset)


def test_an_unlabelled_test_folder_is_left_out_and_said_so(tmp_path: Path) -> None:
    dataset = open_dataset(folder_of(tmp_path, [*ants_and_bees("train/"), "test/1.png", "test/2.png"]))
    assert dataset.splits == ("train",)
    assert "2 images in no class folder left out: test/1.png, test/2.png." in told(dataset)


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, ants_and_bees())
    (tmp_path / "wasps").mkdir()
    assert "1 folder without images left out: wasps." in told(open_dataset(tmp_path))


def test_two_folders_of_one_split_are_merged_and_said_so(tmp_path: Path) -> None:
    names = [name for part in ("train", "val", "valid") for name in ants_and_bees(f"{part}/")]
    dataset = open_dataset(folder_of(tmp_path, names))
    assert dataset.counts()["val"] == {"ants": 4, "bees": 4}
    assert "val, valid together form the val split." in told(dataset)


def test_upper_case_endings_and_unicode_names_are_read(tmp_path: Path) -> None:
    dataset = open_dataset(folder_of(tmp_path, ["蟻/一.PNG", "蟻/二.Png", "včela/žlutá 1.png", "včela/2.png"]))
    assert dataset.num_examples == 4
    assert dataset.classes == ("včela", "蟻")


def test_two_spellings_of_an_accent_are_one_class(tmp_path: Path) -> None:
    composed, apart = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    names = [f"train/{composed}/1.png", f"test/{apart}/1.png", "train/tea/1.png", "test/tea/1.png"]
    dataset = open_dataset(folder_of(tmp_path, names))
    if sys.platform == "linux":  # elsewhere the file system merges them itself
        assert "Two spellings of the class 'café' were merged." in told(dataset)
    assert dataset.classes == ("café", "tea")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_unicode_can_be_opened(tmp_path: Path) -> None:
    folder_of(tmp_path, ants_and_bees())
    picture(9).save(tmp_path / "ants" / os.fsdecode(b"caf\xe9.png"))
    dataset = open_dataset(tmp_path)
    assert r"ants/caf\xe9.png" in {example.id for example in dataset.examples}
    assert len(dataset.fingerprint) == 40


def test_a_linked_folder_is_followed_and_a_circle_ends(tmp_path: Path) -> None:
    folder_of(tmp_path / "data", ["ants/1.png", "ants/2.png"])
    folder_of(tmp_path / "elsewhere", ["1.png", "2.png"])
    try:
        (tmp_path / "data" / "bees").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("this system allows no links")
    assert open_dataset(tmp_path / "data").num_examples == 4


@pytest.mark.parametrize(
    ("names", "words", "fix"),
    [
        ([], "holds no images", "one subfolder of files per class"),
        (["a.png", "b.png"], "holds 2 images but no class folders", "a separate folder"),
        (["ants/1.png", "ants/2.png"], "contains a single class, 'ants'", "another class"),
        (["ants/1.png", "ants/2.png", "bees/1.png"], "1 class has only one example: bees", "add examples"),
        (
            [*ants_and_bees("train/"), *ants_and_bees("extra/")],
            "contains the splits train and also extra",
            "move extra elsewhere",
        ),
        (
            [f"{label}/{part}/{at}.png" for label in ("ants", "bees") for part in ("train", "test") for at in range(2)],
            "has its splits inside the folder ants",
            "move ants/train to train/ants",
        ),
        (ants_and_bees("photos/"), "contains a single folder, 'photos', with ants, bees inside", "photos"),
        (
            [*ants_and_bees("val/"), *ants_and_bees("test/")],
            "has the splits val, test but no train split",
            "train split",
        ),
        (
            [*ants_and_bees("train/"), *ants_and_bees("test/"), "test/Ants /1.png", "test/Ants /2.png"],
            "missing from train: Ants",
            "did you mean 'ants'",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, names: list[str], words: str, fix: str) -> None:
    with pytest.raises(BadData) as caught:
        open_dataset(folder_of(tmp_path, names))
    assert words in caught.value.message
    assert fix in caught.value.fix


def test_a_class_that_only_test_lacks_is_a_notice(tmp_path: Path) -> None:
    dataset = open_dataset(folder_of(tmp_path, [*ants_and_bees("train/"), "test/ants/1.png"]))
    assert "The test split lacks 1 class: bees; it cannot evaluate them." in told(dataset)


def test_classes_that_differ_only_in_case_are_named(tmp_path: Path) -> None:
    names = ["Ants/1.png", "Ants/2.png", "ants/1.png", "ants/2.png"]
    dataset = open_dataset(folder_of(tmp_path, names))
    if len(dataset.classes) == 2:  # not so where the file system knows no case
        assert "The classes 'Ants', 'ants' differ only in case, spaces or a comma" in told(dataset)


def test_one_class_may_be_opened_to_evaluate(tmp_path: Path) -> None:
    assert open_dataset(folder_of(tmp_path, ["ants/1.png"]), learnable=False).num_examples == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the owner of everything may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, ants_and_bees())
    (tmp_path / "bees").chmod(0)
    try:
        with pytest.raises(BadData, match="bees cannot be read"):
            open_dataset(tmp_path)
    finally:
        (tmp_path / "bees").chmod(0o700)


def test_every_picture_in_a_folder_is_listed_labelled_or_not(tmp_path: Path) -> None:
    folder_of(tmp_path, ["b.png", "a/c.png", ".hidden.png"])
    assert files_in(tmp_path)[0] == [tmp_path / "a" / "c.png", tmp_path / "b.png"]
