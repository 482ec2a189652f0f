"""An audit from end to end: findings, the page, and a table with a clean split that a fit takes."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from regraft.errors import BadRequest, LeakedSplit, UnknownName
from regraft.recipe import Recipe, with_settings
from regraft.values import Notice
from regraft.workbench.audit import Audited, audit
from regraft.workbench.session import open_session
from scenes import put, scene

CHEAP = ("exact_copies", "two_labels", "unreadable", "groups", "class_sizes")


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Copies across splits, a content with two labels, a file that is cut off."""
    root = tmp_path / "faulty"
    for number in range(60):
        put(scene(number), root / ("train" if number < 40 else "test") / "ab"[number % 2] / f"{number}.png")
    shutil.copy(root / "train/a/0.png", root / "test/a/again.png")
    with Image.open(root / "train/b/1.png") as image:
        put(image.resize((48, 48)), root / "test/b/smaller.jpg", quality=85)
    shutil.copy(root / "train/a/2.png", root / "train/b/other.png")
    cut = root / "train/a/4.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    return root


def audited(data: Path, **asked: object) -> tuple[Audited, list[Notice]]:
    """The last event, and the notices."""
    recipe = Recipe(data=str(data), backbone="googlenet:tiny@random", input_px=32, threads=1)
    events = list(audit(recipe, **asked))  # type: ignore[arg-type]
    assert isinstance(events[-1], Audited)
    return events[-1], [one for one in events if isinstance(one, Notice)]


def test_what_a_fit_would_refuse_comes_first_and_is_shown_on_the_page(faulty: Path, tmp_path: Path) -> None:
    done, _ = audited(faulty, checks=(*CHEAP, "near_copies", "source_statistics"), out=tmp_path / "page")
    severities = [one.severity for one in done.report.findings]
    assert severities == sorted(severities, key=("stop", "warn", "info").index)
    checks = {one.check for one in done.report.findings}
    assert {"Exact copies across splits", "One content with two labels", "Unreadable files"} <= checks
    assert done.report.probe is not None
    html, markdown = ((tmp_path / "page" / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert "data:image/png;base64," in html
    assert "finding-1.svg" in markdown
    assert "test/a/again.png" in markdown
    written = json.loads((tmp_path / "page" / "report.json").read_text())
    assert len(written["findings"]) == len(done.report.findings)


def test_the_clean_split_is_one_that_a_fit_takes(faulty: Path, tmp_path: Path) -> None:
    table = tmp_path / "clean.csv"
    recipe = Recipe(data=str(faulty), threads=1)
    with pytest.raises(LeakedSplit):
        list(open_session(recipe, workers=1))
    _, notices = audited(faulty, checks=CHEAP, fix_split=table)
    (told,) = [one.text for one in notices if one.topic == "split"]
    assert "1 example (cannot be read), 2 examples (has two labels), 2 examples (is also in another split" in told
    rows = table.read_text().splitlines()
    assert rows[0] == "path,label,split,group"
    kept = {row.split(",")[0] for row in rows[1:]}
    assert {"faulty/test/a/again.png", "faulty/test/b/smaller.jpg"} <= kept  # the test split stays as it was
    assert not kept & {f"faulty/train/{name}.png" for name in ("a/0", "b/1", "a/2", "b/other", "a/4")}
    list(open_session(Recipe(data=str(table), threads=1), workers=1))
    assert not [one for one in audited(table, checks=CHEAP)[0].report.findings if one.severity == "stop"]


def test_where_too_little_would_be_left_to_train_on_all_are_dealt_out_anew(tmp_path: Path) -> None:
    root = tmp_path / "patients"
    for patient in range(20):
        for number in range(3):
            split = "test" if number == 2 else "train"
            put(scene(10 * patient + number, 32), root / split / "ab"[patient % 2] / f"p{patient}_{number}.png")
    recipe = Recipe(data=str(root), threads=1, backbone="googlenet:tiny@random", input_px=32)
    table = tmp_path / "clean.csv"
    grouped = with_settings(recipe, {"source.group_pattern": r"/(p\d+)_"})
    told = [one.text for one in audit(grouped, checks=CHEAP, fix_split=table) if isinstance(one, Notice)]
    assert any("redrawn" in text for text in told)
    where: dict[str, set[str]] = {}
    for row in table.read_text().splitlines()[1:]:
        path, _, split, _ = row.split(",")
        where.setdefault(path.rpartition("/")[2].partition("_")[0], set()).add(split)
    assert len(where) == 20
    assert all(len(splits) == 1 for splits in where.values())
    assert {split for splits in where.values() for split in splits} == {"train", "test"}


def test_data_that_cannot_be_learned_from_are_audited_all_the_same(tmp_path: Path) -> None:
    for number in range(12):
        put(scene(number, 32), tmp_path / "d" / "only" / f"{number}.png")
    done, _ = audited(tmp_path / "d", checks=CHEAP)
    assert done.report.findings[0].check == "Learnable"
    assert done.report.findings[0].severity == "stop"


def test_what_cannot_be_asked_for_is_refused(faulty: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no check named 'exact_copy'"):
        audited(faulty, checks=("exact_copy",))
    with pytest.raises(BadRequest, match=r"does not end in \.csv"):
        audited(faulty, fix_split=tmp_path / "clean.txt")
