"""The Python API: `regraft.fit` and others. Each runs the command's generator to its end."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.doors._errors import translated
from regraft.doors.screen import result_of
from regraft.errors import BadRequest, RegraftError
from regraft.recipe import Recipe, Source, parse_setting, with_settings
from regraft.values import drained
from regraft.workbench.recipes import extension_for, folder_for, moved, recipe_for
from regraft.workbench.run import Run, open_run

if TYPE_CHECKING:
    from regraft.data.dataset import Dataset
    from regraft.reports.advice import AdviceReport
    from regraft.reports.audit import AuditReport
    from regraft.workbench.export import Exported


def open_dataset(path: Any, *, task: str = "auto", order: Sequence[str] = (), **source: Any) -> "Dataset":
    """Open the labelled examples at `path`: a folder of class folders, an archive of one, a table, or a data frame with
    the same columns.

    `task` is classification, multilabel, regression or ordinal (with its classes in `order`), among others. `source`
    are fields of `regraft.recipe.Source`: `label_column`, `label_columns`, `label_delimiter`, `group_column` …

    Raises:
        BadData: the examples cannot be used; the message says why.
        BadRecipe: a field is unknown.
        UnknownName: there is no such task.
    """
    from regraft.data.sources.table import is_frame
    from regraft.workbench.session import opening

    settings = {"task": task, "target.order": list(order), **_inside("source", source)}
    given = path if is_frame(path) else _path_of(path)
    chosen = with_settings(Recipe(data="DataFrame" if is_frame(path) else str(path)), settings)
    events = opening(given, chosen.source, task=chosen.task, target=chosen.target, modality=chosen.modality)
    with parameters_for_flags({"task", "order", *Source.__dataclass_fields__}):
        return replace(drained(events), recipe=chosen)


def fit(
    data: Any,
    *,
    backbone: str | None = None,
    strategy: str | None = None,
    out: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    log_to: Sequence[str] = (),
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Train on `data`, evaluate and save the model; return the run.

    `data` is the path of data or of a recipe, a recipe, a data frame, or the result of `open_dataset`. `options` are
    the strategy's. `log_to` names experiment trackers (`tensorboard`, `mlflow`). `fields` are further fields of the
    recipe (`cut`, `seed`, `input_px` …). Progress goes to stderr unless `quiet`. The default of `out` is
    `runs/DATA-STRATEGY`.

    Raises:
        RegraftError: the data, recipe, weights or machine are not usable; the message says why and what to do.
    """
    given = {"backbone": backbone, "strategy": strategy, **fields}
    settings = {name: value for name, value in given.items() if value is not None} | _inside("options", options or {})
    with parameters_for_flags():
        recipe, dataset = _recipe(data, settings)
    folder = folder_for(recipe, resume=resume) if out is None else Path(out)

    from regraft.workbench.fit import fit as verb
    from regraft.workbench.run import RunDone, tracked

    with parameters_for_flags():
        before = moved(recipe, data) if isinstance(data, str | Path) else ()
        fitting = verb(recipe, folder, resume=resume, dataset=dataset)
        events = chain(before, tracked(fitting, log_to, folder) if log_to else fitting)
        return open_run(result_of(events, RunDone, quiet=quiet).path)


