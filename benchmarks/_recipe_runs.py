"""Runs of the study of recipes: one short pretraining each by `regraft fit`, then linear probes on what it learned."""

import json
import os
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _kept import Kept, packed
from _measure import measured
from _predictions import right_in
from _problems import network
from _sets import ROOT, UNPACKED
from _targets import TARGETS
from probe_table import FOLDS, OPEN_S, PROBE_S, Work, measure

from regraft.data.open import open_dataset
from regraft.files import cache_home
from regraft.identity import digest_json

BASE = ROOT / "pretraining" / "googlenet.toml"
SHORT = ("options.batch=128", "options.lr=0.0005")
"""`--set` values that every cell has: for three passes, batches of five hundred leave too few steps."""
FOLDER = ROOT / "runs" / "recipe"
PICTURE_S, PIXEL_S = 1.15e-3, 7.2e-7
"""Seconds of training on a picture, and on each square pixel of it, on one thread in bfloat16; before a cell was
timed."""
REST_S = 180.0
"""Seconds of a pretraining beside its training: digests, the probe beside the model, evaluation, report."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all rows of a file share."""

    base: str
    """Digest of the recipe that every cell starts from."""
    corpus: str
    """Name of the corpus's folder."""
    architecture: str
    """Family and variant of the network."""
    epochs: int
    """Of every pretraining."""
    px: int
    """Largest side of its inputs."""
    probe_px: int
    """Side of the inputs of probes."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One pretraining."""

    recipe: str
    """Name of what differs from the base."""
    changes: tuple[str, ...]
    """`--set` values of it."""
    seed: int
    """Of first values, order and views."""

    @property
    def label(self) -> str:
        """Name of its rows of probes."""
        return f"{self.recipe}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every cell is given."""

    settings: Settings
    """What they share."""
    corpus: Path
    """Folder of the corpus."""
    data: tuple[str, ...]
    """Names of the target tasks."""
    draws: tuple[tuple[int, int], ...]
    """(training examples a class, or 0 for all; seed) of the probes."""
    kept: Kept
    """Where rows go."""

    def folder(self, cell: Cell) -> Path:
        """The run's folder: runs with other settings lie elsewhere."""
        name = "-".join(cell.recipe.split())
        return FOLDER / digest_json(asdict(self.settings))[:8] / f"{name}-{cell.seed}"

    def work(self, cell: Cell, data: str, weights: str) -> Work:
        """Its probes on one target task."""
        return Work(label=cell.label, spec=str(self.folder(cell)), weights=weights, px=self.settings.probe_px,
                    data=data, inside=True)  # fmt: skip

    def row(self, cell: Cell) -> Mapping[str, Any] | None:
        """What pretraining came to; None where it did not run."""
        found = self.kept.where(recipe=cell.recipe, trained=cell.seed)
        return found[0] if found else None

    def missing(self, cell: Cell, data: str, weights: str) -> list[tuple[int, int]]:
        """Draws that were not probed yet."""
        key = self.work(cell, data, weights).key
        return [(n, seed) for n, seed in self.draws if not self.kept.where(**key, per_class=n, seed=seed)]

    def done(self, cell: Cell) -> bool:
        """Whether it is trained and probed on every task."""
        row = self.row(cell)
        return row is not None and not any(self.missing(cell, data, row["weights"]) for data in self.data)


def settings_for(corpus: Path, architecture: str, *, epochs: int, px: int, probe_px: int) -> Settings:
    """The settings, with the digest of the base recipe as it stands now; where its data lie is no part of it."""
    base = tomllib.loads(BASE.read_text(encoding="utf-8"))
    base.pop("data")
    digest = digest_json([base, SHORT])[:12]
    return Settings(base=digest, corpus=corpus.name, architecture=architecture, epochs=epochs, px=px, probe_px=probe_px)


