"""A recipe that is run from another folder than the one where it was written."""

from pathlib import Path

import pytest

from data.pictures import folder_of
from regraft.data.open import open_dataset
from regraft.errors import BadData
from regraft.workbench.recipes import moved, recipe_for

SEEN = '[seen]\nbackbone = ""\ndata = "of a run"\n'


def recipe_at(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def test_k21_data_are_looked_for_beside_the_recipe_and_a_notice_says_where(elsewhere: Path) -> None:
    folder_of(elsewhere / "own" / "photos", ["cat/0.png"])
    recipe_at(elsewhere / "own" / "recipe.toml", 'data = "photos"\n')
    found = recipe_for("../own/recipe.toml", {})
    assert found.data == str(elsewhere / "own" / "photos")
    (note,) = moved(found, "../own/recipe.toml")
    assert note.text == f"The data of ../own/recipe.toml ('photos' there) are read from {found.data}."


def test_k21_the_recipe_of_a_run_is_followed_to_where_the_run_was_started(elsewhere: Path) -> None:
    folder_of(elsewhere / "photos", ["cat/0.png"])
    path = recipe_at(elsewhere / "runs" / "cats" / "recipe.toml", f'data = "photos"\n{SEEN}')
    found = recipe_for(path, {"seed": 3})
    assert found.data == str(elsewhere / "photos")
    assert found.seen.data == "of a run"


def test_k21_a_recipe_that_no_run_wrote_finds_nothing_in_folders_above_it(elsewhere: Path) -> None:
    folder_of(elsewhere / "photos", ["cat/0.png"])
    assert recipe_for(recipe_at(elsewhere / "own" / "recipe.toml", 'data = "photos"\n'), {}).data == "photos"


def test_k21_what_the_current_folder_has_goes_before(elsewhere: Path) -> None:
    for place in (elsewhere / "own", Path()):
        folder_of(place / "photos", ["cat/0.png"])
    path = recipe_at(elsewhere / "own" / "recipe.toml", 'data = "photos"\n')
    found = recipe_for(path, {})
    assert found.data == "photos"
    assert list(moved(found, path)) == []


def test_k21_a_model_to_start_from_and_a_table_in_an_archive_are_found_too(elsewhere: Path) -> None:
    (elsewhere / "own" / "runs" / "first").mkdir(parents=True)
    (elsewhere / "own" / "photos.zip").write_bytes(b"PK")
    text = 'data = "photos.zip/table.csv"\nbackbone = "bundle:runs/first"\n'
    found = recipe_for(recipe_at(elsewhere / "own" / "recipe.toml", text), {})
    assert found.data == str(elsewhere / "own" / "photos.zip" / "table.csv")
    assert found.backbone == f"bundle:{elsewhere / 'own' / 'runs' / 'first'}"


@pytest.mark.parametrize("backbone", ["googlenet", "googlenet:tiny@random", "timm:resnet18", "resnet18@hf:some/one"])
def test_k21_a_name_is_not_taken_for_a_path(backbone: str, elsewhere: Path) -> None:
    (elsewhere / "own" / "googlenet").mkdir(parents=True)
    path = recipe_at(elsewhere / "own" / "recipe.toml", f'data = "photos"\nbackbone = "{backbone}"\n')
    assert recipe_for(path, {}).backbone == backbone


def test_k21_what_is_nowhere_is_named_with_where_paths_start(elsewhere: Path) -> None:
    recipe = recipe_for(recipe_at(elsewhere / "own" / "recipe.toml", 'data = "photos"\n'), {})
    with pytest.raises(BadData, match=r"elsewhere.photos does not exist") as caught:
        open_dataset(recipe.data)
    assert "in a recipe, at the folder where the run was started" in caught.value.fix
    assert "--set data=PATH" in caught.value.fix
