"""The plots of the tables of transfer, as SVG."""

import io
from collections.abc import Sequence
from typing import Any

from _pooled import Table
from _targets import DOMAINS
from _transfer_answers import MAIN_SIZES, PRETRAINED
from _transfer_data import Found, size
from _transfer_page import SIZES, WAYS, ends_of

COLOURS = {"probe": "#20639b", "partial": "#3caea3", "full": "#d1603d", "lp_ft": "#8e5ea2", "scratch": "#777777"}
SHADES = ("#20639b", "#d1603d", "#3caea3", "#8e5ea2")
"""Where some ways have no colour of their own."""
MARKS = {"probe": "o", "partial": "s", "full": "D", "lp_ft": "^", "scratch": "x"}


def curves(found: Found) -> str:
    """Accuracy by examples per class: a panel for every set, a line for every way."""
    figure = _figure(10.5, 6.6)
    grid = [figure.add_subplot(2, 3, at + 1) for at in range(len(DOMAINS))]
    for axes, (data, domain) in zip(grid, DOMAINS.items(), strict=True):
        for number, way in enumerate(WAYS):
            places, points = [], []
            for at, n in enumerate(SIZES):
                table = found.table(data, n, way)
                if table is not None:
                    places.append(at + 0.08 * (number - 2))
                    points.append(ends_of([table]))
            _points(axes, places, points, way, line="-")
        axes.set_xticks(range(len(SIZES)), [size(n) for n in SIZES])
        axes.set_title(f"{data}\n{domain}", fontsize=10)
        axes.set_xlabel("training examples per class")
        axes.grid(axis="y", color="0.9", linewidth=0.6)
    for axes in (grid[0], grid[3]):
        axes.set_ylabel("test accuracy")
    marks = max((axes.get_legend_handles_labels() for axes in grid), key=lambda one: len(one[0]))
    corner = figure.add_subplot(2, 3, 6)
    corner.axis("off")
    if marks[0]:
        corner.legend(
            *marks, frameon=False, loc="center left", title="bars: 95 % intervals, where\nthere are enough groups"
        )
    return _text(figure)


def gains(found: Found) -> str:
    """The gain of pretraining by domain: a panel for every pretrained way, three sizes and their mean."""
    figure = _figure(10.5, 3.8)
    names = list(DOMAINS)
    first = None
    for at, way in enumerate(PRETRAINED):
        axes = figure.add_subplot(1, len(PRETRAINED), at + 1, sharey=first)
        first = first or axes
        for number, n in enumerate(MAIN_SIZES):
            tables = [found.against(data, n, (way, ""), ("scratch", "")) for data in names]
            there = [place for place, table in enumerate(tables) if table is not None]
            points = [ends_of([table]) for table in tables if table is not None]
            shade = ("#9ecae1", "#4292c6", "#08306b")[number]
            _points(
                axes,
                [place + 0.2 * (number - 1) for place in there],
                points,
                f"{size(n)} per class" if n else "all",
                colour=shade,
            )
        axes.axhline(0, color="0.5", linewidth=0.8)
        axes.set_xticks(range(len(names)), [DOMAINS[name].replace(" ", "\n", 1) for name in names], fontsize=8)
        axes.set_title(f"{way} − scratch", fontsize=10)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.margins(x=0.08)
    if first is not None:
        first.set_ylabel("gain in accuracy")
        if first.get_legend_handles_labels()[0]:
            figure.legend(*first.get_legend_handles_labels(), frameon=False, ncols=3, loc="outside lower center")
    return _text(figure)


def differences(tables: dict[str, Sequence[Sequence[Table]]], labels: Sequence[str], what: str) -> str:
    """Paired differences by comparison: a series for every way, at the place of every label the mean of its tables."""
    figure = _figure(max(7.5, 1.0 + 0.9 * len(labels)), 3.8)
    axes = figure.add_subplot(1, 1, 1)
    own = tables.keys() <= COLOURS.keys()
    for number, (name, row) in enumerate(tables.items()):
        there = [at for at, some in enumerate(row) if some]
        points = [ends_of(some) for some in row if some]
        places = [at + 0.15 * (number - (len(tables) - 1) / 2) for at in there]
        _points(axes, places, points, name, colour=COLOURS[name] if own else SHADES[number % len(SHADES)])
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel(what)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.margins(x=0.12)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")
    return _text(figure)


def _points(axes: Any, places: Sequence[float], points: Sequence[Any], name: str, *, line: str = "",
            colour: str = "") -> None:  # fmt: skip
    if not points:
        return
    means, lows, highs = zip(*points, strict=True)
    below = [max(0.0, mean - low) for mean, low in zip(means, lows, strict=True)]
    above = [max(0.0, high - mean) for mean, high in zip(means, highs, strict=True)]
    axes.errorbar(places, means, [below, above], fmt=f"{MARKS.get(name, 'o')}{line}", color=colour or COLOURS[name],
                  label=name, capsize=2, markersize=4, linewidth=1.2, elinewidth=0.9)  # fmt: skip


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _text(figure: Any) -> str:
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "regraft", "svg.fonttype": "none"}):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