def run_all(cells: Sequence[Cell], at: Bench, *, ends_at: float, jobs: int) -> None:
    """Run what is missing, in order, `jobs` at a time, until the clock says `ends_at`; prints the estimate first."""
    todo = [cell for cell in cells if not at.done(cell)]
    guess = guess_s(at)
    print(f"{len(cells)} pretrainings, {len(todo)} missing, about {guess / 60:.0f} min each: "
          f"{guess * -(-len(todo) // jobs) / 60:.0f} min in all; {(ends_at - time.time()) / 60:.0f} min of the budget "
          "left", flush=True)  # fmt: skip
    if not todo:
        return
    UNPACKED.mkdir(parents=True, exist_ok=True)
    for data in at.data:
        TARGETS[data].open()

    def one(cell: Cell) -> str:
        began = time.time()
        if began + guess_s(at) > ends_at:
            return ""
        try:
            top1, probes = finished(cell, at, pool)
        except RuntimeError as error:
            sys.stderr.write(f"{cell.label}: {error}\n")
            return "FAILED"
        return f"top-1 {top1:.3f}, probes {probes:.3f}, {(time.time() - began) / 60:.1f} min"

    with workers(jobs) as pool, ThreadPoolExecutor(jobs) as threads:
        for number, (cell, said) in enumerate(zip(todo, threads.map(one, todo), strict=True), 1):
            if said:
                print(f"{number}/{len(todo)} {cell.label}: {said}", flush=True)
    if left := sum(not at.done(cell) for cell in cells):
        print(f"{left} of {len(cells)} pretrainings are left for another time", flush=True)


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each, for probes."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # read where a worker starts
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield pool


def finished(cell: Cell, at: Bench, pool: ProcessPoolExecutor) -> tuple[float, float]:
    """Train and probe where that is not done, keeping the rows; top-1 accuracy and mean accuracy of the probes.

    Raises:
        RuntimeError: the run failed; the end of what it said is in the message.
    """
    row = at.row(cell)
    if row is None:
        row = trained(cell, at)
        at.kept.add(row)
    for data in at.data:
        if missing := at.missing(cell, data, row["weights"]):
            judged, *rows = pool.submit(measure, at.work(cell, data, row["weights"]), missing).result()
            at.kept.add(*rows, *([] if at.kept.where(**judged) else [judged]))
    probes = [one["right"] for one in at.kept.where(label=cell.label, weights=row["weights"])]
    return row["top1"]["value"], float(np.mean([right.count("1") / len(right) for right in probes]))


def trained(cell: Cell, at: Bench) -> dict[str, Any]:
    """Pretrain, going on where it was; the row of what came out."""
    out, wall = at.folder(cell), 0.0
    if not (out / "report.json").is_file():
        wall = measured(command(cell, at), cache=cache_home(), threads=1).wall
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    ids, right, _ = right_in(out)
    metrics = report["evaluation"]["test"]["metrics"]
    ends = {name: {end: metrics[metric][end] for end in ("value", "low", "high")}
            for name, metric in (("top1", "accuracy"), ("top5", "top5_accuracy"))}  # fmt: skip
    spent = sum(phase["seconds"] for phase in report["phases"])
    return {"recipe": cell.recipe, "trained": cell.seed, "changes": list(cell.changes), **ends, "ids": digest_json(ids),
            "right_source": packed(right), "weights": network(str(out)).digest(),
            "epochs": report["strategy"]["facts"]["epochs"], "wall": round(max(wall, spent))}  # fmt: skip


def command(cell: Cell, at: Bench) -> list[str]:
    """The pretraining as a command."""
    settings, out = at.settings, at.folder(cell)
    changes = (f"data={json.dumps(str(at.corpus))}", f'backbone="{settings.architecture}"', f"input_px={settings.px}",
               f"options.epochs={settings.epochs}", *SHORT, *cell.changes)  # fmt: skip
    found = [sys.executable, "-m", "regraft", "fit", str(BASE), "--out", str(out), "--seed", str(cell.seed), "--quiet"]
    for change in changes:
        found += ["--set", change]
    return [*found, "--resume"] if (out / "begun.json").is_file() else found


def guess_s(at: Bench) -> float:
    """Wall seconds of a cell: the median of those that ran, else by the pictures and their sizes; with its probes."""
    probes = sum((at.settings.probe_px / 64) ** 2 * OPEN_S + len(at.draws) * FOLDS * PROBE_S * (10 if data == "digits"
                 else 1) for data in at.data)  # fmt: skip
    walls = [row["wall"] for row in at.kept.rows if "trained" in row]
    if walls:
        return float(np.median(walls)) + probes
    pictures = sum(one.split != "val" for one in open_dataset(at.corpus).examples)
    return pictures * at.settings.epochs * (PICTURE_S + PIXEL_S * at.settings.px**2) + REST_S + probes
