"""Seconds that a fit predicts before the work, against those that the work took.

    .venv/bin/python benchmarks/plan_table.py [--minutes 30]

Each case is one `regraft fit` with an empty cache, one thread and no early stopping. Its `Plan` events say, after one
timed batch, what filling the store and training will take; the report says what they took, in CPU seconds and by the
clock. Says first what is left and about how long it takes; finished cases are kept under `runs/plan` and not run again.
Writes docs/results/plan.md, where cases that were not run are marked as such.
"""

import argparse
import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

from _sets import ROOT, SETS

from regraft.activations.openvino import processor
from regraft.reports.report import Report, read_report
from regraft.words import duration, table
from regraft.workbench.run import open_run

RUNS, PAGE = ROOT / "runs" / "plan", ROOT / "docs" / "results" / "plan.md"
RECIPES = (
    ("googlenet", "partial", 60), ("mobilenet_v3_small", "full", 120), ("googlenet", "lora", 90),
    ("mobilenet_v3_small", "partial", 40), ("googlenet", "gradual", 90),
)  # fmt: skip
"""Backbone, strategy, and about how many CPU seconds a case takes."""
CASES = [(name, *recipe) for recipe, name in product(RECIPES, ("hymenoptera", "plantvillage_tomato"))]
COMMON = ("--input-px", "96", "--set", "threads=1", "--set", "options.patience=0", "--set", "options.epochs=10",
          "--set", "options.min_steps=0")  # fmt: skip
PHASES = ("activations", "training")
WITHIN = 1.5


def folder_of(case: tuple[str, str, str, int]) -> Path:
    """Where a case's run lies."""
    return RUNS / "-".join(case[:3])


def report_of(case: tuple[str, str, str, int]) -> Report | None:
    """What a case found; None where it was not run."""
    return read_report(folder_of(case)) if (folder_of(case) / "report.json").is_file() else None


def run(minutes: float) -> None:
    """Run what is not there yet, as long as there is time."""
    left = [case for case in CASES if report_of(case) is None]
    print(f"{len(left)} cases left, about {duration(sum(case[-1] for case in left))}; {minutes:g} minutes are given")
    end = time.monotonic() + 60 * minutes
    for case in left:
        name, backbone, strategy, seconds = case
        if time.monotonic() + seconds > end:
            print("no time for", *case[:3])
            continue
        of, cache = SETS[name], RUNS / "cache" / "-".join(case[:3])
        command = ["fit", str(of.open()), "--backbone", backbone, "--strategy", strategy, "--out", str(folder_of(case)),
                   *COMMON]  # fmt: skip
        print("regraft", *command, flush=True)
        environment = {**os.environ, "REGRAFT_CACHE": str(cache)}
        subprocess.run([sys.executable, "-m", "regraft", *command], check=True, env=environment)


def row_of(case: tuple[str, str, str, int]) -> tuple[list[str], float | None]:
    """A case's row, and predicted by measured CPU seconds."""
    report, title = report_of(case), [case[0], case[1], case[2]]
    if report is None:
        return [*title, "not run", "", "", ""], None
    planned = {one["phase"]: one["seconds"] for one in open_run(folder_of(case)).events() if one["type"] == "Plan"}
    spent = {one.name: one for one in report.phases}
    cpu, wall = (sum(getattr(spent[name], kind) for name in PHASES) for kind in ("cpu_seconds", "seconds"))
    predicted = sum(planned.get(name) or 0.0 for name in PHASES)
    shown = [f"{predicted:.1f}", f"{cpu:.1f}", f"{wall:.1f}", f"{predicted / cpu:.2f}"]
    return [*title, *shown], predicted / cpu


def write() -> None:
    """Write the page."""
    found = [row_of(case) for case in CASES]
    ratios = [ratio for _, ratio in found if ratio is not None]
    near = sum(1 / WITHIN <= ratio <= WITHIN for ratio in ratios)
    header = ["data", "backbone", "strategy", "predicted, s", "CPU, s", "clock, s", "predicted / CPU"]
    text = f"""# Predicted and measured time

Made by `python benchmarks/plan_table.py` on {processor()[0]}. Each row is one `regraft fit` at 96 pixels with an empty
cache: ten epochs, one thread, no early stopping. Predicted are the seconds of the two `Plan` events, said after the
first batches were timed: filling the store, and training with its validation. Beside them stand CPU time and wall-clock
time of these phases.

{table(header, [row for row, _ in found])}

{near} of {len(ratios)} predictions are within a factor of {WITHIN:g} of the CPU time; {len(CASES) - len(ratios)} cases
were not run.
"""
    PAGE.write_text(text, encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    run(parser.parse_args().minutes)
    write()
