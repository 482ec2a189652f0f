"""Plots for reports, drawn by matplotlib as SVG. Importing matplotlib takes about a second, so check `wanted` first."""

import io
import warnings
from collections.abc import Callable
from functools import partial
from math import isnan
from typing import TYPE_CHECKING, Any

from regraft.evaluation.metrics.classes import ClassFigures
from regraft.evaluation.metrics.probabilities import LabelFigures, ProbabilityFigures
from regraft.evaluation.metrics.values import TargetScores, ValueFigures
from regraft.files import keep_in_cache
from regraft.reports.report import Report
from regraft.reports.sections import epochs, rescaled
from regraft.words import lowered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY_CLASSES = 60
"""Number of classes from which on the confusion matrix is omitted, because cells would be too small."""
WITH_COUNTS = 15
"""Up to this number of classes, cells show their counts."""
LEVEL_NAMES = 26
"""Maximum total length of horizontal tick labels; longer ones are rotated."""


def wanted(report: Report) -> bool:
    """Return whether plots are worth the time: the run trained for epochs, or it is a regression.

    For probes on classes or labels the tables are sufficient; for regression residuals they are not.
    """
    trained = report.strategy is not None and len(report.strategy.curve) > 1
    return trained or report.task.answers != "probabilities"


def drawn(report: Report) -> dict[str, str]:
    """Draw all plots for which the report has data, by name, as SVG."""
    figures = report.section.figures if report.section else None
    plots = {"curve": curve(report)}
    if isinstance(figures, ClassFigures):
        plots["confusion"] = confusion(figures)
    if isinstance(figures, LabelFigures):
        plots["labels"] = labels(figures, report.section.num_examples if report.section else 1)
    if isinstance(figures, ValueFigures):
        plots |= {"predicted": predicted(figures), "residuals": residuals(figures)}
    if isinstance(figures, ProbabilityFigures):
        plots["reliability"] = reliability(figures)
    return {name: svg for name, svg in plots.items() if svg}


def curve(report: Report) -> str:
    """Draw training and validation loss by epoch; empty for fewer than two epochs."""
    strategy = report.strategy
    if strategy is None or len(strategy.curve) < 2:
        return ""
    rows, validated = strategy.curve, epochs(strategy)
    best = strategy.facts.get("best_epoch")

    def draw(axes: "Axes") -> None:
        epochs = [row["epoch"] for row in rows]
        axes.plot(epochs, [row["loss"] for row in rows], color=INK, label="training")
        if any("val_loss" in row for row in rows):
            for key, label, style in (
                ("val_loss", "validation", "-"),
                ("val_loss_rescaled", "validation, rescaled", "--"),
            ):
                if key == "val_loss_rescaled" and not rescaled(validated):
                    continue
                losses = [row.get(key, float("nan")) for row in validated]
                axes.plot([row["epoch"] for row in validated], losses, style, color=SECOND, label=label)
            if best is not None:
                axes.axvline(best, color="0.6", linestyle=":", label="kept")
            axes.legend(frameon=False)
        axes.set(
            xlabel="epoch",
            ylabel="loss (nats)" if report.task.answers == "probabilities" else "loss",
            title="Loss by epoch",
        )
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)

    return svg(draw, (5.5, 3.4))


def confusion(figures: ClassFigures) -> str:
    """Draw the confusion matrix, shaded by share of the actual class; empty for very many classes."""
    matrix, names = figures.confusion, [short(one.name) for one in figures.per_class]
    if len(names) >= MANY_CLASSES:
        return ""
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]

    def draw(axes: "Axes") -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if max(map(len, names)) * len(names) <= LEVEL_NAMES:
            axes.set_xticks(range(len(names)), names)
        else:
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted (colour: share of the class)", ylabel="actual", title="Confusion matrix")
        if len(names) <= WITH_COUNTS:
            for y, row in enumerate(matrix):
                for x, count in enumerate(row):
                    ink = "white" if shares[y][x] > 0.55 else "0.2" if count else "0.75"
                    axes.text(x, y, str(count), ha="center", va="center", color=ink)

    side = min(12.0, 2.6 + 0.42 * len(names))
    return svg(draw, (side + 0.6, side))


