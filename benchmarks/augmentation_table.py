"""Stronger views and mixed states against neither, for partial fine-tuning at 4e, on two sets.

    .venv/bin/python benchmarks/augmentation_table.py [--budget-min 60] [--only-write]

Resumable: a cell that is done is not run again. Writes docs/results/augmentation.md.
"""

import numpy as np
from _cells import Cell, checkpoint_spec, make_table, shown
from _sets import ROOT

WAYS = {
    "default": ("default", 0.0),
    "strong": ("strong", 0.0),
    "default, mixup 0.2": ("default", 0.2),
    "strong, mixup 0.2": ("strong", 0.2),
}
"""Augmentation and mixup's alpha, by the row's name."""
DATA = ("hymenoptera", "plantvillage_tomato")
SEEDS = (0, 1, 2)
INPUT_PX = 64
PAGE = ROOT / "docs" / "results" / "augmentation.md"

INTRODUCTION = f"""Partial fine-tuning of GoogLeNet at 4e with the shared short checkpoint, {INPUT_PX} pixels, four
stored views, default options but for the augmentation and mixup of the states at the cut. Mean over the seeds named,
95 % bootstrap over test examples; `against default` is paired by example and seed. Runs have one thread each on a
machine that others used too, so seconds are left out. Made by `python benchmarks/augmentation_table.py`."""


def cells() -> list[Cell]:
    """In order of value: every way once, then the other seeds."""
    found = []
    for seed in SEEDS:
        for name, (augmentation, alpha) in WAYS.items():
            for data in DATA:
                arguments = ("--backbone", checkpoint_spec(), "--strategy", "partial", "--cut", "4e",
                             "--input-px", str(INPUT_PX), "--augmentation", augmentation,
                             "--set", f"options.mixup={alpha}")  # fmt: skip
                folder = name.replace(", ", "-").replace(" ", "-")
                found.append(Cell(table="augmentation", name=folder, data=data, seed=seed, arguments=arguments))
    return found


def page(found: list[Cell]) -> str:
    """The table as Markdown."""
    lines = [
        "# Stronger views and mixed states",
        "",
        INTRODUCTION,
        "",
        "| set | way | seeds | test accuracy | against default | gap train − test |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for data in DATA:
        plain = {cell.seed: cell for cell in _done(found, data, "default")}
        for name in WAYS:
            mine = {cell.seed: cell for cell in _done(found, data, name)}
            if not mine:
                lines.append(f"| {data} | {name} | not run | | | |")
                continue
            right, groups = np.mean([cell.right()[1] for cell in mine.values()], axis=0), next(iter(mine.values()))
            against = ""
            if both := sorted(mine.keys() & plain.keys()) if name != "default" else []:
                differences = [mine[seed].right()[1] - plain[seed].right()[1] for seed in both]
                against = shown(np.mean(differences, axis=0), groups.right()[2], signed=True)
            gap = np.mean([sum(g["accuracy"]["value"] for g in c.report()["gaps"]) for c in mine.values()])
            seeds = ", ".join(map(str, sorted(mine)))
            lines.append(f"| {data} | {name} | {seeds} | {shown(right, groups.right()[2])} | {against} | {gap:+.3f} |")
    return "\n".join(lines) + "\n"


def _done(found: list[Cell], data: str, name: str) -> list[Cell]:
    folder = name.replace(", ", "-").replace(" ", "-")
    return [cell for cell in found if cell.data == data and cell.name == folder and cell.done]


if __name__ == "__main__":
    make_table(cells(), page, PAGE, budget_min=60.0, description=__doc__)
