"""A recipe with its defaults."""

import tomllib
from pathlib import Path

import pytest

from regraft.errors import BadRecipe, BadRequest, UnknownCut, UnknownName
from regraft.recipe import Recipe, read_recipe
from regraft.workbench.show import show
from regraft.workbench.strategies import strategies


def test_what_is_shown_is_a_recipe_with_every_default_and_shows_the_same(tmp_path: Path) -> None:
    text = show(Recipe(data="photos", strategy="partial", options={"lr": 1e-3}))
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    recipe = read_recipe(path)
    assert (recipe.cut, recipe.views, recipe.input_px) == ("4e", 4, 128)
    assert recipe.options["lr"] == 1e-3
    (facts,) = strategies("partial")
    assert {one.name for one in facts.options} == set(recipe.options)
    assert show(recipe) == text


@pytest.mark.parametrize(
    ("strategy", "section", "key", "value"),
    [
        ("probe", None, "cut", "output"),
        ("full", None, "cut", "input"),
        ("lp_ft", "options", "init", "probe"),
        ("scratch", "options", "batch_norm", "train"),
        ("finetune", None, "cut", "4e"),
    ],
)
def test_a_presets_own_choices_are_filled_in(strategy: str, section: str | None, key: str, value: str) -> None:
    found = tomllib.loads(show(Recipe(data="photos", strategy=strategy)))
    assert (found[section] if section else found)[key] == value


def test_every_setting_stands_under_its_sentence() -> None:
    lines = show(Recipe(data="photos", strategy="partial")).splitlines()
    for at, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert lines[at - 1].startswith("# "), line
    (facts,) = strategies("partial")
    assert f"# {facts.options[0].sentence}" in lines


@pytest.mark.parametrize(
    ("recipe", "error"),
    [
        (Recipe(data="photos", strategy="partail"), UnknownName),
        (Recipe(data="photos", backbone="googlnet"), UnknownName),
        (Recipe(data="photos", backbone="googlenet:bm"), UnknownName),
        (Recipe(data="photos", backbone="googlenet@imagenett"), UnknownName),
        (Recipe(data="photos", strategy="partial", cut="4f"), UnknownCut),
        (Recipe(data="photos", options={"cc": 1.0}), BadRecipe),
    ],
    ids=["strategy", "backbone", "variant", "weights", "cut", "option"],
)
def test_names_that_do_not_exist_are_refused(recipe: Recipe, error: type[Exception]) -> None:
    with pytest.raises(error):
        show(recipe)


def test_a_backbone_without_inner_cuts_says_which_it_has_and_what_to_do_instead() -> None:
    with pytest.raises(BadRequest, match=r"timm:pit_ti_224\.in1k cannot be cut inside.*its cuts are input, output"):
        show(Recipe(data="x", backbone="timm:pit_ti_224@random", strategy="partial"))
    assert 'cut = "output"' in show(Recipe(data="x", backbone="timm:pit_ti_224@random", strategy="probe"))
    with pytest.raises(UnknownCut, match="its cuts are input, output"):
        show(Recipe(data="x", backbone="timm:pit_ti_224@random", strategy="partial", cut="stem"))


@pytest.mark.parametrize("backbone", ["googlenet@hf:owner/net", "googlenet@file:net.pth", "bundle:runs/one"])
def test_trained_weights_are_not_taken_for_random_ones(backbone: str) -> None:
    with pytest.raises(BadRequest, match="starts from random weights"):
        show(Recipe(data="x", backbone=backbone, strategy="scratch"))


def test_the_channels_that_a_recipe_asks_for_are_shown() -> None:
    assert "\nchannels = 1\n" in show(Recipe(data="photos", channels=1))