def reliability(figures: ProbabilityFigures) -> str:
    """Draw the reliability diagram: accuracy by confidence, with intervals; empty without bins."""
    bins = figures.reliability
    if not bins:
        return ""
    stated, counted, _, observed = figures.header

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", label="perfect")
        for one in bins:
            if one.accuracy.low is not None and one.accuracy.high is not None:
                axes.plot([one.confidence] * 2, [one.accuracy.low, one.accuracy.high], color=INK, linewidth=1)
        most = max(one.num_examples for one in bins)
        axes.scatter(
            [one.confidence for one in bins],
            [one.accuracy.value for one in bins],
            s=[15 + 120 * one.num_examples / most for one in bins],
            color=INK,
            label=f"{observed}; the larger, the more {counted}",
            zorder=3,
        )
        axes.set(xlabel=lowered(stated), ylabel=observed)
        axes.set_title("Calibration")
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
        # Below the axes: inside, every corner may hold an interval.
        axes.figure.legend(loc="outside lower center", ncols=2, frameon=False)

    return svg(draw, (4.6, 4.7))


INK, SECOND = "#20639b", "#d1603d"
LONG_NAME = 24
"""Maximum length of names."""


def svg(draw: "Callable[[Axes], None]", inches: tuple[float, float]) -> str:
    """Render one plot as SVG, deterministically."""
    return svg_of_panels([draw], inches)


def svg_of_panels(draws: "list[Callable[[Axes], None]]", inches: tuple[float, float]) -> str:
    """Render plots side by side, each with this width and height in inches."""
    keep_in_cache("MPLCONFIGDIR", "matplotlib")  # its list of fonts belongs in our cache
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": "regraft",
        "svg.fonttype": "none",  # text stays text: what shows it has fonts for all scripts
        "text.parse_math": False,  # a `$` in a class name is a `$`
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # that font only measures
        figure = Figure(figsize=(inches[0] * len(draws), inches[1]), layout="constrained")
        for at, draw in enumerate(draws):
            draw(figure.add_subplot(1, len(draws), at + 1))
        buffer = io.BytesIO()
        figure.savefig(
            buffer, format="svg", metadata={"Date": None}, bbox_inches="tight"
        )  # a title was cut off without
    return buffer.getvalue().decode()


def short(name: str) -> str:
    """Shorten a name to fit a plot, and remove characters that are invalid in XML."""
    name = "".join(one if one.isprintable() else "\ufffd" for one in name)
    return name if len(name) <= LONG_NAME else name[: LONG_NAME - 1] + "…"


MANY_TARGETS = 4
"""Maximum number of targets with a panel each; of more, the first is shown."""
MANY_LABELS = 60
"""Number of labels from which on the plot of labels is omitted; the table has the worst."""


def predicted(figures: ValueFigures) -> str:
    """Plot predicted against actual values, one panel per target."""
    targets = figures.per_target[:MANY_TARGETS]
    return svg_of_panels([partial(_predicted, one) for one in targets], (4.4, 4.4))


def residuals(figures: ValueFigures) -> str:
    """Plot residuals against predicted values, one panel per target."""
    targets = figures.per_target[:MANY_TARGETS]
    return svg_of_panels([partial(_residuals, one) for one in targets], (4.4, 3.4))


def labels(figures: LabelFigures, num_examples: int) -> str:
    """Plot average precision of every label with intervals, best first; empty for very many labels."""
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
        axes.scatter(chance, rows, marker="|", s=120, color=SECOND, label="random ranking", zorder=3)
        axes.set_yticks(rows, [f"{short(one.name)} ({one.support})" for one in known])
        axes.set(xlim=(0, 1.02), ylim=(-0.6, len(known) - 0.4), xlabel="average precision (line: its interval)")
        axes.set_title("Average precision by label (number of examples)")
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
    axes.axhspan(low, high, color=SECOND, alpha=0.12, linewidth=0, label="90 % of examples")
    axes.scatter(given, off, s=12, color=INK, alpha=0.6, linewidths=0)
    axes.set(xlabel=f"predicted {one.name}", ylabel="predicted - actual", title=short(one.name))
    axes.legend(frameon=False, loc="best")
    _plain_ticks(axes, max(map(abs, (*given, *off))))


def _plain_ticks(axes: "Axes", largest: float) -> None:
    """Format ticks as `250,000` instead of `250000` or `2.5 × 10^5`, with few ticks."""
    from matplotlib.ticker import StrMethodFormatter

    if largest >= 1e4:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.locator_params(nbins=5)
