"""Pictures for the page, drawn by matplotlib as SVG. Loading matplotlib costs about a second, so ask `wanted` first."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.files import write_text
from regraft.reports.verdict import Section, main_section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY_CLASSES = 60
"""From here on the matrix is left out: its cells could no longer be told apart."""
WITH_COUNTS = 15
"""Up to so many classes every cell shows its count."""
LONG_NAME = 24
"""Class names are cut to so many characters."""
LEVEL_NAMES = 26
"""Up to so many characters, all names as long as the longest, lie level under the matrix; more would run together."""
_INK, _SECOND = "#20639b", "#d1603d"


def wanted(report: Section) -> bool:
    """Whether pictures are worth their second: the run trained for epochs. A probe's numbers are in the tables."""
    return len((report.get("strategy") or {}).get("curve") or ()) > 1


def write_plots(report: Section, folder: Path) -> list[str]:
    """Draw what the report has, each as one SVG in `folder`; returns the names of the files."""
    drawn = {"curve.svg": curve(report), "confusion.svg": confusion(report), "reliability.svg": reliability(report)}
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
        axes.plot(epochs, [row["loss"] for row in rows], color=_INK, label="training")
        if any("val_loss" in row for row in rows):
            validated = [{"epoch": 0, **start}, *rows] if start else rows
            for key, label, style in (
                ("val_loss", "validation", "-"),
                ("val_loss_rescaled", "validation, rescaled", "--"),
            ):
                losses = [row.get(key, float("nan")) for row in validated]
                axes.plot([row["epoch"] for row in validated], losses, style, color=_SECOND, label=label)
            if best is not None:
                axes.axvline(best, color="0.6", linestyle=":", label="kept")
            axes.legend(frameon=False)
        axes.set(xlabel="epoch", ylabel="loss (nats)", title="Loss by epoch")
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)

    return _svg(draw, (5.5, 3.4))


def confusion(report: Section) -> str:
    """The confusion matrix, shaded by share of the actual class, as SVG; empty for very many classes."""
    section = main_section(report) or {}
    matrix, classes = section.get("confusion") or (), section.get("classes") or ()
    if not matrix or len(classes) >= MANY_CLASSES:
        return ""
    names = [name if len(name) <= LONG_NAME else name[: LONG_NAME - 1] + "…" for name in classes]
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
    return _svg(draw, (side + 0.6, side))


def reliability(report: Section) -> str:
    """Stated confidence against accuracy with intervals, as SVG; empty without bins."""
    bins = (main_section(report) or {}).get("reliability") or ()
    if not bins:
        return ""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", label="perfect")
        for one in bins:
            low, high = one["accuracy"].get("low"), one["accuracy"].get("high")
            if low is not None and high is not None:
                axes.plot([one["confidence"]] * 2, [low, high], color=_INK, linewidth=1)
        most = max(one["num_examples"] for one in bins)
        axes.scatter(
            [one["confidence"] for one in bins],
            [one["accuracy"]["value"] for one in bins],
            s=[15 + 120 * one["num_examples"] / most for one in bins],
            color=_INK,
            label="accuracy; the larger, the more examples",
            zorder=3,
        )
        axes.set(xlabel="stated confidence", ylabel="accuracy", title="Can the probabilities be trusted?")
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
        # Below the axes: inside, every corner may hold an interval.
        axes.figure.legend(loc="outside lower center", ncols=2, frameon=False)

    return _svg(draw, (4.6, 4.7))


def _svg(draw: "Callable[[Axes], None]", inches: tuple[float, float]) -> str:
    """One plot as SVG text, the same bytes for the same numbers."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": "regraft",
        "text.parse_math": False,  # a `$` in a class name is a `$`
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue().decode()
