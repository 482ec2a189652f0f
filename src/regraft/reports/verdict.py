"""The verdict on a run in a few sentences, for the top of the report and the end of the command; and what was not
verified. Everything is derived from the report, without the examples themselves."""

from functools import cache

from regraft.contracts.metric import Metric, metric
from regraft.errors import UnknownName
from regraft.evaluation.report import Evaluation
from regraft.reports.report import Report
from regraft.words import counted, lowered

OF_RANDOM_FEATURES = (
    "This probe uses random features; to measure the benefit of transfer, compare with a run from pretrained "
    "weights: regraft compare."
)
"""Note on the probe of a randomly initialised network."""


@cache  # a shelf looks at every installed package for entries
def known(name: str) -> Metric | None:
    """Return the metric of this name; None if there is none."""
    try:
        return metric(name)
    except UnknownName:
        return None


def title_of(name: str) -> str:
    """Return the title of a metric; its name if it is unknown."""
    found = known(name)
    return name if found is None else found.title


def unit_of(section: Evaluation, name: str) -> str:
    """Return ` in the unit of price`; empty if a metric has no unit."""
    found = known(name)
    return "" if found is None else found.unit(section.classes)


def verdict(report: Report) -> str:
    """Return the main metric, the score of guessing, the comparison with the linear probe, and findings of checks."""
    section = report.section
    if section is None:
        return f"Nothing was measured. {report.untested or 'There are no unseen examples.'}"
    name = section.main_metric
    figure = f"{title_of(name)} {section.headline.told()}{unit_of(section, name)} {where(report, section)}."
    findings = [found.message for found in report.findings]
    return " ".join(filter(None, [figure, report.untested, section.guess(), _beside_the_probe(report), *findings]))


def refused(report: Report) -> str:
    """Return the effect of abstaining, if enabled."""
    found = report.abstain
    if found is None:
        return ""
    said = f"Allowed to abstain: {counted(found.refused, 'example')} refused"
    if found.evaluation is None:
        return f"{said}, that is, all of them."
    return (
        f"{said}, {lowered(title_of(found.evaluation.main_metric))} {found.evaluation.headline.told()} on the others."
    )


def where(report: Report, section: Evaluation) -> str:
    """Return what the main metric was measured on, as the continuation of a sentence."""
    asked = f" {report.words.asked}".rstrip()
    if report.main != "cross-validation":
        return f"on {counted(section.num_examples, f'{report.main} example')}{asked}"
    times = f", repeated {section.repeats} times," if section.repeats > 1 else ""
    folds = f"{section.folds}-fold " if section.folds else ""
    return f"by {folds}cross-validation{times} on {counted(section.num_examples, 'example')}{asked}"


def _beside_the_probe(report: Report) -> str:
    if report.paired is not None:
        random = report.backbone.weights == "random"
        return f"{report.paired.verdict} {OF_RANDOM_FEATURES}" if random else report.paired.verdict
    if report.strategy is None:
        return ""
    if report.strategy.name == "probe":
        fitted = f"only the head was {'trained' if report.task.answers == 'structured' else 'solved'}"
        fitted = "nothing was trained" if report.task.ready else fitted
        return f"This is the {report.words.probe}: the backbone is unchanged, {fitted}."
    return f"There is no {report.words.probe} to compare with."


def not_verified(report: Report) -> list[str]:
    """Return one or two sentences about each thing that the metrics do not show."""
    said = [_independence(report)]
    if report.model is not None:
        said.append("It was not checked whether these examples, or near copies of them, were used for training.")
    if not report.data.groups:
        said.append(
            "No groups were given. If several examples come from one patient, plant, place or session, the figures "
            "are too optimistic; set the column (--group-column) or the pattern (--group-pattern)."
        )
    said.append("The labels were not verified.")
    said.append("Accuracy on data from elsewhere (another site, device, season or population) is unknown.")
    if report.backbone.weights != "random":
        trained_on = report.backbone.trained_on or "the pretraining data"
        said.append(f"It was not checked whether test examples occur in the source data ({trained_on}).")
    said.append("A single seed was run; the variation between seeds is unknown.")
    if report.store is not None and (check := report.store.check):
        said.append(
            "Stored float16 activations were compared with recomputed ones on "
            f"{counted(check.examples, 'example')} only."
        )
    if report.task.answers == "probabilities" and not (report.calibration and report.calibration.kept):
        said.append("The probabilities are uncalibrated: use them to rank, not as frequencies.")
    return [sentence for sentence in said if sentence]


def _independence(report: Report) -> str:
    if report.section is None:
        return "Nothing was held out, so the accuracy on new examples is unknown."
    if report.main == "cross-validation":
        return (
            "There is no test split. The figure comes from models trained on part of the data; the saved model "
            "was trained on everything and was itself never tested."
        )
    return ""
