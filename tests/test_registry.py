"""A shelf lists files without importing them, loads only what it lists, and takes entries from strangers."""

import importlib
import sys
from pathlib import Path

import pytest

from regraft.errors import UnknownName
from regraft.registry import Shelf


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A shelf of a file that works, one that breaks when imported, one of machinery, and a folder."""
    package = tmp_path / "toyshelf"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "spade.py").write_text("ENTRY = 'spade'\n")
    (package / "broken.py").write_text("ENTRY = None\nraise RuntimeError('imported')\n")
    (package / "_machinery.py").write_text("")
    (package / "drawer").mkdir()
    (package / "drawer" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Shelf("tool", "toyshelf")
    for name in [name for name in sys.modules if name.split(".")[0] in ("toyshelf", "stranger")]:
        del sys.modules[name]


def install_stranger(folder: Path, entries: dict[str, str]) -> None:
    """What pip leaves of a third party's distribution: its metadata, and the package `stranger`."""
    info = folder / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[toyshelf]\n{lines}")
    (folder / "stranger").mkdir()
    (folder / "stranger" / "__init__.py").write_text("")
    (folder / "stranger" / "rake.py").write_text("ENTRY = 'rake'\n")
    importlib.invalidate_caches()


def test_names_are_the_public_files_in_order_and_none_is_imported(shelf: Shelf) -> None:
    assert shelf.names() == list(shelf) == ["broken", "spade"]
    assert "toyshelf.spade" not in sys.modules


def test_an_entry_is_imported_when_it_is_asked_for(shelf: Shelf) -> None:
    assert shelf.get("spade") == "spade"
    with pytest.raises(RuntimeError, match="imported"):
        shelf.get("broken")


@pytest.mark.parametrize("name", ["_machinery", "spade.ENTRY", "..errors", "os", ""])
def test_only_listed_names_can_be_imported(shelf: Shelf, name: str) -> None:
    with pytest.raises(UnknownName):
        shelf.get(name)


def test_a_misspelt_name_is_offered_its_nearest(shelf: Shelf) -> None:
    with pytest.raises(UnknownName) as raised:
        shelf.get("spede")
    assert raised.value.message == "There is no tool named 'spede'."
    assert raised.value.fix == "did you mean 'spade'?"


def test_a_name_like_none_is_offered_all(shelf: Shelf) -> None:
    with pytest.raises(UnknownName) as raised:
        shelf.get("zzz")
    assert raised.value.fix == "choose one of: broken, spade."


def test_an_installed_stranger_adds_an_entry(shelf: Shelf, tmp_path: Path) -> None:
    install_stranger(tmp_path, {"rake": "stranger.rake"})
    assert shelf.names() == ["broken", "rake", "spade"]
    assert "stranger.rake" not in sys.modules
    assert shelf.get("rake") == "rake"


def test_a_stranger_cannot_take_the_place_of_our_own_entry(shelf: Shelf, tmp_path: Path) -> None:
    install_stranger(tmp_path, {"spade": "stranger.rake"})
    assert shelf.names() == ["broken", "spade"]
    assert shelf.get("spade") == "spade"


def test_a_shelf_sees_only_entry_points_of_its_own_group(shelf: Shelf, tmp_path: Path) -> None:
    install_stranger(tmp_path, {"rake": "stranger.rake"})
    assert "rake" not in Shelf("metric", "regraft.evaluation.metrics").names()
