"""Plots for the page, drawn by matplotlib as SVG. Loading matplotlib costs about a second, so ask `wanted` first."""

from typing import TYPE_CHECKING

from regraft.evaluation.metrics.classes import ClassFigures
from regraft.evaluation.metrics.labels import LabelFigures
from regraft.evaluation.metrics.probabilities import ProbabilityFigures
from regraft.evaluation.metrics.values import ValueFigures
from regraft.reports import _scatter
from regraft.reports._canvas import INK, SECOND, short, svg
from regraft.reports.report import Report
from regraft.reports.sections import epochs, rescaled
from regraft.reports.words import lowered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY_CLASSES = 60
"""From here on the matrix is left out: its cells could no longer be told apart."""
WITH_COUNTS = 15
"""Up to so many classes every cell shows its count."""
LEVEL_NAMES = 26
"""Up to so many characters, all names as long as the longest, lie level under the matrix; more would run together."""


def wanted(report: Report) -> bool:
    """Whether plots are worth their second: the run trained for epochs, or it predicts numbers.

    What a probe does with classes or labels is in the tables; single numbers, and how far each is off, are not.
    """
    trained = report.strategy is not None and len(report.strategy.curve) > 1
    return trained or not report.task.states_probabilities


def drawn(report: Report) -> dict[str, str]:
    """The plots that the report has numbers for, by name, as SVG text."""
    figures = report.section.figures if report.section else None
    plots = {"curve": curve(report)}
    if isinstance(figures, ClassFigures):
        plots["confusion"] = confusion(figures)
    if isinstance(figures, LabelFigures):
        plots["labels"] = _scatter.labels(figures, report.section.num_examples if report.section else 1)
    if isinstance(figures, ValueFigures):
        plots |= {"predicted": _scatter.predicted(figures), "residuals": _scatter.residuals(figures)}
    if isinstance(figures, ProbabilityFigures):
        plots["reliability"] = reliability(figures)
    return {name: svg for name, svg in plots.items() if svg}


def curve(report: Report) -> str:
    """Training and validation loss by epoch, as SVG; empty without two epochs."""
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
            ylabel="loss (nats)" if report.task.states_probabilities else "loss",
            title="Loss by epoch",
        )
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)

    return svg(draw, (5.5, 3.4))


def confusion(figures: ClassFigures) -> str:
    """The confusion matrix, shaded by share of the actual class, as SVG; empty for very many classes."""
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
        axes.set(xlabel="predicted (darker: more of the class)", ylabel="actual", title="Confusion matrix")
        if len(names) <= WITH_COUNTS:
            for y, row in enumerate(matrix):
                for x, count in enumerate(row):
                    ink = "white" if shares[y][x] > 0.55 else "0.2" if count else "0.75"
                    axes.text(x, y, str(count), ha="center", va="center", color=ink)

    side = min(12.0, 2.6 + 0.42 * len(names))
    return svg(draw, (side + 0.6, side))


def reliability(figures: ProbabilityFigures) -> str:
    """Stated confidence against accuracy with intervals, as SVG; empty without bins."""
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
