"""Progress of a job from its event log: phase, remaining time, notices, and training curves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import floor, log10
from pathlib import Path
from typing import Any

from regraft.words import counted, duration

WIDTH, HEIGHT, LEFT, FOOT = 520, 200, 72, 24


@dataclass
class Live:
    """Progress of a job."""

    phase: str = ""
    done: int = 0
    total: int = 0
    left: str = ""
    """Remaining time of the phase, for display."""
    whole: str = ""
    """How far the job of several runs is, which the phase is a part of, for display."""
    notices: list[str] = field(default_factory=list)
    epochs: list[Mapping[str, float]] = field(default_factory=list)
    """Measurements at the ends of epochs, with `step`."""

    @property
    def charts(self) -> list[tuple[str, str, str]]:
        """Return the charts: title, SVG, and a description in words. Losses share a chart; every other metric has its
        own."""
        names = list(dict.fromkeys(name for one in self.epochs for name in one if name not in ("step", "lr")))
        losses = [name for name in names if "loss" in name]
        made = []
        for title, group in [("Loss", losses), *((_title(name), [name]) for name in names if name not in losses)]:
            curves = {name: [(one["step"], one[name]) for one in self.epochs if name in one] for name in group}
            curves = {name: points for name, points in curves.items() if len(points) > 1}
            if curves:
                told = "; ".join(f"{_title(name)} {points[-1][1]:.4g}" for name, points in curves.items())
                made.append((title, chart(curves), f"{title} by training step; now: {told}"))
        return made


def live(path: Path) -> Live:
    """Read the event log at `path`; an incomplete last line is ignored."""
    found = Live()
    if not path.is_file():
        return found
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                _add(found, json.loads(line))
    return found


def _add(found: Live, event: Mapping[str, Any]) -> None:
    if event["type"] == "Notice" and event["text"] not in found.notices:
        found.notices.append(event["text"])
    elif event["type"] == "Progress":
        rest = event["seconds_left"]
        left = "" if rest is None or event["done"] >= event["total"] else f"{duration(rest)} left"
        if event["phase"] == "sweep":
            found.whole = f"{event['done']} of {counted(event['total'], 'run')} done" + (left and f", {left}")
            return
        found.phase, found.done, found.total, found.left = event["phase"], event["done"], event["total"], left
        if event["phase"] == "training" and event["facts"]:
            if found.epochs and event["done"] <= found.epochs[-1]["step"]:  # another training has started
                found.epochs = [one for one in found.epochs if one["step"] < event["done"]]
            found.epochs.append({"step": event["done"], **event["facts"]})


def chart(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw curves over steps as SVG, in the colours of the page."""
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in curves.values() for _, y in points if y is not None]
    low, high, end = min(ys), max(ys), max(xs)
    span = high - low or abs(high) or 1.0
    places = max(0, 1 - floor(log10(span)))

    def at(x: float, y: float) -> str:
        right = LEFT + (WIDTH - LEFT - 8) * x / end
        return f"{right:.1f},{14 + (HEIGHT - FOOT - 24) * (high - y) / span:.1f}"

    drawn = []
    for level in (low, (low + high) / 2, high):
        place = at(0, level).partition(",")[2]
        drawn.append(f'<path class="grid" d="M{LEFT},{place}H{WIDTH - 8}"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{place}" dy="4" text-anchor="end">{level:.{places}f}</text>')
    drawn.append(f'<text x="{WIDTH - 8}" y="{HEIGHT - 6}" text-anchor="end">step {end:g}</text>')
    for number, (name, points) in enumerate(curves.items()):
        colour, dash = f"var(--curve-{number % 3})", ("", "6 3", "2 3")[number % 3]
        line = " ".join(at(x, y) for x, y in points if y is not None)
        drawn.append(f'<polyline points="{line}" style="stroke: {colour}" stroke-dasharray="{dash}"/>')
        drawn.append(
            f'<text x="{LEFT + 4 + 130 * number}" y="{HEIGHT - 6}"><tspan style="fill: {colour}">━ </tspan>'
            f"{escape(_title(name))}</text>"
        )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" class="chart" aria-hidden="true">{"".join(drawn)}</svg>'


def _title(name: str) -> str:
    words = {"loss": "train loss", "val_loss": "val loss"}.get(name, name.replace("_", " "))
    return words if name in ("loss", "val_loss") else words[:1].upper() + words[1:]
