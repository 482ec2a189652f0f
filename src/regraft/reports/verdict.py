"""What a run came to, in a few sentences: for the top of the page and the end of the command."""

from collections.abc import Mapping
from typing import Any

from regraft.contracts.metric import Metric, metric
from regraft.errors import UnknownName
from regraft.reports.words import counted, listed, lowered, measured, number

Section = Mapping[str, Any]

OF_RANDOM_FEATURES = (
    "That probe reads random features; what transfer gives shows beside a run from pretrained weights: regraft compare."
)
"""Said of the probe beside a network that was drawn at random."""


def main_section(report: Section) -> Section | None:
    """The evaluation that the main figure comes from; None where there is none."""
    evaluations = report.get("evaluation") or {}
    found: Section | None = evaluations.get(str(report.get("main") or "test").replace("-", "_"))
    return found


def kind_of(section: Section | None) -> str:
    """The kind of task that was evaluated."""
    return str((section or {}).get("kind") or "classification")


def main_metric_of(section: Section | None) -> str:
    """The name of the metric that the section's model is judged by."""
    return str((section or {}).get("main_metric") or "accuracy")


def main_figure(section: Section | None) -> Section | None:
    """The number that stands for a model: the mean of the folds where there are repeats, else the pooled one."""
    if section is None:
        return None
    found: Section | None = section.get("mean_of_folds") or (section.get("metrics") or {}).get(main_metric_of(section))
    return found


def title_of(name: str) -> str:
    """What people read for a metric; its name where it is not on the shelf."""
    found = known(name)
    return name if found is None else found.title


def known(name: str) -> Metric | None:
    """The metric of this name; None where there is no such."""
    try:
        return metric(name)
    except UnknownName:
        return None


def unit_of(section: Section | None, name: str) -> str:
    """` in the unit of price`; empty where a metric has no unit."""
    found = known(name)
    return "" if found is None else found.unit((section or {}).get("classes") or ())


def verdict(report: Section) -> str:
    """The figure, what a guess would score, whether the linear probe was beaten, and what checks of the model found."""
    section = main_section(report)
    if section is None:
        return "Nothing was measured: there are no examples that the model had not seen."
    said = [_figure(report, section), _guess(section), _beside_the_probe(report)]
    return " ".join([*filter(None, said), *(found["message"] for found in report.get("findings") or ())])


def refused(report: Section) -> str:
    """What abstaining did, where the model was allowed to."""
    found = report.get("abstain")
    if not found:
        return ""
    section = found.get("evaluation")
    figure = f"{lowered(title_of(main_metric_of(section)))} {measured(main_figure(section))}"
    return f"Allowed to abstain: {counted(found['refused'], 'example')} refused, {figure} on the others."


def where(report: Section, section: Section) -> str:
    """On what the main figure was measured, as it continues a sentence."""
    examples = section.get("num_examples", 0)
    of_outputs = _OF_OUTPUTS.get(kind_of(section), " of {} classes").format(len(section.get("classes") or ()))
    if report.get("main") == "cross-validation":
        folds = f"{section['folds']}-fold cross-validation" if section.get("folds") else "cross-validation"
        repeats = section.get("repeats", 1)
        times = f", repeated {repeats} times," if repeats > 1 else ""
        return f"by {folds}{times} on {counted(examples, 'example')}{of_outputs}"
    kind = f"{report.get('main') or ''} example".strip()
    return f"on {counted(examples, kind)}{of_outputs}"


_OF_OUTPUTS = {"multilabel": " with {} tags", "ordinal": " of {} ranked classes", "regression": ""}


def _figure(report: Section, section: Section) -> str:
    name = main_metric_of(section)
    figure = f"{title_of(name)} {measured(main_figure(section))}{unit_of(section, name)}"
    return f"{figure} {where(report, section)}."


def _guess(section: Section) -> str:
    """What an answer that looks at no example would score by the main metric."""
    if baseline := section.get("baseline"):
        score = ((baseline.get("metrics") or {}).get(main_metric_of(section)) or {}).get("value")
        return f"Always answering {medians(baseline)} would score {number(score)}."
    if tags := section.get("per_tag"):
        shares = [one["support"] / max(1, section["num_examples"]) for one in tags if one["support"]]
        return f"Ranking at random would score {number(sum(shares) / len(shares))}." if shares else ""
    support = {one["name"]: one["support"] for one in section.get("per_class") or ()}
    total = sum(support.values())
    if not total:
        return ""
    if kind_of(section) == "ordinal":
        ranks = list(support)
        distance = {
            name: sum(count * abs(ranks.index(other) - at) for other, count in support.items()) / total
            for at, name in enumerate(ranks)
        }
        nearest = min(ranks, key=lambda name: distance[name])
        return f"Always answering {nearest} would score {number(distance[nearest])}."
    top = max(support, key=lambda name: support[name])
    return f"Always answering {top} would score {number(support[top] / total)}."


def medians(baseline: Section) -> str:
    """The answer that looks at no example: `the training median, 529,000,`."""
    told = [number(one) for one in baseline["outputs"]]
    return f"the training {'median' if len(told) == 1 else 'medians'}, {listed(told)},"


def _beside_the_probe(report: Section) -> str:
    if paired := report.get("paired"):
        random = (report.get("backbone") or {}).get("weights") == "random"
        return f"{paired['verdict']} {OF_RANDOM_FEATURES}" if random else str(paired["verdict"])
    if (report.get("strategy") or {}).get("name") == "probe":
        return "This is the linear probe: the backbone is untouched, the head alone was solved."
    return "There is no linear probe to compare with." if report.get("strategy") else ""
