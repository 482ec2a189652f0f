"""Four real sets by five strategies and three seeds, with the shared short checkpoint, at 64 pixels.

    .venv/bin/python benchmarks/core_table.py [--budget-min 120] [--only-write]

Resumable: a cell that is done is not run again. Writes docs/results/core.md.
"""

from collections.abc import Sequence

import numpy as np
from _cells import Cell, checkpoint_spec, make_table, shown
from _sets import ROOT, SETS

STRATEGIES = ("probe", "partial", "lp_ft", "full", "scratch")
CHEAP = ("probe", "partial", "gradual", "lora")
SEEDS = (0, 1, 2)
STEPS = 150
INPUT_PX = 64
PAGE = ROOT / "docs" / "results" / "core.md"

INTRODUCTION = f"""GoogLeNet (torchvision's network) with the shared short checkpoint; `scratch` from random weights.
Input {INPUT_PX} pixels; tuned models get {STEPS} optimizer steps of 32 examples, everything else is the default. The
test parts are the sets' own. Accuracy is the mean over the seeds named; the interval is a 95 % bootstrap over test
examples of that mean (over patients where there are patients: breast_histology has five in its test part, too few for
an interval). `against the probe` is the paired difference on the same examples and seeds. Runs have
one thread each and went two at a time, so seconds are rough. Made by `python benchmarks/core_table.py`."""


def cells(strategies: Sequence[str] = STRATEGIES, table: str = "core") -> list[Cell]:
    """In order of value: what is cheap with all seeds first, then one seed of what is dear on every set."""
    found = []
    cheap = [(seed, strategy) for seed in SEEDS for strategy in strategies if strategy in CHEAP]
    dear = [(seed, strategy) for seed in SEEDS for strategy in strategies if strategy not in CHEAP]
    for seed, strategy in cheap + dear:
        for data in SETS:
            spec = "googlenet:torchvision@random" if strategy == "scratch" else checkpoint_spec()
            arguments = ["--backbone", spec, "--strategy", strategy, "--input-px", str(INPUT_PX)]
            if strategy in CHEAP and strategy != "probe":
                arguments += ["--cut", "4e"]
            if strategy != "probe":
                arguments += ["--set", f"options.min_steps={STEPS}", "--set", "options.epochs=1"]
            found.append(Cell(table=table, name=strategy, data=data, seed=seed, arguments=tuple(arguments)))
    return found


def page(
    found: Sequence[Cell],
    strategies: Sequence[str] = STRATEGIES,
    title: str = "Four real sets, five strategies",
    introduction: str = INTRODUCTION,
) -> str:
    """The table as Markdown."""
    lines = [
        f"# {title}",
        "",
        introduction,
        "",
        "| set | strategy | seeds | test accuracy | against the probe | gap train − test | seconds | peak memory |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data in SETS:
        for strategy in strategies:
            mine = [cell for cell in found if cell.data == data and cell.name == strategy]
            done = [cell for cell in mine if cell.done]
            if not done:
                lines.append(f"| {data} | {strategy} | not run | | | | | |")
                continue
            right = np.mean([cell.right()[1] for cell in done], axis=0)
            groups = done[0].right()[2]
            probes = [other for other in found if other.data == data and other.name == "probe" and other.done
                      and other.seed in {cell.seed for cell in done}]  # fmt: skip
            against = ""
            if strategy != "probe" and len(probes) == len(done):
                against = shown(right - np.mean([cell.right()[1] for cell in probes], axis=0), groups, signed=True)
            reports = [cell.report() for cell in done]
            gap = np.mean([sum(g["worse_by"]["value"] for g in r["gaps"]) for r in reports])
            seconds = np.median([sum(p["seconds"] for p in r["phases"]) for r in reports])
            memory = max(r["peak_memory_bytes"] or 0 for r in reports) / 2**20
            seeds = ", ".join(str(cell.seed) for cell in done)
            mark = "" if len(done) == len(mine) else " (not all run)"
            lines.append(f"| {data} | {strategy} | {seeds}{mark} | {shown(right, groups)} | {against} | {gap:+.3f} | "
                         f"{seconds:.0f} | {memory:.0f} MiB |")  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    make_table(cells(), page, PAGE, budget_min=120.0, description=__doc__)
