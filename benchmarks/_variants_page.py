"""The pages of the table of variants: a few ways each, held against one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from _kept import Row
from _markdown import head, line, told
from _pooled import Table, shown
from _targets import DOMAINS
from _transfer_data import Found, complete, one, pooled, size, verdict
from _transfer_page import over_tasks
from _transfer_plot import differences
from _transfer_runs import Settings

TOLD = """Network: {backbone} (weights {weights}), input {px} pixels; the five tasks of [transfer.md](transfer.md),
which also says how training examples are drawn (`n` of every class) and how intervals are made: they draw seeds and
test examples, differences are paired over both. Tuned models get {steps} optimizer steps of at most 32 examples;
everything that a row does not name is the default of its preset, and all rows of an n share draws, order and test
examples. Made by `python benchmarks/variants_table.py {name}`."""

COLUMNS = """Log loss in nats, as `regraft fit` reports it: calibrated where there are validation examples to spare, so
not with few. `lower in` counts tasks and seeds in which it is lower than that of `{base}`. Gap: accuracy on the
training examples less that on the test part. Seconds of the whole command, one thread, two commands at a time: medians,
rough."""


@dataclass(frozen=True, kw_only=True)
class Variants:
    """What one page compares."""

    title: str
    """Its heading."""
    asked: str
    """What is asked, in a few sentences."""
    base: str
    """The way that the others are held against."""
    ways: tuple[str, ...]
    """The others."""
    sizes: tuple[int, ...]
    """Training examples of a class; 0: all."""


def page(name: str, of: Variants, found: Found, settings: Settings) -> str:
    """The page as Markdown."""
    text = told(TOLD, name=name, **{**vars(settings), "weights": settings.weights[:12]})
    plotted = [f"![accuracy less that of {of.base}](variants_{name}.svg)"]
    parts = [[f"# {of.title}"], [told(of.asked)], [text], _short(of, found), plotted, _means(of, found),
             _by_task(of, found)]  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def plot(of: Variants, found: Found) -> str:
    """Accuracy less the base's, as SVG: by task and in the mean, at every n."""
    labels, tables = [], dict[str, list[list[Table]]]((way, []) for way in of.ways)
    for n in of.sizes:
        labels += [f"{name}\nn {size(n)}" for name in ("mean", *(domain.split()[-1] for domain in DOMAINS.values()))]
        for way, places in tables.items():
            by_task = over_tasks(found, n, way, of.base)
            places += [complete(by_task), *(complete([table]) for table in by_task)]
    return differences(dict(tables), labels, f"accuracy less that of {of.base}")


def _short(of: Variants, found: Found) -> list[str]:
    """A bullet for every n: who is ahead, behind or level, by the interval of the mean over all tasks."""
    lines = []
    for n in of.sizes:
        said: dict[str, list[str]] = {}
        for way in of.ways:
            tables = over_tasks(found, n, way, of.base)
            if word := verdict(tables):
                said.setdefault(word, []).append(f"`{way}` {pooled(tables)}")
        if said:
            words = "; ".join(f"{word}: {', '.join(said[word])}" for word in ("ahead", "level", "behind")
                              if word in said)  # fmt: skip
            every = "all examples" if n == 0 else f"{n} examples a class"
            lines.append(told(f"* **{every}**, accuracy against `{of.base}`, mean over the tasks: {words}."))
    return ["## In short", "", *lines] if lines else []


def _means(of: Variants, found: Found) -> list[str]:
    columns = ("n", "way", "seeds", "accuracy", f"less {of.base}", "log loss", "lower in", "gap", "seconds")
    lines = ["## Means over the tasks", "", told(COLUMNS, base=of.base), "", *head(*columns)]
    for n in of.sizes:
        for way in (of.base, *of.ways):
            rows = {data: found.rows(data, n, way) for data in DOMAINS}
            if not all(rows.values()):
                lines.append(line(size(n), way, "not run", *[""] * 6))
                continue
            tables = [table for data in DOMAINS if (table := found.table(data, n, way)) is not None]
            flat = [row for some in rows.values() for row in some]
            lines.append(line(size(n), way, min(map(len, rows.values())), shown(tables),
                              "" if way == of.base else pooled(over_tasks(found, n, way, of.base)),
                              f"{_mean(rows.values(), 'log_loss'):.3f}",
                              "" if way == of.base else _lower(found, n, way, of.base),
                              f"{_mean(rows.values(), 'gap'):+.3f}",
                              f"{np.median([row['wall'] for row in flat]):.0f}"))  # fmt: skip
    return lines


def _mean(by_task: Sequence[Sequence[Row]], figure: str) -> float:
    """Every task weighs the same."""
    return float(np.mean([np.mean([row[figure] for row in rows]) for rows in by_task]))


def _lower(found: Found, n: int, way: str, base: str) -> str:
    """In how many of the pairs of a task and a seed the log loss is lower than the base's."""
    pairs = []
    for data in DOMAINS:
        mine, theirs = ({row["seed"]: row["log_loss"] for row in found.rows(data, n, name)} for name in (way, base))
        pairs += [mine[seed] < theirs[seed] for seed in mine.keys() & theirs.keys()]
    return f"{sum(pairs)} of {len(pairs)}"


def _by_task(of: Variants, found: Found) -> list[str]:
    lines = ["## Task by task", "", f"Accuracy less that of `{of.base}`.", "",
             *head("set", "n", of.base, *of.ways)]  # fmt: skip
    for data in DOMAINS:
        for n in of.sizes:
            cells = [one(found.against(data, n, (way, ""), (of.base, ""))) for way in of.ways]
            lines.append(line(data, size(n), one(found.table(data, n, of.base), signed=False), *cells))
    return lines
