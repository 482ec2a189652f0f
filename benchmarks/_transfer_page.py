"""The page of the table of transfer."""

from collections.abc import Sequence

import numpy as np
from _kept import Row
from _markdown import head, line, told
from _pooled import Table, interval, shown
from _targets import DOMAINS
from _transfer_answers import MAIN_SIZES, PRETRAINED, answers
from _transfer_data import Found, one, pooled, size, verdict
from _transfer_runs import Settings

WAYS = ("probe", "partial", "full", "lp_ft", "scratch")
TUNED = ("partial", "full", "lp_ft")
SIZES = (5, 10, 20, 50, 0)
TOLD = """Network: {backbone} (weights {weights}); `scratch` is the same architecture, {architecture}, from random
weights. Input {px} pixels. Tuned models get {steps} optimizer steps of at most 32 examples, `scratch` {scratch_steps};
everything else is the default of its preset. `n` training examples of every class are drawn by the seed, from as many
patients as there are, a larger draw holding the smaller; all ways share them, and the test part is the same for all.
The seed also decides first values, order and views. Where a set or a draw has fifty validation examples or more to
spare, tuned models stop early by them, as `regraft fit` does; they are taken from the n. Every run is one `regraft fit`
in a process of its own with one thread. Made by `python benchmarks/transfer_table.py`.

Intervals are 95 % percentile bootstraps that draw seeds and test examples (patients, where there are patients)
independently of each other; differences are paired over both. Means over tasks give every task the same weight and draw
inside every task; `tasks drawn too` also draws the tasks, for what other tasks like these would show. breast_histology
has five patients in its test part, too few for an interval of its own; inside means they are drawn like others. `level`
means that the interval holds zero.

Three seeds were run of every way. Seeds 3 and 4 of probe, full and scratch were added to all sets and sizes
(`--seeds 5 --ways probe full scratch`) after the first three had been looked at: the mean over tasks of full less
scratch, on all examples, then was +0.039 [-0.001, +0.078]."""

COSTS = """Seconds of the whole command `regraft fit` on all training examples, starting Python, loading the network,
evaluation and report included; in brackets CPU seconds. `empty cache`: every picture goes through the frozen part,
which is exported first; `cached`: a second fit on the same pictures. One thread each; both probes ran alone, the others
two at a time and with several seeds, of which the median stands here, so seconds are rough. A tuned model's command
solves the probe beside it as well."""


def page(found: Found, settings: Settings) -> str:
    """The page as Markdown."""
    text = told(TOLD, **{**vars(settings), "weights": settings.weights[:12]})
    said = answers(found)
    parts = [
        ["# What transfer gives: five tasks, five ways, five sizes", "", text],
        *([["## In short", "", *said]] if said else []),
        ["![accuracy by examples a class](transfer_curves.svg)"],
        _scratch(found), _catching_up(found), _gaps(found), _cost(found), _domains(found), _all(found),
    ]  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def over_tasks(found: Found, n: int, way: str, other: str) -> list[Table | None]:
    """The paired differences of two ways at one n, by task."""
    return [found.against(data, n, (way, ""), (other, "")) for data in DOMAINS]


def _scratch(found: Found) -> list[str]:
    lines = ["## Pretrained against scratch", "",
             "Accuracy less that of training from scratch, on the same draws and test examples.", "",
             *head("tasks", "n", *(f"{way} − scratch" for way in PRETRAINED),
                   *(f"{way}, tasks drawn too" for way in PRETRAINED))]  # fmt: skip
    for n in MAIN_SIZES:
        tables = [over_tasks(found, n, way, "scratch") for way in PRETRAINED]
        lines.append(line("mean", size(n), *map(pooled, tables), *(pooled(some, tasks_too=True) for some in tables)))
    for data in DOMAINS:
        for n in MAIN_SIZES:
            cells = [one(found.against(data, n, (way, ""), ("scratch", ""))) for way in PRETRAINED]
            lines.append(line(data, size(n), *cells, "", ""))
    return lines


def _catching_up(found: Found) -> list[str]:
    lines = ["## Where fine-tuning passes the frozen features", "",
             "Accuracy less the probe's.", "", *head("tasks", "n", *(f"{way} − probe" for way in TUNED))]  # fmt: skip
    for n in SIZES:
        tables = [over_tasks(found, n, way, "probe") for way in TUNED]
        lines.append(line("mean", size(n), *(pooled(some) if _planned(way, n) else ""
                                             for way, some in zip(TUNED, tables, strict=True))))  # fmt: skip
    for data in DOMAINS:
        for n in SIZES:
            tables = [found.against(data, n, (way, ""), ("probe", "")) for way in TUNED]
            lines.append(line(data, size(n), *(one(table) if table or _planned(way, n) else ""
                                               for way, table in zip(TUNED, tables, strict=True))))  # fmt: skip
    lines += ["", "By the intervals, with the n at which it is so:", ""]
    for data in DOMAINS:
        said = [f"{way} {words}" for way in TUNED if (words := _told(found, data, way))]
        if said:
            lines.append(f"* {data}: {'; '.join(said)}")
    return lines


