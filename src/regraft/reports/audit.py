"""Results of an audit as a typed value, and as a report with previews for each finding."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from regraft.contracts.page import Block, Bullets, Finding, Table
from regraft.reports.page import write_page
from regraft.reports.panels import panels
from regraft.values import NOTHING, Measured, now, shown
from regraft.version import VERSION
from regraft.words import counted, listed

FORMAT = 1
SEVERITIES = {"stop": "must be fixed", "warn": "warnings", "info": "information"}
NUM_PREVIEWS, NUM_NAMED = 8, 12
"""Maximum number of previews, and of listed examples, per finding."""


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """Results of an audit."""

    data: str
    """Name of the data."""
    described: str
    """Examples, classes and splits, in one line."""
    backbone: str
    """Backbone whose features were used; empty if none."""
    probe: Measured | None
    """Out-of-fold accuracy of the linear probe behind the label-error check; None without one."""
    findings: tuple[Finding, ...]
    """Findings, most severe first."""
    checks: tuple[str, ...]
    """Checks that were run."""
    not_checked: tuple[str, ...] = ()
    """Checks that were not run, and why."""
    notes: tuple[str, ...] = ()
    """What was ignored or assumed while reading the data."""
    created: str = field(default_factory=now)
    format: int = FORMAT
    regraft: str = VERSION

    def number(self, severity: str) -> int:
        """Return the number of findings of this severity."""
        return sum(one.severity == severity for one in self.findings)


def verdict(report: AuditReport) -> str:
    """Return the outcome in a sentence or two."""
    said = [
        f"{counted(number, 'finding')} {words}"
        for severity, words in SEVERITIES.items()
        if (number := report.number(severity))
    ]
    if not said:
        return f"No findings ({counted(len(report.checks), 'check')})."
    worst = report.findings[0]
    return f"{listed(said)}. Most severe: {worst.message}"


def blocks(report: AuditReport) -> list[Block]:
    """Return the sections of the report."""
    rows = [
        [one.severity, one.check, SEVERITIES[one.severity], str(len(one.examples) or NOTHING), shown(one.score)]
        for one in report.findings
    ]
    seen = f" Features from {report.backbone}." if report.backbone else ""
    probe = f" Held-out accuracy of the probe: {report.probe.told()}." if report.probe else ""
    found = [
        Block("Data", (f"{report.described}.{seen}{probe}", Bullets(report.notes) if report.notes else None)),
        Block("Findings", (Table(["severity", "check", "meaning", "examples", "score"], rows, left=3) if rows else
                           "None.",)),
    ]  # fmt: skip
    for at, one in enumerate(report.findings):
        left = len(one.examples) - NUM_NAMED
        names = [f"`{name}`" for name in one.examples[:NUM_NAMED]]
        names += [f"and {left:,} more; report.json lists all of them"] if left > 0 else []
        fix = f"What to do: {one.fix}" if one.fix else None
        found.append(Block(one.check, (one.message, fix, Bullets(names) if names else None), plots=(sheet_name(at),)))
    rest = "Some problems may remain undetected: rotated or edited copies, wrong labels that the probe has "
    rest += "learned, groups that the names do not reveal."
    limits = [*report.not_checked, rest]
    found.append(Block("Not verified", (f"Checks: {listed(report.checks, 20)}.", Bullets(limits))))
    return found


def sheet_name(at: int) -> str:
    """Return the name of the preview sheet of the finding at this position."""
    return f"finding-{at + 1}"


def write_audit(report: AuditReport, previews: Mapping[str, bytes | str], folder: Path) -> None:
    """Write report.md, report.html, a preview sheet for each finding that has examples and, last, report.json.
    `previews` are thumbnails (PNG) or text excerpts, by id."""
    sheets = {}
    for at, one in enumerate(report.findings):
        cells = [(name, previews[name]) for name in one.examples[:NUM_PREVIEWS] if name in previews]
        if cells:
            sheets[sheet_name(at)] = panels(cells)
    lead = [verdict(report), f"Created {report.created.replace('T', ' ')}, regraft {report.regraft}."]
    write_page(folder, report, f"Audit of {report.data}", lead, blocks(report), sheets)
