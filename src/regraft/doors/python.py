"""The Python door: `regraft.fit` and its kin. Each drains the verb's generator, so that nobody can forget to."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from regraft.doors._terminal import watched
from regraft.errors import BadRequest
from regraft.recipe import Recipe, with_settings
from regraft.workbench.recipes import folder_for, recipe_for
from regraft.workbench.run import Run, open_run

if TYPE_CHECKING:
    from regraft.data.dataset import Dataset

_OPENED: "WeakKeyDictionary[Dataset, Recipe]" = WeakKeyDictionary()
"""How each data set was opened, for a fit on it."""


def open_dataset(path: str | Path, *, task: str = "auto", order: Sequence[str] = (), **source: Any) -> "Dataset":
    """The labelled examples at `path`: a folder of class folders, or a table.

    `task` says what is asked: classification, multilabel, regression or ordinal, the classes of the last in `order`.
    `source` are fields of `regraft.recipe.Source`: `label_column`, `label_columns`, `label_delimiter`, `group_column` …

    Raises:
        BadData: there is nothing to learn from; the message says why.
        BadRecipe: an unknown field.
        UnknownName: there is no such task.
    """
    from regraft.workbench._dataset import opened

    settings = {"task": task, "target.order": list(order), **_inside("source", source)}
    chosen = with_settings(Recipe(data=str(path)), settings)
    found = opened(Path(path), chosen.source, task=chosen.task, target=chosen.target)
    _OPENED[found] = chosen
    return found


def fit(
    data: "str | Path | Recipe | Dataset",
    *,
    backbone: str | None = None,
    strategy: str | None = None,
    out: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Train on `data`, prove the result and save the model; the run.

    `data` is a path of data or of a recipe, a recipe, or what `open_dataset` returned; `options` are the strategy's;
    `fields` are further fields of the recipe (`cut`, `seed`, `input_px` …). Progress goes to stderr unless `quiet`.
    Without `out` the run goes to `runs/DATA-STRATEGY`.

    Raises:
        RegraftError: what is wrong with the data, the recipe, the weights or the machine, and what to do.
    """
    given = {"backbone": backbone, "strategy": strategy, **fields}
    settings = {name: value for name, value in given.items() if value is not None} | _inside("options", options or {})
    recipe = _recipe(data, settings)
    folder = folder_for(recipe, resume=resume) if out is None else Path(out)

    from regraft.workbench.fit import RunDone
    from regraft.workbench.fit import fit as run

    path = folder
    for event in watched(run(recipe, folder, resume=resume), quiet=quiet):
        if isinstance(event, RunDone):
            path = event.path
    return open_run(path)


def _recipe(data: "str | Path | Recipe | Dataset", settings: Mapping[str, Any]) -> Recipe:
    if isinstance(data, Recipe):
        return with_settings(data, settings)
    if isinstance(data, str | Path):
        return recipe_for(data, settings)
    if data not in _OPENED:
        raise BadRequest(
            "This data set was not opened by regraft.open_dataset, or was changed since.",
            fix="write a table of the examples you want, and fit on that.",
        )
    return with_settings(replace(_OPENED[data], data=str(data.root)), settings)


def _inside(section: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{section}.{name}": value for name, value in fields.items()}
