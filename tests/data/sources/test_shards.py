"""Folders of archives named after splits."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.pictures import folder_of
from data.sources.test_archive import packed
from regraft.data import archives
from regraft.data.open import open_dataset, unpack
from regraft.errors import BadData, UnknownName
from regraft.recipe import Source, Target
from regraft.workbench.session import opening


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own, in use by nobody at the end."""
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    yield
    for lock in archives._used.values():
        lock.release()
    archives._used.clear()


def sharded(tmp_path: Path, **shards: list[str]) -> Path:
    """A folder of archives, by name without ending, each with these files."""
    for name, files in shards.items():
        folder_of(tmp_path / "parts" / name, files)
        (tmp_path / "shards").mkdir(exist_ok=True)
        packed(tmp_path / "parts" / name, tmp_path / "shards" / f"{name.replace('_', '-')}.tar.gz", "")
    return tmp_path / "shards"


def test_archives_called_after_the_parts_are_read_as_one_divided_set(tmp_path: Path) -> None:
    found = open_dataset(
        sharded(
            tmp_path,
            train_0=["ants/a.png", "bees/b.png"],
            train_1=["ants/c.png", "bees/d.png"],
            val=["ants/a.png", "bees/e.png"],
        )
    )
    assert [example.id for example in found.examples] == [
        "train/ants/a.png", "train/ants/c.png", "train/bees/b.png", "train/bees/d.png",
        "val/ants/a.png", "val/bees/e.png",
    ]  # fmt: skip
    assert [example.split for example in found.examples] == ["train"] * 4 + ["val"] * 2
    assert [example.label for example in found.examples] == ["ants", "ants", "bees", "bees", "ants", "bees"]
    assert "3 archives of shards (train-0.tar.gz, train-1.tar.gz, val.tar.gz)" in found.notes[0].text


def test_a_file_in_two_archives_of_a_part_is_refused(tmp_path: Path) -> None:
    where = sharded(tmp_path, train_0=["ants/a.png", "bees/b.png"], train_1=["ants/a.png", "bees/d.png"])
    with pytest.raises(BadData, match=r"ants/a\.png is in both train-0\.tar\.gz and train-1\.tar\.gz"):
        open_dataset(where)


def test_a_part_inside_an_archive_that_is_called_after_a_part_is_refused(tmp_path: Path) -> None:
    where = sharded(tmp_path, train=["train/ants/a.png", "train/bees/b.png", "val/ants/c.png", "val/bees/c.png"])
    with pytest.raises(BadData, match="named after the split train but contains the folder 'val'"):
        open_dataset(where)


def test_folders_of_pictures_beside_the_archives_are_refused(tmp_path: Path) -> None:
    where = sharded(tmp_path, train=["ants/a.png", "bees/b.png"])
    folder_of(where, ["ants/x.png"])
    with pytest.raises(BadData, match="and folders of examples: ants"):
        open_dataset(where)
    with pytest.raises(BadData, match="and folders of examples: ants"):
        list(unpack(where))
    assert not (tmp_path / "cache").exists()


def test_a_wrong_task_is_named_before_anything_is_unpacked(tmp_path: Path) -> None:
    where = sharded(tmp_path, train=["ants/a.png", "bees/b.png"])
    with pytest.raises(UnknownName, match="guessing"):
        list(opening(where, Source(), task="guessing", target=Target()))
    assert not (tmp_path / "cache").exists()


def test_a_folder_of_archives_without_a_training_part_is_a_folder_like_any_other(tmp_path: Path) -> None:
    where = sharded(tmp_path, val=["ants/a.png", "bees/b.png"])
    with pytest.raises(BadData, match="holds no images"):
        open_dataset(where)
    shutil.move(where / "val.tar.gz", where / "trainings.tar.gz")
    with pytest.raises(BadData, match="holds no images"):
        open_dataset(where)
