"""Recipes for doors: from a path and what the user changed, to a recipe and the folder its run goes to."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from regraft.data.open import is_there
from regraft.errors import RunError
from regraft.recipe import Recipe, Seen, Source, Target, read_recipe, with_settings
from regraft.values import Notice
from regraft.workbench.strategies import strategies

RUNS = Path("runs")
"""Where runs go unless told otherwise."""


def recipe_for(target: str | Path, settings: Mapping[str, Any]) -> Recipe:
    """The recipe in the file `target` (a `.toml`), or one for the data at `target`, with `settings` applied.

    What a setting changes on purpose is no longer held against the recipe's `[seen]`. Relative paths in the recipe
    start where the process was started; see `placed`.

    Raises:
        BadRecipe: the file cannot be read as a recipe, or a setting does not exist or is of the wrong kind.
        UnknownName: there is no such strategy.
    """
    path = Path(target)
    before = placed(read_recipe(path), path) if path.suffix == ".toml" else Recipe(data=str(target))
    after = with_settings(before, settings)
    other_data = _read(after) != _read(before)
    other_weights = _weights(after) != _weights(before)
    seen = Seen(backbone="" if other_weights else after.seen.backbone, data="" if other_data else after.seen.data)
    return replace(after, seen=seen)


def placed(recipe: Recipe, path: Path) -> Recipe:
    """The recipe at `path`, its data and its backbone found beside it where the current folder does not have them.

    A run writes paths as they were given, relative to the folder where it was started, which mostly lies above its own;
    so the recipe of a run is looked for there too: its `[seen]` refuses other data of the same name.
    """
    folder = Path(os.path.abspath(path.expanduser())).parent  # noqa: PTH100 - links in the path are kept
    folders = [folder, *folder.parents] if recipe.seen.data else [folder]

    def found(text: str) -> str:
        start, given = re.fullmatch(r"(bundle:|[^@/]*@file:)?(.*)", text, re.DOTALL).groups("")  # type: ignore[union-attr]
        if not given or is_there(given):
            return text
        return next((f"{start}{one / given}" for one in folders if is_there(one / given)), text)

    backbone = found(recipe.backbone) if re.search(r"[/\\:]", recipe.backbone) else recipe.backbone
    return replace(recipe, data=found(recipe.data), backbone=backbone)


def moved(recipe: Recipe, target: str | Path) -> Iterator[Notice]:
    """A notice where the data of the recipe file `target` are read somewhere else than it says."""
    path = Path(target)
    if path.suffix == ".toml" and (said := read_recipe(path).data) != recipe.data:
        yield Notice(text=f"The data of {target}, {said!r} there, are read at {recipe.data}.", topic="data")


def folder_for(recipe: Recipe, *, resume: bool) -> Path:
    """The folder for a run that was given none: `runs/DATA-STRATEGY`, numbered where that is taken.

    With `resume`, the newest unfinished one of these.

    Raises:
        RunError: there is none to resume.
    """
    data = Path(recipe.data).expanduser().resolve()
    words = re.sub(
        r"[^\w.-]+", "-", f"{data.stem.removesuffix('.tar') if data.is_file() else data.name}-{recipe.strategy}"
    )
    taken = []
    number, path = 1, RUNS / words
    while path.exists():
        taken.append(path)
        number += 1
        path = RUNS / f"{words}-{number}"
    if not resume:
        return path
    unfinished = [one for one in taken if (one / "begun.json").is_file()]
    if not unfinished:
        raise RunError(f"There is no unfinished run {RUNS / words}.", fix="name its folder: --out FOLDER --resume.")
    return unfinished[-1]


def _read(recipe: Recipe) -> tuple[str, Source, str, Target]:
    """What decides which examples with which labels are seen."""
    return recipe.data, recipe.source, recipe.task, recipe.target


def _weights(recipe: Recipe) -> tuple[str, int | None]:
    """What decides the weights: their name, and the seed where they are drawn at random."""
    (facts,) = strategies(recipe.strategy)
    drawn = any(preset.name == recipe.strategy and preset.random_weights for preset in facts.presets)
    name, _, weights = recipe.backbone.partition("@")
    return (name if drawn else recipe.backbone), recipe.seed if drawn or weights == "random" else None
