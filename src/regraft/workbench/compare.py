"""Compare: two runs on the same examples. Is the difference real?"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.contracts.metric import main_metric, metrics_for
from regraft.contracts.metric import metric as metric_named
from regraft.errors import RunError
from regraft.evaluation.differences import PairedDifference
from regraft.evaluation.differences import compare as paired
from regraft.workbench._predictions import Predictions, read_predictions

_SHOWN = 3
_OUTPUTS = {"multilabel": "tags", "ordinal": "classes, or their order,", "regression": "numbers"}
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


def compare(a: Path, b: Path, *, metric: str | None = None, seed: int = 0) -> Comparison:
    """Compare the runs in the folders `a` and `b` by one metric, on the main part of both, matched by id.

    The metric is the main one of the kind of task when not given. A folder that `evaluate` wrote does as well.

    Raises:
        UnknownName: there is no such metric.
        RunError: a folder holds no finished run, the runs were tested on different examples, their tasks are of
            different kinds, or the metric is for another kind.
    """
    if metric is not None:
        metric_named(metric)
    reports = (_report(a), _report(b))
    names = _names(a, b)
    mains = tuple(str(report.get("main")) for report in reports)
    if mains[0] != mains[1]:
        raise RunError(
            f"{names[0]} was measured by its {mains[0]} part, {names[1]} by its {mains[1]} part.",
            fix=f"fit both on data with the same parts, {_ONE_TEST}",
        )
    kind = _kind(reports, mains[0], names)
    chosen = _metric(metric, kind)
    first, second = (read_predictions(path / "predictions.csv", mains[0], kind) for path in (a, b))
    second = _matched(first, second, names)
    groups = np.array([group or f"\0{at}" for at, group in enumerate(first.groups)]) if any(first.groups) else None
    found = paired(
        first.targets,
        first.outputs,
        second.outputs,
        groups=groups,
        metric=chosen,
        names=names,
        outputs=first.classes,
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


def _kind(reports: tuple[Mapping[str, Any], Mapping[str, Any]], main: str, names: tuple[str, str]) -> str:
    """The kind of task of both. Raises: RunError: they differ."""
    kinds = []
    for report in reports:
        section = (report.get("evaluation") or {}).get(main.replace("-", "_")) or {}
        kinds.append(str(section.get("kind") or "classification"))  # runs made before there were others do not say
    if kinds[0] != kinds[1]:
        raise RunError(
            f"The runs answer different questions: {names[0]} is {kinds[0]}, {names[1]} is {kinds[1]}.",
            fix="compare two runs of one kind of task.",
        )
    return kinds[0]


def _metric(asked: str | None, kind: str) -> str:
    """The name of the metric to compare by. Raises: RunError: it is for another kind of task."""
    fitting = metrics_for(kind)
    if asked is None:
        return main_metric(kind).name
    if asked not in fitting:
        raise RunError(f"The metric {asked} does not fit {kind} runs.", fix=f"choose from {', '.join(fitting)}.")
    return asked


def _names(a: Path, b: Path) -> tuple[str, str]:
    """The folders' names, or their paths where the names are the same."""
    short = (a.resolve().name, b.resolve().name)
    return short if short[0] != short[1] else (str(a), str(b))


def _described(report: Mapping[str, Any]) -> str:
    backbone, model = report.get("backbone") or {}, report.get("model")  # the latter: of a test after the run
    strategy = {"preset": model["strategy"], "cut": model["cut"]} if model else report.get("strategy") or {}
    return f"{strategy.get('preset')} at {strategy.get('cut')}, {backbone.get('name')}"


def _matched(first: Predictions, second: Predictions, names: tuple[str, str]) -> Predictions:
    """`second` with rows and columns in the order of `first`.

    Raises: RunError: other outputs, other examples, or other labels of the same examples.
    """
    fix = f"fit both on the same data, {_ONE_TEST}"
    in_order = first.kind != "ordinal" or first.classes == second.classes
    if set(first.classes) != set(second.classes) or not in_order:
        one, other = (", ".join(table.classes[:6]) for table in (first, second))
        what = _OUTPUTS.get(first.kind, "classes")
        raise RunError(f"The {what} differ: {names[0]} has {one}; {names[1]} has {other}.", fix=fix)
    known = set(second.ids)
    only_first = [one for one in first.ids if one not in known]
    only_second = known - set(first.ids)
    if only_first or only_second:
        shared = len(first.ids) - len(only_first)
        shown = ", ".join([*only_first, *sorted(only_second)][:_SHOWN])
        raise RunError(
            f"The runs were tested on different examples: {names[0]} on {len(first.ids)}, {names[1]} on "
            f"{len(second.ids)}, of which {shared} are in both. Not in both: {shown} …",
            fix=fix,
        )
    second = second.in_order(first.ids, first.classes)
    same = (first.targets == second.targets).reshape(len(first.ids), -1).all(axis=1)
    if not same.all():
        at = int(np.flatnonzero(~same)[0])
        told = [table.labels[at] or "without a tag" for table in (first, second)]
        raise RunError(
            f"{int((~same).sum())} of the shared examples have another label in each run: {first.ids[at]} is {told[0]} "
            f"in {names[0]}, {told[1]} in {names[1]}.",
            fix=fix,
        )
    return second


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
