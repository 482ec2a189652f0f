"""From what was typed to a recipe and a folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from regraft.errors import BadRecipe, RunError, UnknownName
from regraft.recipe import Recipe, Seen, Source, write_recipe
from regraft.workbench.recipes import folder_for, recipe_for

SEEN = Seen(backbone="b" * 40, data="d" * 40)


def test_a_path_of_data_becomes_a_recipe_with_the_settings() -> None:
    settings = {"strategy": "partial", "source.group_column": "plant", "options.lr": 1e-3}
    assert recipe_for("photos", settings) == Recipe(
        data="photos", strategy="partial", source=Source(group_column="plant"), options={"lr": 1e-3}
    )


@pytest.mark.parametrize(
    ("settings", "backbone_kept", "data_kept"),
    [
        ({}, True, True),
        ({"seed": 3, "cut": "5a", "strategy": "full"}, True, True),
        ({"backbone": "resnet18@imagenet"}, False, True),
        ({"strategy": "scratch"}, False, True),
        ({"data": "others"}, True, False),
        ({"source.group_column": "plant"}, True, False),
    ],
    ids=str,
)
def test_what_is_changed_on_purpose_is_no_longer_held_against_what_was_seen(
    settings: dict[str, object], backbone_kept: bool, data_kept: bool, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(write_recipe(Recipe(data="photos", strategy="partial", seen=SEEN)))
    seen = recipe_for(path, settings).seen
    assert (seen.backbone == SEEN.backbone, seen.data == SEEN.data) == (backbone_kept, data_kept)


def test_random_weights_follow_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(write_recipe(Recipe(data="photos", strategy="scratch", seen=SEEN)))
    assert recipe_for(path, {}).seen.backbone
    assert not recipe_for(path, {"seed": 1}).seen.backbone


def test_unknown_names_and_fields_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'partial'"):
        recipe_for("photos", {"strategy": "partail"})
    with pytest.raises(BadRecipe, match="did you mean 'strategy'"):
        recipe_for("photos", {"stratgy": "partial"})
    with pytest.raises(BadRecipe, match="cannot be read"):
        recipe_for("missing.toml", {})


def test_runs_are_named_by_data_and_strategy_and_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(data="my photos/", strategy="partial")
    (tmp_path / "labels.csv").touch()
    assert folder_for(recipe, resume=False) == Path("runs/my-photos-partial")
    assert folder_for(replace(recipe, data="labels.csv"), resume=False) == Path("runs/labels-partial")
    assert folder_for(replace(recipe, data="."), resume=False) == Path(f"runs/{tmp_path.name}-partial")
    (tmp_path / "runs" / "my-photos-partial").mkdir(parents=True)
    assert folder_for(recipe, resume=False) == Path("runs/my-photos-partial-2")
    with pytest.raises(RunError, match="no unfinished run"):
        folder_for(recipe, resume=True)
    (tmp_path / "runs" / "my-photos-partial" / "begun.json").touch()
    assert folder_for(recipe, resume=True) == Path("runs/my-photos-partial")
