"""Runs of the tables of transfer: one `regraft fit` each, in a process of its own, on a drawn part of a target task."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _kept import Kept, packed
from _measure import measured
from _parts import subset
from _predictions import right_in
from _problems import network
from _sets import ROOT
from _ways import ARGUMENTS, GUESS_S, preset

from regraft.files import cache_home
from regraft.identity import digest_json

FOLDER = ROOT / "runs" / "transfer"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all rows of a file share."""

    backbone: str
    """Name of the pretrained network, as pages show it."""
    weights: str
    """Digest of its weights."""
    architecture: str
    """What is drawn at random for training from scratch."""
    px: int
    """Side of the input."""
    steps: int
    """Optimizer steps of a tuned model, of at most 32 examples."""
    scratch_steps: int
    """The same from scratch."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One fit."""

    data: str
    """Name of the set."""
    n: int
    """Training examples of each class; 0: all."""
    way: str
    """One of `_ways.ARGUMENTS`."""
    seed: int
    """Of the draw, of the first values, of the order and of the views."""
    start: str = ""
    """The set that the pretrained network was fine-tuned on before; empty: none."""

    @property
    def key(self) -> dict[str, Any]:
        """What names its row."""
        return {"set": self.data, "n": self.n, "way": self.way, "seed": self.seed, "start": self.start}

    @property
    def told(self) -> str:
        """For people."""
        through = f" through {self.start}" if self.start else ""
        return f"{self.data}, {self.n or 'all'} a class, {self.way}{through}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where runs are made."""

    spec: str
    """What opens the pretrained network."""
    settings: Settings
    """What they share."""
    kept: Kept
    """Where rows go."""


def bench(spec: str, label: str, *, px: int, steps: int, scratch_steps: int, rows: Path) -> Bench:
    """Open the network and the rows.

    Raises:
        SystemExit: the rows were made with other settings.
    """
    backbone = network(spec)
    settings = Settings(backbone=label, weights=backbone.digest(), px=px, steps=steps, scratch_steps=scratch_steps,
                        architecture=f"{backbone.card.family}:{backbone.card.variant}")  # fmt: skip
    kept = Kept(rows)
    kept.settle(asdict(settings))
    return Bench(spec=spec, settings=settings, kept=kept)


def settings_of(kept: Kept) -> Settings:
    """What the rows were made with.

    Raises:
        SystemExit: there are none.
    """
    return Settings(**kept.settings())


def run_all(runs: Sequence[Run], at: Bench, *, ends_at: float, jobs: int, what: str) -> None:
    """Run what is missing, in order, `jobs` at a time, until the clock says `ends_at`; prints the estimate first."""
    todo = [run for run in runs if not at.kept.where(**run.key)]
    guesses = {run: guess_s(run, at) for run in todo}
    print(f"{what}: {len(runs)} runs, {len(todo)} missing, about {sum(guesses.values()) / jobs / 60:.0f} min; "
          f"{(ends_at - time.time()) / 60:.0f} min of the budget left", flush=True)  # fmt: skip
    for run in todo:
        subset(run.data, run.n, run.seed)

    def one(run: Run) -> str:
        if time.time() + guess_s(run, at) > ends_at:
            return ""
        try:
            row = made(run, at)
        except RuntimeError as error:
            sys.stderr.write(f"{run.told}: {error}\n")
            return "FAILED"
        return f"{sum(map(int, row['right'])) / len(row['right']):.3f} {row['wall']:.0f} s"

    with ThreadPoolExecutor(jobs) as pool:
        for number, (run, said) in enumerate(zip(todo, pool.map(one, todo), strict=True), 1):
            if said:
                print(f"{number}/{len(todo)} {run.told}: {said}", flush=True)
    if left := sum(not at.kept.where(**run.key) for run in runs):
        print(f"{left} of {len(runs)} runs are left for another time", flush=True)


def guess_s(run: Run, at: Bench) -> float:
    """Wall seconds that a run will take: the median of those of its way and n, else of its way, else a guess."""
    for facts in ({"way": run.way, "n": run.n}, {"way": run.way}):
        if spent := [row["wall"] for row in at.kept.where(**facts)]:
            return float(np.median(spent))
    name = preset(run.way)
    steps = at.settings.scratch_steps / 300 if name == "scratch" else at.settings.steps / 150
    return GUESS_S[name] * (at.settings.px / 64) ** 2 * (1.0 if name == "probe" else steps)


def made(run: Run, at: Bench) -> dict[str, Any]:
    """Run it, keep its row, and clear its folder away."""
    with tempfile.TemporaryDirectory(prefix="transfer-") as folder:
        out = Path(folder) / "run"
        spec = str(stage(run.start, run.seed)) if run.start else at.spec
        cost = measured(command(run, at, spec, out), cache=cache_home(), threads=1)
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        ids, right, groups = right_in(out)
    phases = {phase["name"]: phase["seconds"] for phase in report["phases"]}
    row = {**run.key, "right": packed(right), "gap": sum(one["worse_by"]["value"] for one in report["gaps"]),
           "log_loss": report["evaluation"]["test"]["metrics"]["log_loss"]["value"],
           "wall": round(cost.wall, 2), "cpu": round(cost.cpu, 2), "training_s": phases["training"],
           "peak": report["peak_memory_bytes"]}  # fmt: skip
    judged = {"judged": run.data, "ids": digest_json(ids),
              "units": np.unique(groups, return_inverse=True)[1].tolist()}  # fmt: skip
    before = at.kept.where(judged=run.data)
    if before and before[0] != judged:
        raise RuntimeError("its test examples are not those of the rows before it")
    at.kept.add(*([] if before else [judged]), row)
    return row


def command(run: Run, at: Bench, spec: str, out: Path) -> list[str]:
    """The fit as a command."""
    settings = at.settings
    if run.way == "scratch":
        spec = f"{settings.architecture}@random"
    found = [sys.executable, "-m", "regraft", "fit", str(subset(run.data, run.n, run.seed)), "--backbone", spec,
             *ARGUMENTS[run.way], "--input-px", str(settings.px), "--seed", str(run.seed), "--out", str(out),
             "--quiet", "--set", "threads=1", "--set", f"source.folder=../{run.data}"]  # fmt: skip
    if run.way != "probe":
        steps = settings.scratch_steps if run.way == "scratch" else settings.steps
        found += ["--set", "options.epochs=1", "--set", f"options.min_steps={steps}"]
    return found


def stage(data: str, seed: int) -> Path:
    """The run in which the pretrained network was fine-tuned on all of a set, with this seed."""
    return FOLDER / "stage" / f"{data}-{seed}"


def run_stage(data: str, seed: int, way: str, at: Bench) -> float:
    """Fine-tune the pretrained network on all of a set, where that was not done; wall seconds."""
    out = stage(data, seed)
    done = out / "of.json"
    made_of = json.dumps([asdict(at.settings), way])
    if done.is_file() and done.read_text() == made_of:
        return 0.0
    shutil.rmtree(out, ignore_errors=True)
    cost = measured(command(Run(data=data, n=0, way=way, seed=seed), at, at.spec, out), cache=cache_home(), threads=1)
    done.write_text(made_of)
    return cost.wall
