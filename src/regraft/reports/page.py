"""The report of a run, or of a later evaluation, as a page for people: Markdown and HTML of the same blocks."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.contracts.page import Block, Bullets
from regraft.files import write_json, write_text
from regraft.reports import sections
from regraft.reports.limits import not_verified
from regraft.reports.plots import drawn
from regraft.reports.report import Report
from regraft.reports.verdict import refused, verdict
from regraft.reports.words import plain

if TYPE_CHECKING:
    from jinja2 import Environment


def write_pages(report: Report, folder: Path, *, plots: bool = True) -> None:
    """Write report.md, report.html, where wanted the plots that they show, and, last, report.json."""
    pictures = drawn(report) if plots else {}
    for name, svg in pictures.items():
        write_text(folder / f"{name}.svg", svg)
    write_text(folder / "report.md", markdown(report, pictures))
    write_text(folder / "report.html", html(report, pictures))
    write_json(folder / "report.json", report.to_json())


def markdown(report: Report, plots: Mapping[str, str] | None = None) -> str:
    """The page as Markdown; it names the files of `plots` (name -> SVG)."""
    return as_markdown(title(report), lead(report), blocks(report), plots or {})


def html(report: Report, plots: Mapping[str, str] | None = None) -> str:
    """The page as one HTML file that holds its plots, and needs neither scripts nor a network."""
    from markupsafe import Markup, escape

    def inline(text: str) -> Markup:
        return Markup("").join(
            Markup("<code>{}</code>").format(one) if code else escape(one) for code, one in _pieces(text)
        )

    inside = {name: Markup(svg[svg.index("<svg") :]) for name, svg in (plots or {}).items()}
    page = _environment("html", inline).get_template("report.html")
    return page.render(title=title(report), lead=lead(report), blocks=blocks(report), plots=inside) + "\n"


def as_markdown(title: str, lead: Sequence[str], blocks: Sequence[Block], plots: Mapping[str, str]) -> str:
    """Blocks as Markdown."""

    def inline(text: str) -> str:
        return "".join(f"`{one}`".replace("|", "\\|") if code else plain(one) for code, one in _pieces(text))

    page = _environment("", inline).get_template("report.md")
    text = page.render(title=title, lead=lead, blocks=blocks, plots=plots)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def title(report: Report) -> str:
    """`partial on photos`, or `photos-partial tested on site b`."""
    if report.model is not None:
        return f"{report.model.name} tested on {report.data.name}"
    return f"{report.strategy.preset if report.strategy else 'run'} on {report.data.name}"


def lead(report: Report) -> list[str]:
    """The verdict, and when it was reached."""
    seed = "" if report.run.seed is None else f", seed {report.run.seed}"
    made = f"Made {report.run.created.replace('T', ' ')}{seed}, regraft {report.regraft}."
    return [verdict(report), *filter(None, [refused(report)]), f"{made} The same numbers for programs: report.json."]


def blocks(report: Report) -> list[Block]:
    """The sections of the page: what was measured, how the model was made, what is not known."""
    section, strategy = report.section, report.strategy
    measured = [sections.metrics(report, section), *section.blocks(sections.calibrated(report))] if section else []
    every = [
        *measured,
        sections.findings(report),
        sections.overfitting(report),
        sections.data(report),
        sections.training(report, strategy) if strategy else sections.model(report),
        sections.store(report),
        sections.time_and_memory(report),
        sections.reproduction(report),
        Block("Not verified", ("What these figures do not show.", Bullets(not_verified(report)))),
    ]
    return [block for block in every if block is not None]


def _pieces(text: str) -> list[tuple[bool, str]]:
    """The text in pieces, with whether each is code."""
    return [(at % 2 == 1, piece) for at, piece in enumerate(re.split(r"`([^`]+)`", str(text))) if piece]


def _environment(escaped: str, inline: Callable[[str], str]) -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("regraft.reports"), autoescape=bool(escaped), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters["inline"] = inline
    return made
