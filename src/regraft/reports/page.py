"""Reports of runs and evaluations in Markdown and HTML, rendered from the same blocks; and the model card, the
README.md of a bundle."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.contracts.page import Block, Bullets, Code, Table
from regraft.files import write_json, write_text
from regraft.records import to_json
from regraft.reports import sections
from regraft.reports.plots import drawn
from regraft.reports.report import Report
from regraft.reports.verdict import not_verified, refused, title_of, unit_of, verdict, where
from regraft.words import counted, plain

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MANY_CLASSES = 100
"""Maximum number of class names on the card; bundle.json has all."""


def write_pages(
    report: Report, folder: Path, *, plots: bool = True, mistakes: Sequence[Sequence[str]] = (), sheet: str = ""
) -> None:
    """Write report.md, report.html, plots if wanted, and, last, report.json. `mistakes` to list are ids, predictions
    and labels; `sheet` is an SVG with their previews."""
    every, drawings = blocks(report), drawn(report) if plots else {}
    if mistakes:
        every.insert(-1, sections.largest_mistakes(mistakes))
        drawings["mistakes"] = sheet
    write_page(folder, report, title(report), lead(report), every, drawings)


def write_page(
    folder: Path, what: Any, title: str, lead: Sequence[str], blocks: Sequence[Block], plots: Mapping[str, str],
    *, stem: str = "report",
) -> None:  # fmt: skip
    """Write `plots` (name -> SVG), a page called `stem` as Markdown and HTML, and, last, its data as JSON."""
    for name, svg in plots.items():
        write_text(folder / f"{name}.svg", svg)
    write_text(folder / f"{stem}.md", as_markdown(title, lead, blocks, plots))
    write_text(folder / f"{stem}.html", as_html(title, lead, blocks, plots))
    write_json(folder / f"{stem}.json", to_json(what))


def markdown(report: Report, plots: Mapping[str, str] | None = None) -> str:
    """Render the report as Markdown; it refers to the files of `plots` (name -> SVG)."""
    return as_markdown(title(report), lead(report), blocks(report), plots or {})


def html(report: Report, plots: Mapping[str, str] | None = None) -> str:
    """Render the report as one HTML file."""
    return as_html(title(report), lead(report), blocks(report), plots or {})


def as_html(title: str, lead: Sequence[str], blocks: Sequence[Block], plots: Mapping[str, str]) -> str:
    """Render blocks as one HTML file with embedded plots, without scripts or external resources."""
    page = environment(inline_html).get_template("report.html")
    return page.render(title=title, lead=lead, blocks=blocks, plots=inside(plots)) + "\n"


def inside(plots: Mapping[str, str]) -> dict[str, "Markup"]:
    """Prepare plots for embedding in HTML, by name."""
    from markupsafe import Markup

    return {name: Markup(svg[svg.index("<svg") :]) for name, svg in plots.items()}


def inline_html(text: str) -> "Markup":
    """Convert text with code between backticks to HTML."""
    from markupsafe import Markup, escape

    return Markup("").join(
        Markup("<code>{}</code>").format(one) if code else escape(one) for code, one in _pieces(text)
    )


def as_markdown(title: str, lead: Sequence[str], blocks: Sequence[Block], plots: Mapping[str, str]) -> str:
    """Render blocks as Markdown."""

    def inline(text: str) -> str:
        return "".join(f"`{one}`".replace("|", "\\|") if code else plain(one) for code, one in _pieces(text))

    page = environment(inline, escaped=False).get_template("report.md")
    text = page.render(title=title, lead=lead, blocks=blocks, plots=plots)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def title(report: Report) -> str:
    """Return the title: `partial on photos`, or `photos-partial tested on site b`."""
    if report.model is not None:
        return f"{report.model.name} tested on {report.data.name}"
    return f"{report.strategy.preset if report.strategy else 'run'} on {report.data.name}"


def lead(report: Report) -> list[str]:
    """Return the verdict and the date."""
    seed = "" if report.run.seed is None else f", seed {report.run.seed}"
    made = f"Created {report.run.created.replace('T', ' ')}{seed}, regraft {report.regraft}."
    return [verdict(report), *filter(None, [refused(report)]), f"{made} Machine-readable version: report.json."]


def blocks(report: Report) -> list[Block]:
    """Return the sections of the report: results, how the model was made, what is unknown."""
    section, strategy = report.section, report.strategy
    measured = [sections.metrics(report, section), *section.blocks(sections.calibrated(report))] if section else []
    every = [
        *measured,
        sections.findings(report),
        sections.overfitting(report),
        sections.data(report),
        sections.training(report, strategy) if strategy else sections.model(report),
        sections.store(report),
        sections.advised(report),
        sections.time_and_memory(report),
        sections.reproduction(report),
        Block("Not verified", ("Limits of these figures.", Bullets(not_verified(report)))),
    ]
    return [block for block in every if block is not None]


def _pieces(text: str) -> list[tuple[bool, str]]:
    """Split text into pieces, with whether each is code."""
    return [(at % 2 == 1, piece) for at, piece in enumerate(re.split(r"`([^`]+)`", str(text))) if piece]


def environment(inline: Callable[[str], str] = str, *, escaped: bool = True) -> "Environment":
    """Return the template environment; `inline` is the filter for text with code between backticks."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("regraft.reports"), autoescape=escaped, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters["inline"] = inline
    return made


