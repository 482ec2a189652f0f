"""Plots of predicted numbers, and of labels."""

from functools import partial
from math import isnan
from typing import TYPE_CHECKING

from regraft.evaluation.metrics.labels import LabelFigures
from regraft.evaluation.metrics.values import TargetScores, ValueFigures
from regraft.reports._canvas import INK, SECOND, short, svg, svg_of_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY_TARGETS = 4
"""So many targets have a panel each; a run of more shows the first."""
MANY_LABELS = 60
"""From here on the plot of the labels is left out: the table has the worst of them."""


def predicted(figures: ValueFigures) -> str:
    """Predicted against actual number, a panel each, as SVG."""
    targets = figures.per_target[:MANY_TARGETS]
    return svg_of_panels([partial(_predicted, one) for one in targets], (4.4, 4.4))


def residuals(figures: ValueFigures) -> str:
    """Predicted less actual against predicted number, a panel each, as SVG."""
    targets = figures.per_target[:MANY_TARGETS]
    return svg_of_panels([partial(_residuals, one) for one in targets], (4.4, 3.4))


def labels(figures: LabelFigures, num_examples: int) -> str:
    """Average precision of every label with its interval, best first, as SVG; empty for very many labels."""
    known = [one for one in figures.per_label if not isnan(one.average_precision.value)]
    if not known or len(known) >= MANY_LABELS:
        return ""
    known.sort(key=lambda one: one.average_precision.value)

    def draw(axes: "Axes") -> None:
        rows = range(len(known))
        scores = [one.average_precision for one in known]
        axes.barh(rows, [one.value for one in scores], color=INK, alpha=0.45, height=0.6, label="average precision")
        for at, one in enumerate(scores):
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [at, at], color="0.25", linewidth=1.2)
        chance = [one.support / num_examples for one in known]
        axes.scatter(chance, rows, marker="|", s=120, color=SECOND, label="ranking at random", zorder=3)
        axes.set_yticks(rows, [f"{short(one.name)} ({one.support})" for one in known])
        axes.set(xlim=(0, 1.02), ylim=(-0.6, len(known) - 0.4), xlabel="average precision (line: its interval)")
        axes.set_title("How well every label is ranked (examples)")
        axes.figure.legend(loc="outside lower center", ncols=2, frameon=False)

    return svg(draw, (6.2, min(14.0, 1.5 + 0.3 * len(known))))


def _predicted(one: TargetScores, axes: "Axes") -> None:
    actual, given = zip(*one.points, strict=True)
    low, high = min(*actual, *given), max(*actual, *given)
    room = 0.03 * (high - low or 1.0)
    ends = (low - room, high + room)
    axes.plot(ends, ends, color="0.6", linestyle=":", label="exact")
    axes.scatter(actual, given, s=12, color=INK, alpha=0.6, linewidths=0)
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"actual {one.name}", ylabel=f"predicted {one.name}")
    axes.set_title(short(one.name))
    axes.legend(frameon=False, loc="upper left")
    _plain_ticks(axes, max(abs(low), abs(high)))


def _residuals(one: TargetScores, axes: "Axes") -> None:
    actual, given = zip(*one.points, strict=True)
    off = [b - a for a, b in zip(actual, given, strict=True)]
    axes.axhline(0, color="0.6", linestyle=":")
    low, high = one.residuals["0.05"], one.residuals["0.95"]
    axes.axhspan(low, high, color=SECOND, alpha=0.12, linewidth=0, label="nine in ten")
    axes.scatter(given, off, s=12, color=INK, alpha=0.6, linewidths=0)
    axes.set(xlabel=f"predicted {one.name}", ylabel="predicted less actual", title=short(one.name))
    axes.legend(frameon=False, loc="best")
    _plain_ticks(axes, max(map(abs, (*given, *off))))


def _plain_ticks(axes: "Axes", largest: float) -> None:
    """`250,000` rather than `250000` or `2.5 × 10^5`; a few ticks, for such labels are long."""
    from matplotlib.ticker import StrMethodFormatter

    if largest >= 1e4:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.locator_params(nbins=5)
