"""Pictures for the page, drawn by matplotlib as SVG. Loading matplotlib costs about a second, so ask `wanted` first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.files import write_text
from regraft.reports import _scatter
from regraft.reports._canvas import INK, SECOND, short, svg
from regraft.reports._making import rescaled
from regraft.reports.verdict import Section, kind_of, main_section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY_CLASSES = 60
"""From here on the matrix is left out: its cells could no longer be told apart."""
WITH_COUNTS = 15
"""Up to so many classes every cell shows its count."""
LEVEL_NAMES = 26
"""Up to so many characters, all names as long as the longest, lie level under the matrix; more would run together."""


def wanted(report: Section) -> bool:
    """Whether pictures are worth their second: the run trained for epochs, or it predicts numbers.

    What a probe does with classes or tags is in the tables; single numbers, and how far each is off, are not.
    """
    trained = len((report.get("strategy") or {}).get("curve") or ()) > 1
    return trained or kind_of(main_section(report)) == "regression"


def write_plots(report: Section, folder: Path) -> list[str]:
    """Draw what the report has, each as one SVG in `folder`; returns the names of the files."""
    drawn = {
        "curve.svg": curve(report),
        "confusion.svg": confusion(report),
        "tags.svg": _scatter.tags(report),
        "predicted.svg": _scatter.predicted(report),
        "residuals.svg": _scatter.residuals(report),
        "reliability.svg": reliability(report),
    }
    for name, text in drawn.items():
        if text:
            write_text(folder / name, text)
    return [name for name, text in drawn.items() if text]


def curve(report: Section) -> str:
    """Training and validation loss by epoch, as SVG; empty without two epochs."""
    strategy = report.get("strategy") or {}
    rows: Sequence[Mapping[str, float]] = strategy.get("curve") or ()
    if len(rows) < 2:
        return ""
    facts = strategy.get("facts") or {}
    best, start = facts.get("best_epoch"), facts.get("start")

    def draw(axes: "Axes") -> None:
        epochs = [row["epoch"] for row in rows]
        axes.plot(epochs, [row["loss"] for row in rows], color=INK, label="training")
        if any("val_loss" in row for row in rows):
            validated = [{"epoch": 0, **start}, *rows] if start else rows
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
            ylabel="loss" if kind_of(main_section(report)) == "regression" else "loss (nats)",
            title="Loss by epoch",
        )
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)

    return svg(draw, (5.5, 3.4))


def confusion(report: Section) -> str:
    """The confusion matrix, shaded by share of the actual class, as SVG; empty for very many classes."""
    section = main_section(report) or {}
    matrix, classes = section.get("confusion") or (), section.get("classes") or ()
    if not matrix or len(classes) >= MANY_CLASSES:
        return ""
    names = [short(name) for name in classes]
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]

    def draw(axes: "Axes") -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if max(map(len, names)) * len(names) <= LEVEL_NAMES:
            axes.set_xticks(range(len(names)), names)
        else:
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="answered (darker: more of the class)", ylabel="actual", title="What is taken for what")
        if len(names) <= WITH_COUNTS:
            for y, row in enumerate(matrix):
                for x, count in enumerate(row):
                    ink = "white" if shares[y][x] > 0.55 else "0.2" if count else "0.75"
                    axes.text(x, y, str(count), ha="center", va="center", color=ink)

    side = min(12.0, 2.6 + 0.42 * len(names))
    return svg(draw, (side + 0.6, side))


def reliability(report: Section) -> str:
    """Stated confidence against accuracy with intervals, as SVG; empty without bins."""
    bins = (main_section(report) or {}).get("reliability") or ()
    if not bins:
        return ""
    of_tags = kind_of(main_section(report)) == "multilabel"
    observed = "share with the tag" if of_tags else "accuracy"

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", label="perfect")
        for one in bins:
            low, high = one["accuracy"].get("low"), one["accuracy"].get("high")
            if low is not None and high is not None:
                axes.plot([one["confidence"]] * 2, [low, high], color=INK, linewidth=1)
        most = max(one["num_examples"] for one in bins)
        axes.scatter(
            [one["confidence"] for one in bins],
            [one["accuracy"]["value"] for one in bins],
            s=[15 + 120 * one["num_examples"] / most for one in bins],
            color=INK,
            label=f"{observed}; the larger, the more {'answers' if of_tags else 'examples'}",
            zorder=3,
        )
        axes.set(xlabel="stated probability" if of_tags else "stated confidence", ylabel=observed)
        axes.set_title("Can the probabilities be trusted?")
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
        # Below the axes: inside, every corner may hold an interval.
        axes.figure.legend(loc="outside lower center", ncols=1 if of_tags else 2, frameon=False)

    return svg(draw, (4.6, 4.7))