def model_card(bundle_facts: Mapping[str, Any], report: Report) -> str:
    """Render the model card as Markdown. `bundle_facts` is the content of bundle.json."""
    words, data, section = report.words, report.data, report.section
    names = ", ".join(data.classes[:MANY_CLASSES]) + (" …" if len(data.classes) > MANY_CLASSES else "")
    about = (
        f"One input gives {words.given}, and an out-of-distribution score: the distance of the input from the training "
        "examples."
    )
    metrics = None
    if section is not None:
        said = (
            f"Measured {where(report, section)}. In brackets: 95% intervals, omitted where there are too few examples."
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
        *sections.input_told(report.backbone, ", decoded and resized by regraft"),
        ("Made", report.run.created),
        ("With", f"regraft {made.get('regraft') or report.regraft}, Python {made.get('python')}"),
    ]
    return Block("Training details", (Table(("", ""), rows, left=2),))


def _terms(report: Report) -> Block:
    said = [f"{title}: {told}" for title, told in sections.weights_told(report.backbone)]
    said.append("Terms of the data used for fine-tuning: ask the publisher of this model")
    return Block("Terms", (Bullets(said),))


def _use(report: Report) -> Block:
    calibrated = report.calibration is not None and report.calibration.kept
    probabilities = report.words.caution or (
        "Probabilities are calibrated on examples like the training ones."
        if calibrated
        else "Probabilities are uncalibrated: use them to rank predictions, not as frequencies."
    )
    said = (
        f"{report.words.purpose}. Every input gets a prediction, even if it is far from the training examples, "
        "unless the model is allowed to abstain (`--abstain 0.99` withholds the prediction if an input is farther "
        "away than 99 % of the training examples). "
        f"{probabilities} The model has not been validated for uses in which mistakes cause harm; that requires data "
        "from the deployment site."
    )
    return Block("Intended use", (said,))


def _load(fields: str) -> Block:
    python = (
        'import regraft\n\nmodel = regraft.load("PATH_OF_THIS_FOLDER")\n'
        f'for prediction in model.predict(["some.jpg"]):\n    print({fields}, prediction.ood_score)'
    )
    shell = "regraft predict PATH_OF_THIS_FOLDER some.jpg folder/ --out table.csv"
    said = (
        "Loading verifies the digests of all files and replays golden inputs; nothing in this folder is executable. "
        "The model can be the backbone of the next transfer: `regraft fit other_data --backbone PATH_OF_THIS_FOLDER`."
    )
    return Block("How to use it", (Code(shell), Code(python, "python"), said))
