"""A summary of the table of transfer, in a few sentences computed from its rows."""

from collections.abc import Sequence

import numpy as np
from _pooled import Table, interval, shown
from _targets import DOMAINS
from _transfer_data import Found, complete, size

MAIN_SIZES = (10, 50, 0)
"""Training examples per class at which every strategy is run; 0: all."""
PRETRAINED = ("probe", "full")
"""The strategies that are compared with training from scratch, fixed beforehand."""
PHOTOGRAPHIC = ("hymenoptera", "plantvillage_tomato")


def answers(found: Found) -> list[str]:
    """Bullets; what cannot be said yet is left out."""
    lines = []
    for way in PRETRAINED:
        means = {n: _all_tasks(found, n, way, "scratch") for n in MAIN_SIZES}
        if said := _by_size(means):
            others = [size(n) for n, tables in means.items() if tables and not _positive(tables)]
            ends = f"Not significant for n {', '.join(others)}" if others else "All are significant"
            lines.append(f"**Pretrained against scratch**, {way}, mean over the tasks: {said}. {ends}.")
    for way in PRETRAINED:
        cells = [found.against(data, n, (way, ""), ("scratch", "")) for data in PHOTOGRAPHIC for n in MAIN_SIZES[1:]]
        if known := [table for table in cells if table is not None]:
            above, clear = sum(table.mean > 0 for table in known), sum(_positive([table]) for table in known)
            lines.append(f"On the photographic tasks, with 50 examples per class and with all, {way} is more "
                         f"accurate than scratch in {above} of {len(known)} cells, "
                         f"{clear} of them significantly.")  # fmt: skip
    for way in ("full", "partial"):
        if said := _by_size({n: _all_tasks(found, n, way, "probe") for n in MAIN_SIZES}):
            lines += [f"**Fine-tuning against frozen features**, {way} minus probe, mean over the tasks: {said}."]
    if said := _by_size({n: _gaps(found, n) for n in MAIN_SIZES}):
        lines.append(f"**Overfitting**: gap of full fine-tuning minus that of the probe, mean over the tasks: {said}.")
    if said := _cost(found):
        lines.append(f"**Cost**: {said}.")
    if said := _domains(found):
        lines.append(f"**Domain**: {said}.")
    return [f"* {text}" for text in lines]


def _all_tasks(found: Found, n: int, way: str, other: str) -> list[Table]:
    """The paired differences by task; empty unless every task has one."""
    return complete([found.against(data, n, (way, ""), (other, "")) for data in DOMAINS])


def _gaps(found: Found, n: int) -> list[Table]:
    return complete([found.gap_against(data, n, "full", "probe") for data in DOMAINS])


def _by_size(tables: dict[int, list[Table]]) -> str:
    return ", ".join(f"{shown(some, signed=True)} (n {size(n)})" for n, some in tables.items() if some)


def _positive(tables: Sequence[Table]) -> bool:
    ends = interval(tables)
    return ends is not None and ends[0] > 0


def _cost(found: Found) -> str:
    ratios: dict[bool, list[float]] = {False: [], True: []}
    for data in DOMAINS:
        rows = found.rows(data, 0, "full")
        for cached, some in ratios.items():
            if rows and (cost := found.costs.get((data, cached))):
                some.append(float(np.median([row["wall"] for row in rows])) / cost[0])
    if not ratios[False] or not ratios[True]:
        return ""
    return (f"on all examples full fine-tuning takes {np.median(ratios[False]):.0f} times the wall-clock time of a "
            f"probe with an empty cache, {np.median(ratios[True]):.0f} times that of a cached one (medians over the "
            f"datasets)")  # fmt: skip


def _domains(found: Found) -> str:
    told = []
    for way in PRETRAINED:
        gains = [[found.against(data, n, (way, ""), ("scratch", "")) for n in MAIN_SIZES] for data in DOMAINS]
        if all(table is not None for some in gains for table in some):
            means = [np.mean([table.mean for table in some if table is not None]) for some in gains]
            told.append(f"{way} " + ", ".join(f"{gain:+.3f} ({DOMAINS[name]})"
                                               for name, gain in zip(DOMAINS, means, strict=True)))  # fmt: skip
    return f"gain over scratch, mean over n: {'; '.join(told)}" if told else ""
