"""Pages: templates of this folder, filled with the blocks of reports."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader

from regraft.bundle_format import bundle_folder, read_facts
from regraft.contracts.family import Card
from regraft.contracts.modality import MODALITIES, Modality
from regraft.contracts.page import Block
from regraft.doors.ui.place import stem
from regraft.errors import BundleError, RunError
from regraft.records import from_json
from regraft.reports import advice, audit, page, sweep
from regraft.reports.plots import drawn
from regraft.reports.report import read_report
from regraft.values import shown
from regraft.version import VERSION


@dataclass(frozen=True)
class Result:
    """The result of a command, for display."""

    title: str
    lead: Sequence[str]
    blocks: Sequence[Block]
    plots: Mapping[str, str]
    fit: Mapping[str, str] = field(default_factory=dict)
    """What to fit by an advice: data, backbone and strategy."""


def result(folder: Path) -> Result:
    """Return the report in a folder, according to the kind of folder that contains it.

    Raises:
        RunError: it is not finished, or cannot be read.
    """
    file = folder / "report.json"
    return _result(folder, file.stat().st_mtime_ns if file.is_file() else 0)


@lru_cache(maxsize=16)
def _result(folder: Path, written: int) -> Result:
    """Return the report, cached by the time it was written; its plots take a second to draw."""
    if folder.parent.name == "runs":
        report = read_report(folder)
        return Result(page.title(report), page.lead(report), page.blocks(report), drawn(report))
    try:
        found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        if folder.parent.name == "audits":
            seen = from_json(audit.AuditReport, found)
            return Result(f"Audit of {seen.data}", [audit.verdict(seen)], audit.blocks(seen), _drawings(folder))
        if folder.parent.name == "advice":
            said = from_json(advice.AdviceReport, found)
            fit, asked, best = dict[str, str](), folder / "advice.json", said.advised
            if asked.is_file():
                data = json.loads(asked.read_text(encoding="utf-8"))["data"].removeprefix("data/")
                fit = {"data": data, "backbone": best.backbone, "strategy": best.strategy}
            return Result(f"Advice on {said.data}", [advice.verdict(said)], advice.blocks(said), _drawings(folder), fit)
        swept = from_json(sweep.SweepReport, found)
        return Result(f"Sweep {folder.name}", [sweep.verdict(swept)], sweep.blocks(swept), _drawings(folder))
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise RunError(
            f"There is no report in {folder.parent.name}/{folder.name} ({error}).", fix="create it again."
        ) from error


def headline(run: Path) -> tuple[str, str, str]:
    """Return a finished run's strategy and backbone, its main metric, and the name of its data."""
    try:
        report = read_report(run)
    except RunError:
        return "unfinished", "", ""
    made = f"{report.strategy.preset} at {report.strategy.cut}" if report.strategy else "evaluation"
    value = report.section.headline.told() if report.section else ""
    return f"{made}, {report.backbone.name}", value, report.data.name


def modality(run: Path) -> Modality | None:
    """Return the modality of the run's model; None if there is no model."""
    try:
        card = Card.from_json(read_facts(bundle_folder(run))["backbone"]["card"])
    except BundleError:
        return None
    return MODALITIES.get(card.modality)


def _drawings(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.svg"))}


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Return the templates of the pages."""
    made = page.environment(page.inline_html)
    made.loader = ChoiceLoader([PackageLoader("regraft.doors.ui"), PackageLoader("regraft.reports")])
    made.filters |= {"shown": shown, "stem": stem}
    made.globals |= {"version": VERSION}
    return made


def render(template: str, /, **given: Any) -> str:
    """Render a page."""
    return templates().get_template(template).render(**given)