def extend(
    run: str | Path | Run,
    data: str | Path,
    *,
    out: str | Path,
    old: str | Path | None = None,
    max_loss: float = 0.02,
    seed: int = 0,
    resume: bool = False,
    quiet: bool = False,
    **source: Any,
) -> Run:
    """Add the classes of the labelled examples at `data` to a finished model, without retraining the rest; return the
    run.

    `old` is the path of examples of the old classes; None: the model's original training data. If accuracy on old
    examples drops by more than `max_loss`, nothing is written. `resume` continues an interrupted extension. `source`
    are fields of `regraft.recipe.Source`.

    Raises:
        RegraftError: the model or data are not usable, or the old classes are not kept; the message says what to do.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    settings = {"seed": seed, **_inside("source", source)}
    recipe = extension_for(folder, _path_of(data), old=old, max_loss=max_loss, settings=settings)
    return fit(recipe, out=out, resume=resume, quiet=quiet)


def advise(
    data: Any, *, out: str | Path, backbones: Sequence[str] = ("googlenet",),
    strategies: Sequence[str] = ("probe", "partial", "full"), budget_s: float = 600.0, quiet: bool = False,
    **fields: Any,
) -> "AdviceReport":  # fmt: skip
    """Recommend one of `backbones` for `data`, and how much of it to retrain; return the evidence, best recipe first.

    `budget_s` is in wall-clock seconds, `out` the folder of the report, `fields` are fields of the recipe. Test labels
    are not used.

    Raises:
        UnknownName: there is no such backbone or strategy.
        RegraftError: the data or the folder are not usable; the message says why and what to do.
    """
    from regraft.workbench.advise import Advised
    from regraft.workbench.advise import advise as verb

    with parameters_for_flags():
        recipe, dataset = _recipe(data, fields)
        events = verb(recipe, Path(out), backbones=list(backbones), strategies=list(strategies), budget_s=budget_s,
                      dataset=dataset)  # fmt: skip
        return result_of(events, Advised, quiet=quiet).report


def audit(
    data: Any, *, out: str | Path | None = None, checks: Sequence[str] = (), fix_split: str | Path | None = None,
    quiet: bool = False, **fields: Any,
) -> "AuditReport":  # fmt: skip
    """Look for problems in labelled data, test examples included; return the findings, the severest first.

    `checks` are names of checks (default: all), `out` the folder of a report, `fix_split` the path of a table to write
    a clean split to, `fields` are fields of the recipe (`backbone`, `input_px` …). Severity `stop` means that results
    on these data could not be trusted.

    Raises:
        UnknownName: there is no such check or backbone.
        RegraftError: the data are not usable, or the clean split cannot be written; the message says what to do.
    """
    from regraft.workbench.audit import Audited
    from regraft.workbench.audit import audit as verb

    with parameters_for_flags():
        recipe, dataset = _recipe(data, fields)
        events = verb(recipe, out=None if out is None else Path(out), checks=list(checks), dataset=dataset,
                      fix_split=None if fix_split is None else Path(fix_split))  # fmt: skip
        return result_of(events, Audited, quiet=quiet).report


def export(
    run: str | Path | Run,
    to: str = "onnx",
    *,
    out: str | Path | None = None,
    data: str | Path | None = None,
    max_loss: float = 0.02,
    quiet: bool = False,
) -> "Exported":
    """Export a model for other runtimes, after comparing predictions; return the comparison and the location.

    `to` is `onnx`, `onnx-fp16`, `onnx-int8` or `openvino`; for the other parameters see
    `regraft.workbench.export.export`.

    Raises:
        RegraftError: the model or its data are not usable, or the export differs; the message says what to do.
    """
    from regraft.workbench.export import Exported
    from regraft.workbench.export import export as verb

    folder = run.path if isinstance(run, Run) else Path(run)
    with parameters_for_flags({"to", "out", "data", "max_loss"}):
        events = verb(
            folder, to, out=None if out is None else Path(out), data=None if data is None else Path(data),
            max_loss=max_loss,
        )  # fmt: skip
        return result_of(events, Exported, quiet=quiet)


@contextmanager
def parameters_for_flags(own: Collection[str] | None = None) -> Iterator[None]:
    """Context in which errors belong to the `RegraftError` family, and their advice names Python parameters instead of
    flags.

    `own` are the available parameters; None: those of `fit`, which all other advice then refers to by name.
    """
    try:
        with translated():
            yield
    except RegraftError as error:
        error.fix = _FLAG.sub(lambda found: _as_parameter(found, own), error.fix)
        raise


def _as_parameter(found: re.Match[str], own: Collection[str] | None) -> str:
    if not found["flag"] and not found["path"]:  # a whole command in a code span stays as it is
        return found[0]
    section, _, name = (found["path"] or found["flag"].replace("-", "_")).rpartition(".")
    shown = "…"
    if found["path"]:
        value = parse_setting(f"{name}={found['value']}")[1]
        shown = value if str(value).isupper() else repr(value)  # a placeholder, such as VALUE, is not a text
    elif name in Source.__dataclass_fields__:
        section, shown = "source", "True" if getattr(Source(), name) is False else shown
    if own is not None and name == "seed" and "random_state" in own:
        name = "random_state"
    if own is not None and name in own:
        section = ""
    written = f"{section}={{{name!r}: {shown}}}" if section else f"{name}={shown}"
    if own is not None and (section or name) not in own:
        return f"regraft.fit(…, {written})"
    return f"`{name}`" if shown == "…" and not section else written


_FLAG = re.compile(
    r"""`regraft [^`]*`|--set (?P<quote>['"]?)(?P<path>[a-z_.]+)=(?P<value>.+?)(?P=quote)(?=[,;:.)]*(?:\s|$))"""
    r"|--(?P<flag>[a-z][a-z-]+)"
)


def _recipe(data: Any, settings: Mapping[str, Any]) -> "tuple[Recipe, Dataset | None]":
    """Return the recipe, and the examples if already opened."""
    from regraft.data.sources.table import is_frame

    if isinstance(data, Recipe):
        return with_settings(data, settings), None
    if is_frame(data):
        from regraft.workbench.session import opening

        chosen = with_settings(Recipe(data="DataFrame"), settings)
        return chosen, drained(opening(data, chosen.source, task=chosen.task, target=chosen.target))
    if not hasattr(data, "examples"):
        return recipe_for(_path_of(data), settings), None
    if data.recipe is None:
        raise BadRequest(
            "This data set was not opened by regraft.open_dataset.",
            fix="write the examples you want to a table, and fit on that.",
        )
    return with_settings(replace(data.recipe, data=str(data.root)), settings), data


def _path_of(data: Any) -> Path:
    """Raise `BadRequest` if the value is not a path."""
    if isinstance(data, str | Path):
        return Path(data)
    raise BadRequest(
        f"The data are a {type(data).__name__}; expected a path, or a data frame with the columns path and label.",
        fix="put paths and labels into a data frame, or use RegraftClassifier().fit(X, y).",
    )


def _inside(section: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{section}.{name}": value for name, value in fields.items()}
