"""The parts of the page that show what was measured."""

from collections.abc import Mapping
from typing import Any

from regraft.errors import UnknownName
from regraft.evaluation._contract import metric
from regraft.reports._words import NOTHING, bullets, counted, measured, number, plain, table
from regraft.reports.verdict import Section, accuracy_of, main_section, where

MANY_CLASSES = 40
"""From here on the table by class shows the worst classes only."""
MANY_COLUMNS = 12
"""From here on the matrix of what is taken for what is left to the picture and the list of mistakes."""


def figures(report: Section) -> str:
    """The main figures, beside those of the linear probe."""
    section = main_section(report)
    if section is None:
        return ""
    probe = (report.get("probe") or {}).get("evaluation")
    name = plain((report.get("strategy") or {}).get("preset") or "model")
    rows = []
    if "accuracy" in section:
        accuracies = section["accuracy"], (probe or {}).get("accuracy")
        rows.append(["Accuracy, mean of the folds", *_cells(*accuracies, bool(probe))])
    beside = (probe or {}).get("metrics") or {}
    pooled = "accuracy" in section
    for key, value in (section.get("metrics") or {}).items():
        rows.append([_title(key, pooled=pooled), *_cells(value, beside.get(key), bool(probe))])
    header = ["Metric", name, *(["linear probe"] if probe else [])]
    parts = [
        "## The figures",
        f"Measured {where(report, section)}{_by_group(section)}. In brackets: {_level(section)} intervals.",
        table(header, rows),
        _methods(section),
        *(plain(note) for note in section.get("notes") or ()),
        _paired(report.get("paired")),
    ]
    return "\n\n".join(filter(None, parts))


def by_class(report: Section) -> str:
    """Recall, precision and F1 of every class."""
    section = main_section(report)
    classes = list((section or {}).get("per_class") or ())
    if not classes:
        return ""
    said = ""
    if len(classes) > MANY_CLASSES:
        said = f"The {MANY_CLASSES} classes of {len(classes)} with the lowest recall; report.json has them all."
        classes.sort(key=lambda one: 2.0 if one["recall"]["value"] is None else one["recall"]["value"])
        classes = classes[:MANY_CLASSES]
    rows = [
        [plain(one["name"]), str(one["support"]), str(one["predicted"])]
        + [measured(one[key]) for key in ("recall", "precision", "f1")]
        for one in classes
    ]
    text = table(["Class", "examples", "answered", "recall", "precision", "F1"], rows)
    return "\n\n".join(filter(None, ["## Class by class", said, text]))


def confusion(report: Section) -> str:
    """What is taken for what."""
    section = main_section(report) or {}
    matrix, classes = section.get("confusion") or (), section.get("classes") or ()
    if not matrix:
        return ""
    parts = ["## What is taken for what"]
    if len(classes) <= MANY_COLUMNS:
        rows = [
            [f"**{plain(name)}**", *(f"**{count}**" if at == row else str(count) for at, count in enumerate(counts))]
            for row, (name, counts) in enumerate(zip(classes, matrix, strict=True))
        ]
        parts += [table(["actual ↓ answered →", *map(plain, classes)], rows)]
    if mistakes := section.get("most_confused"):
        parts.append("The most frequent mistakes:")
        parts.append(
            bullets(
                f"{plain(one['actual'])} taken for {plain(one['predicted'])}: {one['count']} "
                f"({one['share']:.0%} of its examples)"
                for one in mistakes
            )
        )
    else:
        parts.append("There was no mistake.")
    return "\n\n".join(parts)


