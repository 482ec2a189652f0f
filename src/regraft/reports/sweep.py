"""Results of a sweep as a typed value and as a report: the best candidate, and those not distinguishable from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.contracts.metric import metric as metric_named
from regraft.contracts.page import Block, Bullets, Code, Table
from regraft.reports.page import write_page
from regraft.reports.plots import INK, SECOND, svg
from regraft.values import NOTHING, Measured, now, shown
from regraft.version import VERSION
from regraft.words import counted, duration, lowered, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Point:
    """A candidate at one training size."""

    share: float
    """Share of the training examples."""
    examples: int
    """Number of training and validation examples, averaged over seeds."""
    by_seed: Mapping[int, float]
    """Metric by seed."""

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return sum(self.by_seed.values()) / len(self.by_seed)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A backbone with a strategy, trained with several seeds."""

    name: str
    backbone: str
    strategy: str
    cut: str
    measured: Measured
    """Metric at the largest training size, averaged over seeds."""
    by_seed: tuple[float, ...]
    behind: Measured
    """How much worse than the best, with an interval simultaneous over all pairs."""
    tied: bool
    """Whether it is not distinguishable from the best."""
    seconds: float
    """CPU seconds per run (computing its activations once, and training), averaged over seeds; wall-clock seconds if an
    accelerator was used."""
    parameters_trained: int
    on_front: bool
    """Whether it is on the Pareto front of metric against seconds."""
    curve: tuple[Point, ...] = ()
    """Results by training size, smallest first."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A run that is not in the ranking, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """Results of a sweep."""

    data: str
    """Name of the data."""
    metric: str
    split: str
    """Split of the comparison: `test` or `cross-validation`."""
    num_examples: int
    num_groups: int | None
    seeds: tuple[int, ...]
    """Seeds of every candidate."""
    candidates: tuple[Candidate, ...]
    """Candidates, best first."""
    optimism: float
    """Selection bias of the best candidate's metric."""
    num_pairs: int
    created: str = field(default_factory=now)
    machine: str
    not_run: tuple[str, ...] = ()
    """Runs that were not started for lack of time."""
    failed: tuple[Cell, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Settings shared by all runs."""
    format: int = FORMAT
    regraft: str = VERSION

    @property
    def tied(self) -> list[Candidate]:
        """Return the best candidate and those not distinguishable from it."""
        return [one for one in self.candidates if one.tied]

    @property
    def cheapest(self) -> Candidate:
        """Return the one of these with the lowest cost."""
        return min(self.tied, key=lambda one: one.seconds)


def verdict(report: SweepReport) -> str:
    """Return the result in two or three sentences."""
    best, tied, cheap = report.candidates[0], report.tied, report.cheapest
    metric = lowered(metric_named(report.metric).title)
    said = f"{best.name} has the best {metric}, {best.measured.told()}."
    if len(report.candidates) == 1:
        return said
    if best.behind.low is None:
        return f"{said} Nothing can be said about the differences: {best.behind.method}."
    if len(tied) == 1:
        return f"{said} It is better than every other candidate ({counted(report.num_pairs, 'pair')} compared)."
    rest = [one.name for one in tied if one is not best]
    advice = (
        f"It is the cheapest of these ({duration(best.seconds)} per run)." if cheap is best
        else f"Cheapest of these: {cheap.name}, {duration(cheap.seconds)} per run; the best: {duration(best.seconds)}."
    )  # fmt: skip
    return f"{said} Not distinguishable from it: {named(rest)}. {advice}"


def blocks(report: SweepReport) -> list[Block]:
    """Return the sections of the report."""
    metric = metric_named(report.metric)
    title, several = lowered(metric.title), len(report.seeds) > 1
    header = [
        "candidate",
        "not distinguishable from the best",
        title,
        "behind the best",
        "CPU seconds per run",
        "trained parameters",
    ]
    rows = [
        [
            one.name, "yes" if one.tied else "no", one.measured.told(),
            NOTHING if one is report.candidates[0] else one.behind.told(),
            f"{one.seconds:,.1f}{' *' if one.on_front else ''}", f"{one.parameters_trained:,}",
        ]
        for one in report.candidates
    ]  # fmt: skip
    groups = f" in {counted(report.num_groups, 'group')}" if report.num_groups else ""
    found = [
        Block(
            "Candidates",
            (
                f"Measured on {counted(report.num_examples, f'{report.split} example')}{groups}"
                + (f"; means over {counted(len(report.seeds), 'seed')}." if several else ", one seed each."),
                Table(header, rows, left=2),
                f"* on the Pareto front: no other is both cheaper and better. Seconds are of {report.machine}.",
                "The cost of shared frozen stages is charged to every candidate.",
            ),
            plots=("front",),
        )
    ]
    if any(len(one.curve) > 1 for one in report.candidates):
        sizes = sorted({point.share for one in report.candidates for point in one.curve})
        found.append(
            Block(
                "Learning curves",
                (
                    f"Mean {title} by share of the training examples.",
                    Table(
                        ["candidate", *(f"{share:.0%}" for share in sizes)],
                        [[one.name, *(_at(one, share) for share in sizes)] for one in report.candidates],
                    ),
                ),
                plots=("curves",),
            )
        )
    if report.not_run or report.failed:
        missing = [*(f"{name}: not run, out of time" for name in report.not_run),
                   *(f"{one.name}: {one.reason}" for one in report.failed)]  # fmt: skip
        found.append(Block("Not ranked", (Bullets(missing),)))
    limits = [
        f"The intervals hold for all {counted(report.num_pairs, 'pair')} of candidates together (max-t bootstrap).",
        f"The best of several candidates looks better than it is, here by at least about {shown(report.optimism)}.",
        "Test the chosen model once on examples that were not used for choosing (`regraft evaluate`).",
        "One seed each: the intervals do not include the variation between seeds."
        if not several
        else "Seeds change initial weights and the order of examples; splits and stored views are the same for all.",
        "Only these candidates, with these options, were compared.",
    ]
    found.append(Block("Not verified", ("Limits of these figures.", Bullets(limits))))
    cell = report.cheapest
    again = f"regraft fit DATA --backbone {cell.backbone} --strategy {cell.strategy} --cut {cell.cut} --out RUN"
    found.append(
        Block("Reproduction", ("To train the cheapest of the best candidates and keep its model:", Code(again, "sh")))
    )
    return found


def write_sweep(report: SweepReport, folder: Path) -> None:
    """Write report.md, report.html, the plots and, last, report.json."""
    lead = [verdict(report), f"Created {report.created.replace('T', ' ')}, regraft {report.regraft}."]
    write_page(folder, report, f"Sweep on {report.data}", lead, blocks(report), plots_of(report))


def plots_of(report: SweepReport) -> dict[str, str]:
    """Return the plots of `blocks`, as SVG by name."""
    return {name: text for name, text in (("front", _front(report)), ("curves", _curves(report))) if text}


def _at(one: Candidate, share: float) -> str:
    point = next((point for point in one.curve if point.share == share), None)
    return NOTHING if point is None else shown(point.mean)


def _front(report: SweepReport) -> str:
    """Plot the metric against seconds per run."""

    def draw(axes: "Axes") -> None:
        for one in report.candidates:
            colour = INK if one.tied else "0.55"
            if one.measured.low is not None and one.measured.high is not None:
                axes.plot([one.seconds] * 2, [one.measured.low, one.measured.high], color=colour, linewidth=1.2)
            axes.plot(one.seconds, one.measured.value, "o", color=colour)
            axes.annotate(
                one.name, (one.seconds, one.measured.value), xytext=(5, 3), textcoords="offset points", fontsize=8
            )
        front = sorted((one.seconds, one.measured.value) for one in report.candidates if one.on_front)
        axes.plot(*zip(*front, strict=True), color=SECOND, linestyle=":", label="Pareto front")
        _log_axis(axes)
        axes.set(xlabel="CPU seconds per run", ylabel=lowered(metric_named(report.metric).title))
        axes.legend(frameon=False)

    return svg(draw, (7.2, 4.0))


def _curves(report: SweepReport) -> str:
    """Plot the metric by number of training examples."""
    drawn: Sequence[Candidate] = [one for one in report.candidates if len(one.curve) > 1]
    if not drawn:
        return ""

    def draw(axes: "Axes") -> None:
        for one in drawn:
            axes.plot(*zip(*((point.examples, point.mean) for point in one.curve), strict=True), "o-", label=one.name)
        _log_axis(axes)
        axes.set(xlabel="training examples", ylabel=lowered(metric_named(report.metric).title))
        axes.figure.legend(loc="outside right upper", frameon=False)

    return svg(draw, (8.0, 4.0))


def _log_axis(axes: "Axes") -> None:
    """Set ticks at 1, 2 and 5 in plain numbers; mathematical text is off, because names may contain a dollar sign."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
