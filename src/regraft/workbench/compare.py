"""Compare: test whether two runs differ on the same examples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regraft.contracts.metric import main_metric, metrics_for
from regraft.contracts.metric import metric as metric_named
from regraft.errors import RunError
from regraft.evaluation.differences import PairedDifference
from regraft.evaluation.differences import compare as paired
from regraft.reports.report import Report, StrategyFacts, read_report
from regraft.workbench.run import Predictions, read_predictions

_SHOWN = 3
_ONE_TEST = "or evaluate both on the same data (regraft evaluate RUN --data PATH --out FOLDER) and compare these "
"folders."


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of two runs."""

    names: tuple[str, str]
    """Names of the runs: their folders."""
    described: tuple[str, str]
    """Strategy, cut and backbone of each."""
    split: str
    """Split they are compared on: `test`, `cross-validation` or `validation`."""
    num_examples: int
    """Number of examples, the same for both."""
    num_groups: int | None
    """Number of groups; None if no groups were given."""
    paired: PairedDifference
    """The difference, with interval and verdict."""
    notes: tuple[str, ...]
    """Caveats."""


def compare(a: Path, b: Path, *, metric: str | None = None, seed: int = 0) -> Comparison:
    """Compare the runs in the folders `a` and `b` by one metric, on the main split of both, matched by id.

    The default is the task's main metric. Folders written by `evaluate` are accepted too.

    Raises:
        UnknownName: there is no such metric.
        RunError: a folder holds no finished run, the runs have different test examples or tasks, or the metric does not
            apply to the task.
    """
    if metric is not None:
        metric_named(metric)
    reports = (read_report(a), read_report(b))
    names, split, kind = _names(a, b), reports[0].main, reports[0].data.kind
    for name, report in zip(names, reports, strict=True):
        if report.section is None:
            why = report.untested or "It was not tested on unseen examples."
            raise RunError(f"{name} has no test result to compare. {why}", fix="compare runs with test results.")
    if split != reports[1].main:
        raise RunError(
            f"{names[0]} was evaluated on its {split} split, {names[1]} on its {reports[1].main} split.",
            fix=f"fit both on data with the same splits, {_ONE_TEST}",
        )
    if kind != reports[1].data.kind:
        raise RunError(
            f"The runs have different tasks: {names[0]} is {kind}, {names[1]} is {reports[1].data.kind}.",
            fix="compare two runs of the same task.",
        )
    chosen = _metric(metric, kind)
    classes = reports[0].data.classes
    first, second = (read_predictions(path / "predictions.csv", split, kind, classes) for path in (a, b))
    second = _matched(first, second, names)
    groups = np.array([group or f"\0{at}" for at, group in enumerate(first.groups)]) if any(first.groups) else None
    found = paired(
        first.targets,
        first.outputs,
        second.outputs,
        groups=groups,
        metric=chosen,
        names=names,
        outputs=first.task.classes,
        seed=seed,
    )
    return Comparison(
        names=names,
        described=(_described(reports[0]), _described(reports[1])),
        split=split,
        num_examples=len(first.ids),
        num_groups=None if groups is None else len(set(groups.tolist())),
        paired=found,
        notes=_notes(reports, names),
    )


def _metric(asked: str | None, kind: str) -> str:
    """Return the name of the metric. Raises `RunError` if it does not apply to the task."""
    fitting = metrics_for(kind)
    if asked is None:
        return main_metric(kind).name
    if asked not in fitting:
        raise RunError(f"The metric {asked} is not one of {kind} runs.", fix=f"choose from {', '.join(fitting)}.")
    return asked


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Return the folders' names, or their paths if the names are equal."""
    short = (a.resolve().name, b.resolve().name)
    return short if short[0] != short[1] else (str(a), str(b))


def _described(report: Report) -> str:
    made = report.strategy or report.model
    assert made is not None, "a report is of a run or of an evaluation"
    preset = made.preset if isinstance(made, StrategyFacts) else made.strategy
    return f"{preset} at {made.cut}, {report.backbone.name}"


def _matched(first: Predictions, second: Predictions, names: tuple[str, str]) -> Predictions:
    """Return `second` with rows and columns in the order of `first`.

    Raises:
        RunError: outputs, examples, or labels of the same examples differ.
    """
    fix = f"fit both on the same data, {_ONE_TEST}"
    classes = [table.task.classes for table in (first, second)]
    if set(classes[0]) != set(classes[1]) or (first.task.ranked and classes[0] != classes[1]):
        one, other = (", ".join(names[:6]) for names in classes)
        what = first.task.words().outputs
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
    second = second.in_order(first.ids, first.task.classes)
    if first.task.answers == "structured":
        same = np.array(first.labels) == np.array(second.labels)
    else:
        same = (first.targets == second.targets).reshape(len(first.ids), -1).all(axis=1)
    if not same.all():
        at = int(np.flatnonzero(~same)[0])
        told = [table.labels[at] or "without a label" for table in (first, second)]
        raise RunError(
            f"{int((~same).sum())} of the shared examples have different labels in the two runs: {first.ids[at]} is "
            f"{told[0]} "
            f"in {names[0]}, {told[1]} in {names[1]}.",
            fix=fix,
        )
    return second


def _notes(reports: tuple[Report, Report], names: tuple[str, str]) -> tuple[str, ...]:
    notes = []
    first, second = (report.data.fingerprint for report in reports)
    if first != second:
        notes.append(
            f"{names[0]} and {names[1]} used different data; the test examples have the same names "
            "and labels and are treated as identical."
        )
    seeds = [report.run.seed for report in reports]
    known = "" if None in seeds else f" ({seeds[0]} and {seeds[1]})"
    notes.append(
        f"One seed each{known}: the interval covers the sampling of test examples, not the randomness of training."
    )
    return tuple(notes)
