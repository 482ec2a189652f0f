"""The parts of the page that show what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from regraft.reports.verdict import (
    Section,
    kind_of,
    known,
    main_figure,
    main_metric_of,
    main_section,
    medians,
    title_of,
    unit_of,
    where,
)
from regraft.reports.words import bullets, counted, lowered, measured, number, plain, table

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
    constant, rows = section.get("baseline"), []
    if pooled := "mean_of_folds" in section:
        title = _title(main_metric_of(section), section, also=", mean of the folds")
        rows.append([title, *(measured(one.get("mean_of_folds")) for one in (section, probe, constant) if one)])
    for key, value in (section.get("metrics") or {}).items():
        others = [measured((one.get("metrics") or {}).get(key)) for one in (probe, constant) if one]
        rows.append([_title(key, section, also=", pooled" if pooled else ""), measured(value), *others])
    header = ["Metric", name, *(["linear probe"] if probe else []), *(["training median"] if constant else [])]
    parts = [
        "## The figures",
        f"Measured {where(report, section)}{_by_group(section)}. In brackets: {_level(section)} intervals.",
        table(header, rows),
        _methods(section),
        _constant(constant),
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


def by_tag(report: Section) -> str:
    """How every tag fares."""
    tags = list((main_section(report) or {}).get("per_tag") or ())
    if not tags:
        return ""
    said = "Recall, precision and F1 are those of answering every tag whose probability is 0.5 or above."
    if len(tags) > MANY_CLASSES:
        said += f" The {MANY_CLASSES} tags of {len(tags)} that are ranked worst; report.json has them all."
        tags.sort(
            key=lambda one: 2.0 if one["average_precision"]["value"] is None else one["average_precision"]["value"]
        )
        tags = tags[:MANY_CLASSES]
    rows = [
        [plain(one["name"]), str(one["support"]), str(one["predicted"])]
        + [measured(one[key]) for key in ("average_precision", "auroc", "recall", "precision", "f1")]
        for one in tags
    ]
    header = ["Tag", "examples", "answered", "average precision", "AUROC", "recall", "precision", "F1"]
    return "\n\n".join(filter(None, ["## Tag by tag", said, table(header, rows), _tag_thresholds(tags)]))


def _tag_thresholds(tags: Sequence[Section]) -> str:
    """Where the line is drawn for every tag by other examples, and what it does on these."""
    chosen = [(plain(one["name"]), one["chosen"]) for one in tags if one.get("chosen")]
    if not chosen:
        return ""
    rows = [
        [name, number(one["threshold"]), measured(one["sensitivity"]), measured(one["precision"])]
        for name, one in chosen
    ]
    said = "With the threshold of highest F1 on other examples than these, where a tag is rare often far below 0.5:"
    return f"{said}\n\n{table(['Tag', 'threshold', 'recall', 'precision'], rows)}"


def by_number(report: Section) -> str:
    """How far every predicted number is off, and which way."""
    numbers = (main_section(report) or {}).get("per_number") or ()
    if not numbers:
        return ""
    keys = list(numbers[0]["metrics"])
    rows = [
        [plain(one["name"]), f"{number(one['actual'][0])} ± {number(one['actual'][1])}"]
        + [measured(one["metrics"][key]) for key in keys]
        + [measured(one["bias"], signed=True)]
        for one in numbers
    ]
    header = ["Number", "actual, mean ± sd", *(lowered(title_of(key)) for key in keys), "predicted less actual"]
    shares = list(numbers[0]["residuals"])
    spread = [
        [plain(one["name"]), *(number(value, signed=True, scale=_largest(one)) for value in one["residuals"].values())]
        for one in numbers
    ]
    said = "How far predictions are off, by share of the examples (predicted less actual, so above 0 where too high):"
    quantiles = table(["Number", *(f"{float(share):.0%}" for share in shares)], spread)
    unit = f"Everything but R² is in the number's own unit ({', '.join(plain(one['name']) for one in numbers)})."
    return "\n\n".join(["## Number by number", unit, table(header, rows), said, quantiles])


def confusion(report: Section) -> str:
    """What is taken for what."""
    section = main_section(report) or {}
    matrix, classes = section.get("confusion") or (), section.get("classes") or ()
    if not matrix:
        return ""
    parts = ["## What is taken for what"]
    if kind_of(section) == "ordinal":
        parts.append("The classes stand in rising order, so what is far from the diagonal is far off.")
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
    if kind_of(section) == "regression" or (not bins and not found):
        return ""
    of_tags = kind_of(section) == "multilabel"
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
        if of_tags:
            parts.append("All tags together: every example gives one probability per tag.")
        header = ["Stated probability", "answers", "mean probability", "share with the tag"]
        parts.append(
            table(header if of_tags else ["Stated confidence", "examples", "mean confidence", "accuracy"], rows)
        )
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
    """The main metric on what was trained on against the same on what was not."""
    falls = report.get("gaps") or ()
    if not falls:
        return ""
    section = main_section(report)
    metric = str(falls[0]["metric"])
    title, of_metric = title_of(metric), known(metric)
    verb = "falls" if of_metric is None or of_metric.higher_is_better else "grows"
    names = [falls[0]["from"], *(fall["to"] for fall in falls)]
    text = table(
        ["From", "to", f"{plain(lowered(title))} {verb} by"],
        [[plain(fall["from"]), plain(fall["to"]), measured(fall["worse_by"], signed=True)] for fall in falls],
    )
    said = [
        f"{name} {measured(found)}"
        for name in names
        if (found := main_figure((report.get("evaluation") or {}).get(str(name).replace("-", "_"))))
    ]
    parts = f"{plain(title + unit_of(section, metric))}: {', '.join(map(plain, said))}." if said else ""
    return "\n\n".join(filter(None, ["## How much was learned by heart", parts, text]))


def _title(key: str, section: Section, *, also: str = "") -> str:
    """What a metric is called, in which unit, and which way is better where that is down."""
    found = known(key)
    lower = " (lower is better)" if found is not None and not found.higher_is_better else ""
    return plain(title_of(key) + also + unit_of(section, key)) + lower


def _largest(number_section: Section) -> float:
    return float(max(abs(value) for value in number_section["residuals"].values()))


def _level(section: Section) -> str:
    levels = {one.get("level", 0.95) for one in (section.get("metrics") or {}).values()} or {0.95}
    return " and ".join(f"{level:.0%}" for level in sorted(levels))


def _by_group(section: Section) -> str:
    groups = section.get("num_groups")
    return f" in {counted(groups, 'group')}" if groups else ""


def _methods(section: Section) -> str:
    """How the intervals were made, metrics of one method together."""
    by_method: dict[str, list[str]] = {}
    if "mean_of_folds" in section:
        by_method.setdefault(section["mean_of_folds"].get("method", ""), []).append("mean of the folds")
    for key, value in (section.get("metrics") or {}).items():
        method = value.get("method", "") or "not stated"
        by_method.setdefault(method, []).append(plain(title_of(key)))
    everything = len(by_method) == 1
    said = [f"{plain(method)} ({'all' if everything else ', '.join(names)})" for method, names in by_method.items()]
    return f"How the intervals were made: {'; '.join(said)}." if said else ""


def _constant(baseline: Mapping[str, Any] | None) -> str:
    if not baseline:
        return ""
    return (
        f"**Against always answering {medians(baseline)} on the same examples:** {plain(baseline['gain']['verdict'])}"
    )


def _paired(paired: Mapping[str, Any] | None) -> str:
    if not paired:
        return ""
    said = f"**Against the linear probe, on the same examples:** {plain(paired['verdict'])}"
    if paired.get("p_value") is None:
        return said
    return (
        f"{said} The model alone is right on {counted(paired['only_a_right'], 'example')}, the probe alone on "
        f"{paired['only_b_right']:,} (McNemar's exact p = {paired['p_value']:.2g})."
    )


def _sentence(text: str) -> str:
    text = plain(text.strip())
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith(".") else ".")
