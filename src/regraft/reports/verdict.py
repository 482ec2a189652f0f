"""What a run came to, in a few sentences: for the top of the page and the end of the command."""

from collections.abc import Mapping
from typing import Any

from regraft.reports._words import counted, measured, number
from regraft.reports.extended import sentence

Section = Mapping[str, Any]


def main_section(report: Section) -> Section | None:
    """The evaluation that the main figure comes from; None where there is none."""
    evaluations = report.get("evaluation") or {}
    found: Section | None = evaluations.get(str(report.get("main") or "test").replace("-", "_"))
    return found


def accuracy_of(section: Section | None) -> Section | None:
    """The accuracy that stands for a model: the mean of the folds where there are repeats, else the pooled one."""
    if section is None:
        return None
    found: Section | None = section.get("accuracy") or (section.get("metrics") or {}).get("accuracy")
    return found


def verdict(report: Section) -> str:
    """The figure, what a guess would score, and whether the linear probe was beaten or the old classes were kept."""
    section = main_section(report)
    if section is None:
        return "Nothing was measured: there are no examples that the model had not seen."
    return " ".join(filter(None, [_figure(report, section), _guess(section), _beside_the_probe(report)]))


def refused(report: Section) -> str:
    """What abstaining did, where the model was allowed to."""
    found = report.get("abstain")
    if not found:
        return ""
    accuracy = measured(accuracy_of(found.get("evaluation")))
    return f"Allowed to abstain: {counted(found['refused'], 'example')} refused, accuracy {accuracy} on the others."


def where(report: Section, section: Section) -> str:
    """On what the main figure was measured, as it continues a sentence."""
    examples, classes = section.get("num_examples", 0), len(section.get("classes") or ())
    of_classes = f"of {classes} classes"
    if report.get("main") == "cross-validation":
        folds = f"{section['folds']}-fold cross-validation" if section.get("folds") else "cross-validation"
        repeats = section.get("repeats", 1)
        times = f", repeated {repeats} times," if repeats > 1 else ""
        return f"by {folds}{times} on {counted(examples, 'example')} {of_classes}"
    kind = f"{report.get('main') or ''} example".strip()
    return f"on {counted(examples, kind)} {of_classes}"


def _figure(report: Section, section: Section) -> str:
    return f"Accuracy {measured(accuracy_of(section))} {where(report, section)}."


def _guess(section: Section) -> str:
    support = {one["name"]: one["support"] for one in section.get("per_class") or ()}
    if not sum(support.values()):
        return ""
    top = max(support, key=lambda name: support[name])
    return f"Always answering {top} would score {number(support[top] / sum(support.values()))}."


def _beside_the_probe(report: Section) -> str:
    if extended := report.get("extended"):
        return sentence(extended)
    if paired := report.get("paired"):
        return str(paired["verdict"])
    if (report.get("strategy") or {}).get("name") == "probe":
        return "This is the linear probe: the backbone is untouched, the head alone was solved."
    return "There is no linear probe to compare with." if report.get("strategy") else ""
