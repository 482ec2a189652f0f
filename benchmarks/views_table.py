"""Accuracy against the number of stored views, for partial fine-tuning at 4e, on two sets.

    .venv/bin/python benchmarks/views_table.py [--budget-min 40] [--only-write]

Views 1, 2, 4, 8, and `fresh`: a new view every epoch, the frozen part run anew. Writes docs/results/views.md.
"""

import numpy as np
from _cells import Cell, checkpoint_spec, make_table, shown
from _sets import ROOT

VIEWS = ("4", "fresh", "1", "2", "8")
DATA = ("hymenoptera", "plantvillage_tomato")
SEEDS = (0, 1, 2)
INPUT_PX = 64
PAGE = ROOT / "docs" / "results" / "views.md"

INTRODUCTION = f"""Partial fine-tuning of GoogLeNet at 4e with the shared short checkpoint, {INPUT_PX} pixels, default
options. `fresh` draws a new view every epoch and runs the frozen part anew. Mean over the seeds named, 95 % bootstrap
over test examples; `against fresh` is paired by example and seed. Made by `python benchmarks/views_table.py`."""


def cells() -> list[Cell]:
    """In order of value."""
    found = []
    for seed in SEEDS:
        for views in VIEWS:
            for data in DATA:
                arguments = ("--backbone", checkpoint_spec(), "--strategy", "partial", "--cut", "4e",
                             "--input-px", str(INPUT_PX), "--views", "0" if views == "fresh" else views)  # fmt: skip
                found.append(Cell(table="views", name=views, data=data, seed=seed, arguments=arguments))
    return found


def page(found: list[Cell]) -> str:
    """The table as Markdown."""
    lines = [
        "# Accuracy against the number of stored views",
        "",
        INTRODUCTION,
        "",
        "| set | views | seeds | test accuracy | against fresh | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for data in DATA:
        for views in ("1", "2", "4", "8", "fresh"):
            done = [cell for cell in found if cell.data == data and cell.name == views and cell.done]
            if not done:
                lines.append(f"| {data} | {views} | not run | | | |")
                continue
            right, groups = np.mean([cell.right()[1] for cell in done], axis=0), done[0].right()[2]
            seeds = {cell.seed for cell in done}
            fresh = [c for c in found if c.data == data and c.name == "fresh" and c.done and c.seed in seeds]
            against = ""
            if views != "fresh" and len(fresh) == len(done):
                against = shown(right - np.mean([cell.right()[1] for cell in fresh], axis=0), groups, signed=True)
            seconds = np.median([sum(p["seconds"] for p in cell.report()["phases"]) for cell in done])
            named = ", ".join(map(str, sorted(seeds)))
            lines.append(f"| {data} | {views} | {named} | {shown(right, groups)} | {against} | {seconds:.0f} |")
    return "\n".join([*lines, *pooled(found)]) + "\n"


def pooled(found: list[Cell]) -> list[str]:
    """The difference to fresh views over both sets together, every set weighing the same."""
    lines = ["", "Over both sets together, every set weighing the same, against fresh:", ""]
    for views in ("1", "2", "4", "8"):
        by_set = []
        for data in DATA:
            mine, fresh = (
                {cell.seed: cell for cell in found if cell.data == data and cell.name == name and cell.done}
                for name in (views, "fresh")
            )
            if seeds := sorted(mine.keys() & fresh.keys()):
                by_set.append(np.mean([mine[seed].right()[1] - fresh[seed].right()[1] for seed in seeds], axis=0))
        if len(by_set) == len(DATA):
            means = [differences.mean() for differences in by_set]
            random = np.random.default_rng(0)
            drawn = np.mean([random.choice(one, (2000, len(one))).mean(axis=1) for one in by_set], axis=0)
            low, high = np.quantile(drawn, [0.025, 0.975])
            lines.append(f"* {views} views: {np.mean(means):+.3f} [{low:+.3f}, {high:+.3f}]")
    return lines


if __name__ == "__main__":
    make_table(cells(), page, PAGE, budget_min=40.0, description=__doc__)
