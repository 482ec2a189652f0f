"""The model card: README.md of a bundle, for whoever gets the model without knowing how it was made."""

from collections.abc import Mapping
from typing import Any

from regraft.contracts.page import Block, Bullets, Code, Table
from regraft.reports import sections
from regraft.reports.limits import not_verified
from regraft.reports.page import as_markdown
from regraft.reports.report import Report
from regraft.reports.verdict import title_of, unit_of, verdict, where
from regraft.words import counted

MANY_CLASSES = 100
"""So many classes are named on the card; bundle.json has them all."""


def model_card(bundle_facts: Mapping[str, Any], report: Report) -> str:
    """The card as Markdown. `bundle_facts` is what bundle.json holds."""
    words, data, section = report.words, report.data, report.section
    names = ", ".join(data.classes[:MANY_CLASSES]) + (" …" if len(data.classes) > MANY_CLASSES else "")
    about = (
        f"One input gives {words.given}, and an out-of-distribution score: how far the input lies from the training "
        "examples."
    )
    metrics = None
    if section is not None:
        said = (
            f"Measured {where(report, section)}. In brackets: 95% intervals; a number without one has too few examples."
        )
        rows = [(title_of(name) + unit_of(section, name), value.told()) for name, value in section.metrics.items()]
        metrics = Block("Metrics", (said, Table(("Metric", "value"), rows)))
    called = words.outputs.split(",")[0].capitalize() + (", lowest first" if report.task.ranked else "")
    blocks = [
        Block("Predictions", (about, f"{called}: {names}.")),
        Block("Evaluation", (verdict(report),)),
        metrics,
        _made_from(bundle_facts, report),
        _terms(report),
        _use(report),
        Block("Limits", (Bullets(not_verified(report)),)),
        _load(words.fields),
    ]
    title = f"{report.strategy.preset if report.strategy else 'A model'} on {data.name}"
    return as_markdown(title, [], [block for block in blocks if block is not None], {})


def _made_from(bundle_facts: Mapping[str, Any], report: Report) -> Block:
    trained, made = bundle_facts.get("facts", {}).get("trained_on_examples"), bundle_facts.get("made_with", {})
    rows = [
        ("Backbone", f"`{report.backbone.name}`, digest `{report.backbone.digest}`"),
        *([("Strategy", report.strategy.told)] if report.strategy else []),
        ("Trained on", f"{counted(trained, 'example')} of {report.data.name}" if trained else report.data.name),
        ("Data", f"fingerprint `{report.data.fingerprint}`"),
        ("Input", f"{sections.input_size(report.backbone)} pixels, decoded and resized by regraft"),
        ("Made", report.run.created),
        ("With", f"regraft {made.get('regraft') or report.regraft}, Python {made.get('python')}"),
    ]
    return Block("How it was made", (Table(("", ""), rows, left=2),))


def _terms(report: Report) -> Block:
    said = [f"{title}: {told}" for title, told in sections.weights_told(report.backbone)]
    said.append("Terms of the data that this model was then trained on: ask whoever trained it")
    return Block("Terms", (Bullets(said),))


def _use(report: Report) -> Block:
    calibrated = report.calibration is not None and report.calibration.kept
    probabilities = report.words.caution or (
        "Probabilities are calibrated on examples like the training ones."
        if calibrated
        else "Probabilities are uncalibrated: they rank predictions, but are no frequencies."
    )
    said = (
        f"{report.words.purpose}. Every input gets a prediction, one that is nothing like the training examples "
        "too, unless the model may abstain (`--abstain 0.99` withholds the prediction where an input is farther "
        "from the training examples than 99 % of these were). "
        f"{probabilities} It is not checked for any use in which a mistake does harm; that takes data from the "
        "place of use."
    )
    return Block("Intended use", (said,))


def _load(fields: str) -> Block:
    python = (
        'import regraft\n\nmodel = regraft.load("PATH_OF_THIS_FOLDER")\n'
        f'for prediction in model.predict(["some.jpg"]):\n    print({fields}, prediction.ood_score)'
    )
    shell = "regraft predict PATH_OF_THIS_FOLDER some.jpg folder/ --out table.csv"
    said = (
        "Loading checks the digests of all files and replays golden inputs; nothing in this folder can execute. It can "
        "be the backbone of the next transfer: `regraft fit other_data --backbone PATH_OF_THIS_FOLDER`."
    )
    return Block("How to use it", (Code(shell), Code(python, "python"), said))
