"""Compare: two runs on the same examples. Is the difference real?

Letters in shapes: n examples, c classes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.errors import RunError
from regraft.evaluation._contract import metric as metric_named
from regraft.evaluation.paired import PairedDifference
from regraft.evaluation.paired import compare as paired
from regraft.workbench._predictions import Predictions, read_predictions

_SHOWN = 3
_ONE_TEST = "or put both to one test (regraft evaluate RUN --data PATH --out FOLDER) and compare these folders."


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs, side by side."""

    names: tuple[str, str]
    """What the runs are called: the names of their folders."""
    described: tuple[str, str]
    """Strategy, cut and backbone of each."""
    part: str
    """Where they are compared: `test`, `cross-validation` or `validation`."""
    num_examples: int
    """Examples, the same for both."""
    num_groups: int | None
    """How many groups these form; None where no groups were given."""
    paired: PairedDifference
    """The difference, with its interval and verdict."""
    notes: tuple[str, ...]
    """What to know when reading it."""


def compare(a: Path, b: Path, *, metric: str = "accuracy", seed: int = 0) -> Comparison:
    """Compare the runs in the folders `a` and `b` by one metric, on the main part of both, matched by id.

    A folder that `evaluate` wrote does as well.

    Raises:
        UnknownName: there is no such metric.
        RunError: a folder holds no finished run, or the runs were tested on different examples.
    """
    metric_named(metric)
    reports = (_report(a), _report(b))
    names = _names(a, b)
    mains = tuple(str(report.get("main")) for report in reports)
    if mains[0] != mains[1]:
        raise RunError(
            f"{names[0]} was measured by its {mains[0]} part, {names[1]} by its {mains[1]} part.",
            fix=f"fit both on data with the same parts, {_ONE_TEST}",
        )
    tables = (read_predictions(a / "predictions.csv", mains[0]), read_predictions(b / "predictions.csv", mains[1]))
    _check_same(tables, names)
    first, second = tables
    place = {one: at for at, one in enumerate(second.ids)}
    rows = [place[one] for one in first.ids]
    columns = [second.classes.index(name) for name in first.classes]
    number = {name: code for code, name in enumerate(first.classes)}
    groups = np.array([group or f"\0{at}" for at, group in enumerate(first.groups)]) if any(first.groups) else None
    found = paired(
        np.array([number[label] for label in first.labels], dtype=np.int64),
        first.probabilities,
        second.probabilities[rows][:, columns],
        groups=groups,
        metric=metric,
        names=names,
        seed=seed,
    )
    return Comparison(
        names=names,
        described=(_described(reports[0]), _described(reports[1])),
        part=mains[0],
        num_examples=len(first.ids),
        num_groups=None if groups is None else len(set(groups.tolist())),
        paired=found,
        notes=_notes(reports, names),
    )


def _report(path: Path) -> Mapping[str, Any]:
    file = path / "report.json"
    if not file.is_file():
        why = "an unfinished run" if (path / "begun.json").is_file() else "no run"
        fix = "finish it with --resume." if (path / "begun.json").is_file() else "give the folder that fit wrote."
        raise RunError(f"{path} holds {why}: there is no report.json.", fix=fix)
    try:
        found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}).", fix="copy the run again, or make it again.") from error
    return found


def _names(a: Path, b: Path) -> tuple[str, str]:
    """The folders' names, or their paths where the names are the same."""
    short = (a.resolve().name, b.resolve().name)
    return short if short[0] != short[1] else (str(a), str(b))


def _described(report: Mapping[str, Any]) -> str:
    backbone, model = report.get("backbone") or {}, report.get("model")  # the latter: of a test after the run
    strategy = {"preset": model["strategy"], "cut": model["cut"]} if model else report.get("strategy") or {}
    return f"{strategy.get('preset')} at {strategy.get('cut')}, {backbone.get('name')}"


def _check_same(tables: tuple[Predictions, Predictions], names: tuple[str, str]) -> None:
    """Raises: RunError: other classes, other examples, or other labels of the same examples."""
    first, second = tables
    fix = f"fit both on the same data, {_ONE_TEST}"
    if set(first.classes) != set(second.classes):
        one, other = (", ".join(table.classes[:6]) for table in tables)
        raise RunError(f"The classes differ: {names[0]} has {one}; {names[1]} has {other}.", fix=fix)
    labels = dict(zip(second.ids, second.labels, strict=True))
    only_first = [one for one in first.ids if one not in labels]
    only_second = set(second.ids) - set(first.ids)
    if only_first or only_second:
        shared = len(first.ids) - len(only_first)
        shown = ", ".join([*only_first, *sorted(only_second)][:_SHOWN])
        raise RunError(
            f"The runs were tested on different examples: {names[0]} on {len(first.ids)}, {names[1]} on "
            f"{len(second.ids)}, of which {shared} are in both. Not in both: {shown} …",
            fix=fix,
        )
    differing = [one for one, label in zip(first.ids, first.labels, strict=True) if labels[one] != label]
    if differing:
        one = differing[0]
        told = dict(zip(first.ids, first.labels, strict=True))[one]
        raise RunError(
            f"{len(differing)} of the shared examples have another label in each run: {one} is {told} in {names[0]}, "
            f"{labels[one]} in {names[1]}.",
            fix=fix,
        )


def _notes(reports: tuple[Mapping[str, Any], Mapping[str, Any]], names: tuple[str, str]) -> tuple[str, ...]:
    notes = []
    first, second = ((report.get("data") or {}).get("fingerprint") for report in reports)
    if first != second:
        notes.append(
            f"{names[0]} and {names[1]} did not see the same data as a whole; the tested examples have the same names "
            "and labels, and are taken for the same."
        )
    seeds = [(report.get("run") or {}).get("seed") for report in reports]
    known = "" if None in seeds else f" ({seeds[0]} and {seeds[1]})"
    notes.append(
        f"One seed each{known}: the interval holds the chance in the choice of test examples, "
        "not the chance in training."
    )
    return tuple(notes)
