"""Opening: groups from names, what is not there, fingerprints; and the promises of every source."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.pictures import folder_of, table_of
from regraft.data.open import SOURCES, open_dataset
from regraft.errors import BadData, BadRequest

NAMES = [f"{label}/p{patient}_{at}.png" for label in ("ill", "well") for patient in range(3) for at in range(2)]


def test_a_pattern_gives_the_groups(tmp_path: Path) -> None:
    dataset = open_dataset(folder_of(tmp_path, [*NAMES, "ill/other.png"]), group_pattern=r"/(p\d+)_")
    assert {one.group for one in dataset.examples} == {"p0", "p1", "p2", None}
    assert "does not match 1 id; each becomes its own group: ill/other.png" in dataset.notes[0].text
    assert dataset.describe() == "13 examples of 2 classes; all 13 (ill 7, well 6); 4 groups"


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(p", "not a valid regular expression"), (r"p\d", "has no capture group"), (r"(q\d+)_", "matches no id")],
)
def test_a_pattern_of_no_use_is_refused(tmp_path: Path, pattern: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        open_dataset(folder_of(tmp_path, NAMES), group_pattern=pattern)


def test_a_path_with_nothing_is_offered_the_nearest(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", NAMES)
    with pytest.raises(BadData, match="fotos does not exist") as caught:
        open_dataset(tmp_path / "fotos")
    assert caught.value.fix == f"did you mean {tmp_path / 'photos'}?"


def test_opening_decodes_nothing(tmp_path: Path) -> None:
    folder_of(tmp_path, NAMES)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    assert open_dataset(tmp_path).num_examples == len(NAMES)


def test_the_fingerprint_knows_ids_labels_groups_splits_and_nothing_of_the_place(tmp_path: Path) -> None:
    first = open_dataset(folder_of(tmp_path / "one", NAMES))
    moved = open_dataset(folder_of(tmp_path / "two", NAMES))
    assert first.fingerprint == moved.fingerprint
    divided = folder_of(tmp_path / "three", [f"train/{name}" for name in NAMES])
    table = table_of(tmp_path / "t.csv", "path,label\na.png,x\nb.png,y\nc.png,x\nd.png,y\n")
    prints = [
        first.fingerprint,
        open_dataset(tmp_path / "one", group_pattern=r"/(p\d+)_").fingerprint,
        open_dataset(divided).fingerprint,
        first.select(range(3)).fingerprint,
        open_dataset(table).fingerprint,
        open_dataset(
            table_of(table, table.read_text().replace("d.png,y", "d.png,x").replace("a.png,x", "a.png,y"))
        ).fingerprint,
    ]
    assert len(set(prints)) == len(prints)


def test_a_selection_keeps_the_class_numbers(tmp_path: Path) -> None:
    dataset = open_dataset(folder_of(tmp_path, NAMES))
    wells = dataset.select([at for at, one in enumerate(dataset.examples) if one.label == "well"])
    assert wells.classes == ("ill", "well")
    assert set(wells.targets.tolist()) == {1}


@pytest.mark.parametrize("name", sorted(SOURCES.names()))
def test_every_source_accepts_paths_and_opens_them(name: str, tmp_path: Path) -> None:
    source = SOURCES.get(name)
    assert not source.accepts(tmp_path / "nothing here")
    assert callable(source.open)


def test_every_source_gives_the_same_examples_twice(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "folder", NAMES)
    table = table_of(tmp_path / "t.csv", "path,label\na.png,x\nb.png,y\nc.png,x\nd.png,y\n")
    for path in (folder, table):
        accepting = [name for name in SOURCES if SOURCES.get(name).accepts(path)]
        assert len(accepting) == 1
        assert open_dataset(path).examples == open_dataset(path).examples


def test_opening_loads_neither_pillow_nor_torch(tmp_path: Path) -> None:
    folder_of(tmp_path, NAMES)
    script = (
        "import sys; from regraft.data.open import open_dataset; open_dataset(sys.argv[1]);"
        "print([name for name in ('PIL', 'torch', 'sklearn', 'scipy', 'pandas') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    source = str(Path(sys.modules["regraft"].__file__ or "").parents[1])
    loaded = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": source}
    ).stdout
    assert loaded.strip() == "[]"
