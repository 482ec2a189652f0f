"""What people call their splits, and how they lay them out: a split is never learned as a class in silence."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.pictures import folder_of, table_of
from data.sources.test_archive import packed
from regraft.data import archives
from regraft.data.dataset import Dataset
from regraft.data.open import open_dataset
from regraft.errors import BadData
from regraft.words import splits_in


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    archives._used.clear()
    yield
    for lock in archives._used.values():
        lock.release()
    archives._used.clear()


def divided(*splits: str, classes: tuple[str, ...] = ("cat", "dog")) -> list[str]:
    return [f"{split}/{label}/{at}.png" for split in splits for label in classes for at in range(2)]


def told(dataset: Dataset) -> str:
    return "\n".join(note.text for note in dataset.notes)


NAMES = {
    "train": ["train", "Training", "training_set", "TrainingSet", "seg_train", "train2017", "01-train", "trainval"],
    "val": ["val", "VALID", "validation", "Validation Images", "dev", "dev_set", "valset"],
    "test": ["test", "Testing", "TEST SET", "test_set", "seg_test", "testdata", "eval", "test (1)", "PublicTest"],
}


@pytest.mark.parametrize(("split", "name"), [(split, name) for split, names in NAMES.items() for name in names])
def test_k03_names_in_use_for_splits_are_recognised_in_any_case(split: str, name: str) -> None:
    assert splits_in([name]) == {name: split}


@pytest.mark.parametrize("name", ["cat", "trains", "steam train", "test tube", "devil", "invalid", "set", "train_test"])
def test_k03_other_names_are_not_those_of_splits(name: str) -> None:
    assert splits_in([name]) == {}


def test_k03_what_the_names_share_may_stand_before_them() -> None:
    assert splits_in(["xray_train", "xray_test", "xray"]) == {"xray_train": "train", "xray_test": "test"}


@pytest.mark.parametrize(
    ("train", "test"), [("training_set", "test_set"), ("seg_train", "seg_test"), ("x_train", "x_test")]
)
@pytest.mark.parametrize("source", ["folder", "archive", "shards"])
def test_k03_a_set_for_training_and_one_for_testing_are_splits_in_every_source(
    source: str, train: str, test: str, tmp_path: Path
) -> None:
    root = folder_of(tmp_path / "data", divided(train, test))
    if source == "archive":
        root = packed(root, tmp_path / "data.zip", "data")
    if source == "shards":
        (tmp_path / "shards").mkdir()
        for name in (train, test):
            packed(root / name, tmp_path / "shards" / f"{name}-0.tar", "")
        root = tmp_path / "shards"
    found = open_dataset(root)
    assert (found.classes, found.splits) == (("cat", "dog"), ("train", "test"))
    assert found.num_examples == 8


def test_k03_a_table_may_call_the_splits_as_folders_are_called(tmp_path: Path) -> None:
    rows = "a.png,x,training_set\nb.png,y,training_set\nc.png,x,Test Set\nd.png,y,Test Set\n"
    found = open_dataset(table_of(tmp_path / "t.csv", f"path,label,split\n{rows}"))
    assert [one.split for one in found.examples] == ["train", "train", "test", "test"]


@pytest.mark.parametrize("names", [("site1", "site2"), ("fold_1", "fold_2"), ("2019", "2020")])
def test_k03_folders_that_repeat_their_sub_folders_are_classes_only_with_a_notice(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    found = open_dataset(folder_of(tmp_path, divided(*names)))
    assert f"The folders {', '.join(names)}, treated as classes, contain folders of the same names (cat, dog)." in told(
        found
    )


def test_k03_one_enclosing_folder_in_every_class_is_nothing_to_tell(tmp_path: Path) -> None:
    assert open_dataset(folder_of(tmp_path, ["cat/images/0.png", "cat/images/1.png", *divided("dog")])).notes == ()


@pytest.mark.parametrize("source", ["folder", "archive"])
@pytest.mark.parametrize(
    "names",
    [
        ["train/0.png", "test/1.png"],
        ["Training Set/0.png", "test_set/1.png"],
        ["train/0.png", "train/1.png"],
        ["train/images/0.png", "test/images/1.png"],
        ["train/0.png", *divided("test")],
    ],
)
def test_k04_splits_without_classes_in_them_are_refused(names: list[str], source: str, tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", names)
    with pytest.raises(BadData, match=r"of a split|of splits") as caught:
        open_dataset(root if source == "folder" else packed(root, tmp_path / "data.tar.gz", "data"))
    assert "a folder per class" in caught.value.fix
    assert "path, label and split" in caught.value.fix


def test_k04_an_archive_called_after_a_split_needs_classes_as_well(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    packed(folder_of(tmp_path / "data", ["train/0.png", "train/1.png"]), tmp_path / "shards" / "train.tar", "")
    with pytest.raises(BadData, match="train is the name of a split"):
        open_dataset(tmp_path / "shards")


@pytest.mark.parametrize("inner", ["{}/{}", "{}/{}_images", "{}/images", "{}/{}/{}"])
@pytest.mark.parametrize("source", ["folder", "archive"])
def test_k14_a_level_that_says_the_split_again_is_passed_through_with_a_notice(
    source: str, inner: str, tmp_path: Path
) -> None:
    root = folder_of(tmp_path / "data", divided(*(inner.format(*[name] * 3) for name in ("train", "test"))))
    found = open_dataset(root if source == "folder" else packed(root, tmp_path / "data.tar", "data"))
    assert (found.classes, found.splits) == (("cat", "dog"), ("train", "test"))
    level = "/".join(inner.format(*["train"] * 3).split("/")[:2])
    assert f"The folder {level} holds all of train; its subfolders are read instead." in told(found)
    assert "together are" not in told(found)


def test_k14_an_archive_may_hold_the_folder_of_its_split(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for name in ("train", "test"):
        packed(folder_of(tmp_path / name, divided(name)), tmp_path / "shards" / f"{name}.tar", "")
    found = open_dataset(tmp_path / "shards")
    assert found.splits == ("train", "test")
    assert found.examples[-1].id == "train/dog/1.png"


def test_k03_splits_beside_a_folder_that_is_none_are_found_one_level_down(tmp_path: Path) -> None:
    root = folder_of(tmp_path, [*divided("data/train", "data/test"), "plots/0.png", "plots/1.png"])
    with pytest.raises(BadData, match=r"has its splits inside the folder data \(data/train\)") as caught:
        open_dataset(root)
    assert caught.value.fix.startswith(f"pass {root / 'data'};")


def test_k03_a_zip_that_was_packed_with_backslashes_has_folders_all_the_same(tmp_path: Path) -> None:
    folder_of(tmp_path / "data", divided("Train", "Test"))
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as packed_:
        for name in divided("Train", "Test"):
            member = zipfile.ZipInfo("x")
            member.filename = member.orig_filename = "data\\" + name.replace("/", "\\")
            packed_.writestr(member, (tmp_path / "data" / name).read_bytes())
    found = open_dataset(tmp_path / "data.zip")
    assert (found.classes, found.splits) == (("cat", "dog"), ("train", "test"))
    assert found.examples[0].id == "Test/cat/0.png"
