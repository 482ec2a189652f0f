"""The model card: README.md of a bundle, for whoever gets the model without knowing how it was made."""

from collections.abc import Mapping
from typing import Any

from regraft.reports._making import input_size, strategy_line, weights_told
from regraft.reports.limits import not_verified
from regraft.reports.verdict import kind_of, main_section, title_of, unit_of, verdict, where
from regraft.reports.words import NOTHING, bullets, counted, measured, plain, table

MANY_CLASSES = 100
"""So many classes are named on the card; bundle.json has them all."""


def model_card(bundle_facts: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """The card as Markdown. `bundle_facts` is what bundle.json holds, `report` what report.json holds."""
    backbone = report.get("backbone") or {}
    data = report.get("data") or {}
    classes = (bundle_facts.get("task") or {}).get("classes") or data.get("classes") or ()
    kind = str((bundle_facts.get("task") or {}).get("kind") or kind_of(main_section(report)))
    parts = [
        f"# {plain((report.get('strategy') or {}).get('preset') or 'A model')} on {plain(data.get('name') or 'data')}",
        _predicts(kind, classes),
        f"## How good it is\n\n{plain(verdict(report))}",
        _metrics(report),
        _made_from(bundle_facts, report),
        _terms(backbone),
        _use(kind, bundle_facts),
        f"## Limits\n\n{bullets(map(plain, not_verified(report)))}",
        _load(kind),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _predicts(kind: str, classes: Any) -> str:
    names = ", ".join(plain(name) for name in classes[:MANY_CLASSES])
    more = " …" if len(classes) > MANY_CLASSES else ""
    one_of = f"one of {counted(len(classes), 'class', 'classes')}"
    given, called = {
        "multilabel": (
            f"a probability for each of {counted(len(classes), 'tag')}, any number of which may hold",
            "Tags",
        ),
        "ordinal": (f"{one_of} in rising order, with a probability for each", "Classes, lowest first"),
        "regression": (f"{counted(len(classes), 'number')}, in the unit of the training labels", "Numbers"),
    }.get(kind, (f"{one_of}, with a probability for each", "Classes"))
    return f"One input gives {given}, and how unlike the training examples the input is.\n\n{called}: {names}{more}."


def _metrics(report: Mapping[str, Any]) -> str:
    section = main_section(report)
    if section is None or not section.get("metrics"):
        return ""
    rows = [
        [plain(title_of(name) + unit_of(section, name)), measured(value)] for name, value in section["metrics"].items()
    ]
    said = f"Measured {where(report, section)}. In brackets: 95% intervals; a number without one has too few examples."
    return f"{said}\n\n{table(['Metric', 'value'], rows)}"


def _made_from(bundle_facts: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    backbone, strategy, data = (report.get(name) or {} for name in ("backbone", "strategy", "data"))
    facts = bundle_facts.get("facts") or {}
    trained = facts.get("trained_on_examples")
    examples = f"{counted(trained, 'example')} of {plain(data.get('name'))}" if trained else plain(data.get("name"))
    made = bundle_facts.get("made_with") or {}
    rows = [
        ["Backbone", f"`{backbone.get('name')}`, digest `{backbone.get('digest')}`"],
        ["Strategy", strategy_line(strategy)],
        ["Trained on", examples],
        ["Data", f"fingerprint `{data.get('fingerprint')}`"],
        ["Input", f"{input_size(backbone.get('input_px'))} pixels, decoded and resized by regraft"],
        ["Made", plain((report.get("run") or {}).get("created") or NOTHING)],
        ["With", f"regraft {plain(made.get('regraft') or report.get('regraft'))}, Python {plain(made.get('python'))}"],
    ]
    return f"## What it was made from\n\n{table(['', ''], rows).replace('---:', '---')}"


def _terms(backbone: Mapping[str, Any]) -> str:
    said = [f"{title}: {plain(told)}" for title, told in weights_told(backbone)]
    said.append("Terms of the data that this model was then trained on: ask whoever trained it")
    return f"## Terms\n\n{bullets(said)}"


_PURPOSE = {
    "multilabel": "To find which of the tags above inputs of the kind it was trained on have",
    "ordinal": "To put inputs of the kind it was trained on into the ranked classes above",
    "regression": "To estimate the numbers above for inputs of the kind it was trained on",
}


def _use(kind: str, bundle_facts: Mapping[str, Any]) -> str:
    calibrated = ((bundle_facts.get("facts") or {}).get("calibration") or {}).get("kept")
    probabilities = (
        "Probabilities are calibrated on examples like the training ones."
        if calibrated
        else "Probabilities are uncalibrated: they rank answers, but are no frequencies."
    )
    if kind == "regression":
        probabilities = (
            "A number comes without an interval of its own: the report says how far predictions are off on the whole. "
            "Numbers far outside the training labels' range are extrapolated."
        )
    purpose = _PURPOSE.get(kind, "To sort inputs of the kind it was trained on into the classes above")
    return (
        f"## Intended use\n\n{purpose}. Every input gets an "
        "answer, one that is nothing like the training examples too, unless the model may abstain (`--abstain 0.99` "
        "withholds the answer where an input is farther from the training examples than 99 % of these were). "
        f"{probabilities} It is not checked for any use in which a mistake does harm; that takes data from the "
        "place of use."
    )


def _load(kind: str) -> str:
    said = "answer.values" if kind == "regression" else "answer.label, answer.probabilities"
    return (
        "## How to use it\n\n```\nregraft predict PATH_OF_THIS_FOLDER some.jpg folder/ --out table.csv\n```\n\n"
        '```python\nimport regraft\n\nmodel = regraft.load("PATH_OF_THIS_FOLDER")\n'
        f'for answer in model.predict(["some.jpg"]):\n    print({said}, answer.unlike)\n'
        "```\n\nLoading checks the digests of all files and replays golden inputs; nothing in this folder can execute. "
        "It can be the backbone of the next transfer: `regraft fit other_data --backbone PATH_OF_THIS_FOLDER`."
    )
