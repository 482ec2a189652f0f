"""Results of a study as a typed value and as a report: verdict, effects, and the underlying sweep."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from regraft.contracts.page import Block, Bullets, Code, Table
from regraft.contracts.study import COUNTED, MEASURES, Arm, Outcome
from regraft.lab.judging import Found
from regraft.reports import sweep
from regraft.reports.page import write_page
from regraft.values import NOTHING, shown

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """Results of a study."""

    study: str
    """Name of the study."""
    title: str
    claim: str
    source: str
    measurement: str
    arms: tuple[Arm, ...]
    costs: Mapping[str, Mapping[str, int]]
    """By arm: parameters, and multiply-adds per example."""
    effects: tuple[Found, ...]
    outcome: Outcome
    verdict: str
    command: str
    """Command to repeat the study."""
    sweep: sweep.SweepReport
    """Comparison of the arms."""
    format: int = FORMAT


def blocks(report: StudyReport) -> list[Block]:
    """Return the sections of the report, those of the sweep last."""
    rows, first = [], report.costs[report.arms[0].name]["multiply_adds"]
    for one in report.effects:
        effect, exact = one.effect, one.effect.measure in COUNTED
        difference = "not run" if one.difference is None else (
            f"{shown(one.difference.value)} times" if exact else one.difference.told(signed=True)
        )  # fmt: skip
        claimed = f"above {effect.above:g}" if effect.key else NOTHING
        said = "not resolved" if one.resolved == "open" else one.resolved
        rows.append([effect.name, f"{effect.plus} {'by' if exact else 'less'} {effect.minus}",
                     effect.measure.replace("_", "-"), NOTHING if exact else f"{effect.share:.0%}", difference, claimed,
                     said if effect.key else NOTHING])  # fmt: skip
    header = ["effect", "arms", "of", "training examples", "difference", "claimed", "found"]
    about = (
        "Differences are paired by seed, and for accuracy also by test example; 95 % intervals over both in "
        "brackets. An effect "
        "is borne out if its interval lies above the claimed size, not here if it lies below the smallest size that "
        "supports the claim, and not resolved otherwise."
    )
    used = dict.fromkeys(one.effect.measure for one in report.effects)
    meanings = Bullets([f"{name.replace('_', '-')}: {MEASURES[name]}" for name in used])
    counts = [
        [f"{arm.name}: {arm.title}", f"`{arm.backbone}`", f"{report.costs[arm.name]['parameters']:,}",
         f"{(adds := report.costs[arm.name]['multiply_adds']):,}", f"{adds / first:.3f}"]
        for arm in report.arms
    ]  # fmt: skip
    arms = Table(["arm", "backbone", "parameters", "multiply-adds", "by the first's"], counts, left=2)
    return [
        Block("Claim", (report.claim, f"Source: {report.source}.")),
        Block("Measurement", (report.measurement, arms)),
        Block("Effects", (Table(header, rows, left=2), about, meanings)),
        *(block for block in sweep.blocks(report.sweep) if block.title != "Reproduction"),
        Block("Reproduction", ("To repeat the study:", Code(report.command, "sh"))),
    ]


def write_study(report: StudyReport, folder: Path, stem: str = "report") -> None:
    """Write the report, its plots (with names that begin with `stem` unless that is `report`), and, last, the JSON."""
    start = "" if stem == "report" else f"{stem}_"
    plots = {f"{start}{name}": text for name, text in sweep.plots_of(report.sweep).items()}
    lead = [f"Verdict: {report.outcome}. {report.verdict}", sweep.verdict(report.sweep)]
    found = [replace(one, plots=tuple(f"{start}{name}" for name in one.plots)) for one in blocks(report)]
    write_page(folder, report, report.title, lead, found, plots, stem=stem)
