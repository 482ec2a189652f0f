"""The report of a run, or of a later test, as a Markdown page for people. Parts that it lacks are left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from regraft.reports import _figures, _making
from regraft.reports.limits import not_verified
from regraft.reports.verdict import refused, verdict
from regraft.reports.words import bullets, plain

MANY_IDS = 20
"""So many examples that a check found are named on the page."""


def render(report: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """The page. `pictures` are the names of files that `reports.plots.write_plots` put beside it."""
    strategy, data = report.get("strategy") or {}, report.get("data") or {}
    name = plain(strategy.get("preset") or strategy.get("name") or "run")
    about = f"# {name} on {plain(data['name'])}" if data.get("name") else f"# {name}"
    return _page(
        about,
        report,
        _findings(report),
        _figures.gaps(report),
        _shown(pictures),
        _making.data(report),
        _making.model(report),
        _making.store(report),
        _making.time_and_memory(report),
        _making.again(report) if report.get("recipe") else "",
    )


def render_test(report: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """The page of a test that a finished model was put to."""
    about = f"# {plain(report['model']['name'])} tested on {plain(report['data']['name'])}"
    return _page(about, report, _shown(pictures), _making.data(report), _making.tested_model(report))


def _page(about: str, report: Mapping[str, Any], *more: str) -> str:
    """What was measured, then `more`, then what was not verified."""
    parts = [
        about,
        f"**{plain(verdict(report))}**",
        plain(refused(report)),
        _made(report),
        _figures.figures(report),
        _figures.by_class(report),
        _figures.by_tag(report),
        _figures.by_number(report),
        _figures.confusion(report),
        _figures.calibration(report),
        _figures.thresholds(report),
        *more,
        f"## What was not verified\n\n{bullets(map(plain, not_verified(report)))}",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _findings(report: Mapping[str, Any]) -> str:
    """What checks of the model found, and which examples that is about."""
    said = []
    for found in report.get("findings") or ():
        ids = ", ".join(found["examples"][:MANY_IDS]) + (" …" if len(found["examples"]) > MANY_IDS else "")
        about = f" Examples: {ids}." if ids else ""
        said.append(f"{found['check']}: {found['message']}{about} {found['fix']}".strip())
    return f"## What was checked\n\n{bullets(map(plain, said))}" if said else ""


def _shown(pictures: Sequence[str]) -> str:
    return "\n\n".join(f"![{_TITLES.get(file, 'picture')}]({file})" for file in pictures)


_TITLES = {
    "curve.svg": "Loss by epoch",
    "confusion.svg": "What is taken for what",
    "reliability.svg": "Stated confidence against accuracy",
    "tags.svg": "How well every tag is ranked",
    "predicted.svg": "Predicted against actual",
    "residuals.svg": "How far predictions are off",
}


def _made(report: Mapping[str, Any]) -> str:
    run = report.get("run") or {}
    created = str(run.get("created") or "").replace("T", " ")
    said = [f"made {created}" if created else "", f"seed {run['seed']}" if "seed" in run else ""]
    said.append(f"regraft {report['regraft']}" if report.get("regraft") else "")
    line = ", ".join(filter(None, said))
    return f"{line[:1].upper()}{line[1:]}. The same numbers for programs: report.json." if line else ""
