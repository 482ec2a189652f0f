"""Cells of a table: one `regraft fit` each, in a process of its own; kept, so that a table resumes."""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _sets import CHECKPOINT, ROOT, SETS, UNPACKED

from regraft.evaluation.intervals import MIN_GROUPS


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run."""

    table: str
    """Folder of the table under `runs/`."""
    name: str
    """What differs between rows: a strategy, or a number of views."""
    data: str
    """Name of the data set."""
    seed: int
    """The run's seed."""
    arguments: tuple[str, ...]
    """Arguments of `regraft fit` after the data."""

    @property
    def path(self) -> Path:
        """The run's folder."""
        return ROOT / "runs" / self.table / self.data / f"{self.name}-{self.seed}"

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return (self.path / "report.json").is_file()

    def run(self, *, timeout_s: float) -> bool:
        """Run the cell, going on where it was; False where it failed or took too long."""
        chosen = SETS[self.data]
        command = [sys.executable, "-m", "regraft", "fit", str(chosen.open()), "--out", str(self.path), "--quiet",
                   "--seed", str(self.seed), "--set", "threads=1", *self.arguments]  # fmt: skip
        for setting in chosen.settings:
            command += ["--set", setting]
        if (self.path / "begun.json").is_file():
            command.append("--resume")
        try:
            one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s, check=False, env=one_thread
            )
        except subprocess.TimeoutExpired:
            return False
        if done.returncode:
            sys.stderr.write(f"{self.data} {self.name} {self.seed}: {done.stderr[-500:]}\n")
        return done.returncode == 0

    def report(self) -> dict:
        """What the run's report.json holds."""
        return json.loads((self.path / "report.json").read_text())

    def right(self) -> tuple[list[str], np.ndarray, list[str]]:
        """Ids, whether each test example was predicted right, and its group."""
        return right_in(self.path)


def right_in(run: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """Ids of a run's test examples, in order, whether each was predicted right, and its group."""
    with (run / "predictions.csv").open(newline="") as file:
        rows = sorted((row for row in csv.DictReader(file) if row["part"] == "test"), key=lambda row: row["id"])
    right = np.array([row["label"] == row["predicted"] for row in rows], dtype=float)
    return [row["id"] for row in rows], right, [row["group"] or row["id"] for row in rows]


def checkpoint_spec(architecture: str = "googlenet:torchvision") -> str:
    """The shared short checkpoint as a backbone."""
    return f"{architecture}@file:{CHECKPOINT}"


def run_in_order(cells: Sequence[Cell], *, budget_s: float, cell_timeout_s: float, jobs: int) -> None:
    """Run what is not done, in order, `jobs` at a time, until the budget is spent; prints the estimate first and
    progress after each."""
    UNPACKED.mkdir(parents=True, exist_ok=True)
    for chosen in {cell.data for cell in cells}:
        SETS[chosen].open()
    todo = [cell for cell in cells if not cell.done]
    spent = [sum(p["seconds"] for p in cell.report()["phases"]) for cell in cells if cell.done]
    known = f"{np.median(spent):.0f} s a cell so far" if spent else "no cell timed yet; about 60 s each expected"
    guess = (float(np.median(spent)) if spent else 60.0) * len(todo) / 60 / jobs
    print(f"{len(cells)} cells, {len(todo)} to run ({known}): about {guess:.0f} min; budget {budget_s / 60:.0f} min",
          flush=True)  # fmt: skip
    began = time.monotonic()

    def run(cell: Cell) -> str:
        started = time.monotonic()
        if started - began > budget_s:
            return "not run: the budget is spent"
        fine = cell.run(timeout_s=cell_timeout_s)
        if not fine and not cell.done:
            shutil.rmtree(cell.path, ignore_errors=True)
        return f"{'ok' if fine else 'FAILED'} {time.monotonic() - started:.0f} s"

    with ThreadPoolExecutor(jobs) as pool:
        for number, (cell, said) in enumerate(zip(todo, pool.map(run, todo), strict=True), 1):
            print(f"{number}/{len(todo)} {cell.data} {cell.name} seed {cell.seed}: {said}", flush=True)


def make_table(
    cells: Sequence[Cell], page: Callable[[Sequence[Cell]], str], path: Path, *, budget_min: float, description: str
) -> None:
    """The command line of a table: run what is missing, then write the page at `path`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--budget-min", type=float, default=budget_min)
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time, each with one thread")
    parser.add_argument("--only-write", action="store_true")
    given = parser.parse_args()
    if not CHECKPOINT.is_file():
        raise SystemExit(f"{CHECKPOINT} is not there: this table needs the shared checkpoint and data sets.")
    if not given.only_write:
        run_in_order(cells, budget_s=60 * given.budget_min, cell_timeout_s=1800, jobs=given.jobs)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(cells))
    print(f"wrote {path}")


def interval(values: np.ndarray, groups: Sequence[str], *, resamples: int = 2000) -> tuple[float, float] | None:
    """Percentile bootstrap of the mean over groups of examples; None under ten groups."""
    names, inverse = np.unique(np.array(groups), return_inverse=True)
    if len(names) < MIN_GROUPS:
        return None
    sums, counts = np.bincount(inverse, weights=values), np.bincount(inverse)
    random = np.random.default_rng(0)
    drawn = random.integers(len(names), size=(resamples, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def shown(values: np.ndarray, groups: Sequence[str], *, signed: bool = False) -> str:
    """Mean with its interval."""
    mean, ends = values.mean(), interval(values, groups)
    form = "+.3f" if signed else ".3f"
    return f"{mean:{form}} " + (f"[{ends[0]:{form}}, {ends[1]:{form}}]" if ends else "(too few groups)")
