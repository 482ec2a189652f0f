"""What a folder holds beside images is left out by one rule, in every verb, and always said."""

import os
import re
import tarfile
from pathlib import Path

import pytest

from cases.door import TINY, Done, photos, regraft

VERBS = ("fit", "predict", "evaluate")


def on(verb: str, data: Path, model: Path, out: Path) -> Done:
    """The verb on the data."""
    if verb == "fit":
        return regraft("fit", data, *TINY, "--out", out)
    if verb == "predict":
        return regraft("predict", model, data)
    return regraft("evaluate", model, "--data", data, "--out", out)


@pytest.mark.parametrize("verb", VERBS)
def test_k06_linked_folders_are_read_by_every_verb(verb: str, model: Path, tmp_path: Path) -> None:
    photos(tmp_path / "elsewhere", first=50)
    (tmp_path / "data").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere" / name)
    done = on(verb, tmp_path / "data", model, tmp_path / "out")
    assert done.code == 0, done.err
    if verb == "predict":
        assert [line.split("\t")[0] for line in done.out.splitlines()] == [
            str(tmp_path / "data" / name / f"{number:03}.png") for name in ("cat", "dog") for number in range(50, 56)
        ]
    else:
        assert "on 12 " in done.out


@pytest.mark.parametrize("verb", VERBS)
def test_k06_a_dead_link_to_an_image_is_an_image_that_cannot_be_read(verb: str, model: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "data", 12, first=50)
    (data / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (data / "cat" / "round.png").symlink_to(data / "cat" / "round.png")
    done = on(verb, data, model, tmp_path / "out")
    assert done.code == (3 if verb != "evaluate" else 0), done.err
    assert "2 of 26" in done.err or "2 unreadable files of 26 left out" in done.err
    assert re.search(r"gone\.png.*it is a broken link", done.err + done.out)


@pytest.mark.parametrize("verb", VERBS)
def test_k06_links_and_entries_that_hold_nothing_are_named(verb: str, model: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "data", first=50)
    (data / "bird").symlink_to(tmp_path / "not mounted")
    (data / "cat" / "up").symlink_to(data)
    os.mkfifo(data / "cat" / "pipe.png")
    (data / "dog" / "pipe.png").symlink_to(data / "cat" / "pipe.png")
    done = on(verb, data, model, tmp_path / "out")
    assert done.code == 0, done.err
    assert (
        "note: 4 entries left out: bird (a broken link), cat/pipe.png (neither a file nor a folder), cat/up "
        "(a link to a folder that contains it), dog/pipe.png (neither a file nor a folder)." in done.err
    )


@pytest.mark.parametrize("verb", VERBS)
def test_k06_links_inside_an_archive_are_followed(verb: str, model: Path, tmp_path: Path) -> None:
    photos(tmp_path / "data" / "originals", first=50)
    for name in ("cat", "dog"):
        (tmp_path / "data" / "set" / name).mkdir(parents=True)
        for number in range(50, 56):
            link = tmp_path / "data" / "set" / name / f"{number}.png"
            link.symlink_to(Path("..") / ".." / "originals" / name / f"{number:03}.png")
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "data" / "set", "set")
        tar.add(tmp_path / "data" / "originals", "originals")
    data = tmp_path / "data.tar.gz" / "set" if verb != "predict" else tmp_path / "data.tar.gz"
    done = on(verb, data, model, tmp_path / "out")
    assert done.code == 0, done.err
    assert ("on 12 " in done.out) if verb != "predict" else len(done.out.splitlines()) == 24


def test_k06_a_path_that_is_a_dead_link_costs_only_its_own_prediction(model: Path, tmp_path: Path) -> None:
    photos(tmp_path, first=50)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    done = regraft("predict", model, tmp_path / "gone.png", tmp_path / "cat" / "050.png")
    assert done.code == 3
    assert "gone.png\t(unreadable)" in done.out
    assert "050.png\tcat" in done.out
    assert regraft("predict", model, tmp_path / "never.png").code == 3


def test_folders_nested_without_end_are_named_and_the_rest_is_read(model: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "data", first=50)
    deep = data / "cat" / "/".join("d" for _ in range(300))
    deep.mkdir(parents=True)
    done = regraft("predict", model, data)
    assert done.code == 0, done.err
    assert "(more than 64 folders deep)" in done.err


@pytest.mark.parametrize("verb", VERBS)
def test_k16_files_that_are_no_images_are_passed_over_with_a_notice(verb: str, model: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "data", first=50)
    (data / "Thumbs.db").write_bytes(b"x")
    (data / "cat" / "desktop.ini").write_text("[x]")
    (data / "cat" / ".DS_Store").write_bytes(b"x")
    (data / "notes.txt").write_text("lens: 50 mm")
    (data / "labels.csv").write_text("path,label\n")
    (data / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    done = on(verb, data, model, tmp_path / "out")
    assert done.code == 0, done.err
    assert "4 hidden entries left out: DICOMDIR, Thumbs.db, cat/.DS_Store, cat/desktop.ini." in done.err
    assert "2 files of unknown type left out: 1 .csv, 1 .txt." in done.err
    assert "labels.csv was not read; to use a table, pass it: data/labels.csv." in done.err


def test_k16_a_folder_without_images_says_what_it_holds_instead(model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    done = regraft("predict", model, tmp_path)
    assert done.code == 3
    assert "1 file of unknown type left out: 1 .txt." in done.err
    assert f"There are no images in {tmp_path}" in done.err


def test_images_without_an_ending_are_told_by_their_first_bytes(model: Path, tmp_path: Path) -> None:
    for ending in ("png", "jpg", "gif", "bmp", "tif", "webp"):
        data = photos(tmp_path / ending, 1, first=50, ending=ending)
        for path in list(data.rglob(f"*.{ending}")):
            path.rename(path.with_suffix(""))
    (tmp_path / "png" / "README").write_text("six formats")
    done = regraft("predict", model, tmp_path)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 12
    assert "1 file of unknown type left out: 1 no extension." in done.err


def test_a_folder_that_may_not_be_read_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, scandir = photos(tmp_path / "data", first=50), os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for verb in VERBS:
        done = on(verb, data, model, tmp_path / verb)
        assert done.code == 3
        assert f"The folder {data / 'dog'} cannot be read (Permission denied)." in done.err
        assert not (tmp_path / verb).exists()


def test_a_name_cannot_steer_the_terminal(tmp_path: Path, model: Path) -> None:
    name = "a\x1b[2Jb\nc\u202ed.png"
    (tmp_path / name).write_bytes(b"no image")
    told = regraft("predict", model, tmp_path)
    assert told.code == 3
    assert r"a\x1b[2Jb\x0ac\u202ed.png" in told.err
    assert "\x1b" not in told.err + told.out