def calibration(report: Section) -> str:
    """How far stated confidence can be trusted."""
    section, found = main_section(report) or {}, report.get("calibration")
    bins = section.get("reliability") or ()
    if not bins and not found:
        return ""
    parts = ["## Can the probabilities be trusted?"]
    if found:
        parts.append(_sentence(str(found.get("reason", ""))))
    else:
        parts.append("The probabilities are uncalibrated: there were too few examples to calibrate on.")
    if bins:
        rows = [
            [
                f"{one['low']:.2f} to {one['high']:.2f}",
                str(one["num_examples"]),
                number(one["confidence"]),
                measured(one["accuracy"]),
            ]
            for one in bins
        ]
        parts.append(table(["Stated confidence", "examples", "mean confidence", "accuracy"], rows))
    ece = ((section.get("metrics") or {}).get("ece") or {}).get("value")
    if ece is not None and section.get("ece_reference") is not None:
        parts.append(
            f"Calibration error {number(ece)}; a perfectly calibrated model would show about "
            f"{number(section['ece_reference'])} on so few examples."
        )
    return "\n\n".join(parts)


def thresholds(report: Section) -> str:
    """Two classes: sensitivity at a chosen specificity."""
    section = main_section(report) or {}
    points = section.get("operating_points") or ()
    if not points:
        return ""
    keys = ["sensitivity", "specificity", "precision", *(["cost"] if any(one.get("cost") for one in points) else [])]
    rows = [[plain(one["rule"]), number(one["threshold"]), *(measured(one.get(key)) for key in keys)] for one in points]
    said = (
        f"{plain(section.get('positive_class'))} counts as positive: an example is flagged when its probability "
        "reaches the threshold. Thresholds were chosen on other examples than these."
    )
    return "\n\n".join(["## Where to draw the line", said, table(["Rule", "threshold", *keys], rows)])


def gaps(report: Section) -> str:
    """Accuracy on what was trained on against accuracy on what was not."""
    falls = report.get("gaps") or ()
    if not falls:
        return ""
    names = [falls[0]["from"], *(fall["to"] for fall in falls)]
    text = table(
        ["From", "to", "accuracy falls by"],
        [[plain(fall["from"]), plain(fall["to"]), measured(fall["accuracy"], signed=True)] for fall in falls],
    )
    said = [
        f"{name} {measured(found)}"
        for name in names
        if (found := accuracy_of((report.get("evaluation") or {}).get(str(name).replace("-", "_"))))
    ]
    known = f"Accuracy: {', '.join(map(plain, said))}." if said else ""
    return "\n\n".join(filter(None, ["## How much was learned by heart", known, text]))


def _cells(value: Section | None, probe: Section | None, beside: bool) -> list[str]:
    return [measured(value), *([measured(probe)] if beside and probe is not None else [NOTHING] if beside else [])]


def _title(key: str, *, pooled: bool = False, direction: bool = True) -> str:
    try:
        found = metric(key)
    except UnknownName:
        return plain(key)
    lower = direction and not found.higher_is_better
    return plain(found.title) + (", pooled" if pooled else "") + (" (lower is better)" if lower else "")


def _level(section: Section) -> str:
    levels = {one.get("level", 0.95) for one in (section.get("metrics") or {}).values()} or {0.95}
    return " and ".join(f"{level:.0%}" for level in sorted(levels))


def _by_group(section: Section) -> str:
    groups = section.get("num_groups")
    return f" in {counted(groups, 'group')}" if groups else ""


def _methods(section: Section) -> str:
    """How the intervals were made, metrics of one method together."""
    by_method: dict[str, list[str]] = {}
    if "accuracy" in section:
        by_method.setdefault(section["accuracy"].get("method", ""), []).append("mean of the folds")
    for key, value in (section.get("metrics") or {}).items():
        method = value.get("method", "") or "not stated"
        by_method.setdefault(method, []).append(_title(key, direction=False))
    everything = len(by_method) == 1
    said = [f"{plain(method)} ({'all' if everything else ', '.join(names)})" for method, names in by_method.items()]
    return f"How the intervals were made: {'; '.join(said)}." if said else ""


def _paired(paired: Mapping[str, Any] | None) -> str:
    if not paired:
        return ""
    return (
        f"**Against the linear probe, on the same examples:** {plain(paired['verdict'])} "
        f"The model alone is right on {counted(paired['only_a_right'], 'example')}, the probe alone on "
        f"{paired['only_b_right']:,} (McNemar's exact p = {paired['p_value']:.2g})."
    )


def _sentence(text: str) -> str:
    text = plain(text.strip())
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith(".") else ".")