def _planned(way: str, n: int) -> bool:
    return n in MAIN_SIZES or way in ("probe", "partial")


def _told(found: Found, data: str, way: str) -> str:
    """`behind (5, 10), level (20), ahead (all)`; empty without an interval."""
    sizes: dict[str, list[str]] = {}
    for n in SIZES:
        if said := verdict([found.against(data, n, (way, ""), ("probe", ""))]):
            sizes.setdefault(said, []).append(size(n))
    return ", ".join(f"{said} ({', '.join(some)})" for said, some in sizes.items())


def _gaps(found: Found) -> list[str]:
    lines = ["## Overfitting: accuracy on the training examples less that on the test part", "",
             "Mean over the tasks; the interval draws seeds and test examples.", "", *head("n", *WAYS)]  # fmt: skip
    for n in SIZES:
        cells = []
        for way in WAYS:
            tables = [table for data in DOMAINS if (table := found.gap(data, n, way)) is not None]
            some = "" if len(tables) in (0, len(DOMAINS)) else f" ({len(tables)} of {len(DOMAINS)} tasks)"
            cells.append(f"{shown(tables, signed=True)}{some}" if _planned(way, n) else "")
        lines.append(line(size(n), *cells))
    return lines


def _cost(found: Found) -> list[str]:
    columns = ["probe, empty cache", "probe, cached", *TUNED, "scratch"]
    ratios = [f"full ÷ {name}" for name in columns[:2]]
    lines = ["## What it costs", "", COSTS, "", *head("set", *columns, *ratios)]
    for data in DOMAINS:
        probes = [found.costs.get((data, cached)) for cached in (False, True)]
        tuned = {way: _median(found.rows(data, 0, way)) for way in (*TUNED, "scratch")}
        full = tuned["full"]
        times = [f"{full[0] / cost[0]:.1f}" if full and cost else "not run" for cost in probes]
        lines.append(line(data, *map(_seconds, (*probes, *tuned.values())), *times))
    return lines


def _median(rows: Sequence[Row]) -> tuple[float, float] | None:
    return (float(np.median([row["wall"] for row in rows])), float(np.median([row["cpu"] for row in rows]))) \
        if rows else None  # fmt: skip


def _seconds(cost: tuple[float, float] | None) -> str:
    return f"{cost[0]:.0f} ({cost[1]:.0f})" if cost else "not run"


def _domains(found: Found) -> list[str]:
    lines = ["## The gain by domain", "",
             "Accuracy less that of training from scratch, mean over n of 10, 50 and all.", "",
             *head("set", "domain", *(f"{way} − scratch" for way in PRETRAINED))]  # fmt: skip
    for data, domain in DOMAINS.items():
        cells = []
        for way in PRETRAINED:
            tables = [found.against(data, n, (way, ""), ("scratch", "")) for n in MAIN_SIZES]
            some = [table for table in tables if table is not None]
            cells.append(shown(some, signed=True) + ("" if len(some) in (0, len(tables)) else " (not all n)"))
        lines.append(line(data, domain, *cells))
    return [*lines, "", "![gain of pretraining by domain](transfer_gain.svg)"]


def _all(found: Found) -> list[str]:
    columns = ("set", "n", "way", "seeds", "test accuracy", "gap train − test", "seconds", "peak memory")
    lines = ["## Every cell", "", *head(*columns)]
    for data in DOMAINS:
        for n in SIZES:
            for way in (way for way in WAYS if _planned(way, n)):
                rows = found.rows(data, n, way)
                if not rows:
                    lines.append(line(data, size(n), way, "not run", "", "", "", ""))
                    continue
                seconds, memory = np.median([row["wall"] for row in rows]), max(row["peak"] or 0 for row in rows)
                gap = np.mean([row["gap"] for row in rows])
                lines.append(line(data, size(n), way, len(rows), one(found.table(data, n, way), signed=False),
                                  f"{gap:+.3f}", f"{seconds:.0f}", f"{memory / 2**20:.0f} MiB"))  # fmt: skip
    return lines


def ends_of(tables: Sequence[Table]) -> tuple[float, float, float] | None:
    """Mean and both ends, for a plot; without an interval both ends are the mean; None without tables."""
    if not tables:
        return None
    mean = float(np.mean([table.mean for table in tables]))
    low, high = interval(tables) or (mean, mean)
    return mean, low, high
