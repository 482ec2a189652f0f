"""Regularisers against plain fine-tuning on a few examples per class, with the shared short checkpoint: a sweep for
each set, number of examples and seed.

    .venv/bin/python benchmarks/scarce_study.py [--sets hymenoptera] [--per-class 5] [--arms plain delta] [--minutes 99]

The arms of a sweep are trained on the same sampled examples in the same order, and tested on the set's own test split.
Runs are kept in runs/scarce, and the same command goes on from them; what was not run is missing in the table that is
printed. docs/results/scarce.md has the whole study, made by an earlier script with a runner of its own, and the cell of
it that was made again by this one.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _markdown import head, line
from _parts import subject
from _pooled import Table, shown
from _predictions import right_in
from _sets import CHECKPOINT, ROOT, SHORT

from regraft.identity import derive_seed
from regraft.recipe import Recipe
from regraft.workbench._manifest import write_manifest
from regraft.workbench.sweep import Ran, SweepDone, compared

RUNS = ROOT / "runs" / "scarce"
OPTIONS: dict[str, Any] = {"lr": 1e-3, "batch_norm": "train", "epochs": 1, "min_steps": 60}
"""Sixty steps; the rate and the policy of batch norm with which plain fine-tuning was best on training examples."""
ARMS: dict[str, dict[str, Any]] = {
    "probe": {},
    "plain": {},
    "co_tuning": {"regulariser": "co_tuning"},
    "delta": {"regulariser": "delta", "regulariser_weight": 0.048},
    "bss": {"regulariser": "bss"},
    "l2_sp": {"regulariser": "l2_sp", "regulariser_weight": 0.001},
}
"""Weights chosen on training examples that were not sampled, or the published ones."""


def sampled(data: str, per_class: int, seed: int, path: Path) -> Path:
    """A table of so many training examples of every class and the whole test split; a larger sample of the same seed
    contains the smaller one."""
    session = subject(data)
    order = np.random.default_rng(derive_seed(seed, "scarce")).permutation(session.learnable)
    classes = session.targets[order]
    train = np.concatenate([order[classes == one][:per_class] for one in np.unique(classes)])
    splits = np.full(len(session.targets), "train", dtype="U5")
    splits[session.splits.test] = "test"
    some = np.sort(np.concatenate([train, session.splits.test]))
    write_manifest(session.dataset.examples, some, splits, np.arange(len(splits)), path)
    return path


def swept(data: str, per_class: int, seed: int, arms: list[str], ends_at: float) -> dict[str, Ran]:
    """The runs of the arms that there was time for."""
    folder = RUNS / f"{data}-{per_class}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    table = sampled(data, per_class, seed, folder / "sample.csv")
    recipe = Recipe(data=str(table), backbone=SHORT, strategy="full", input_px=64, threads=1, seed=seed, split_seed=0)
    candidates = {arm: replace(recipe, strategy="probe") if arm == "probe" else
                  replace(recipe, options={**OPTIONS, **ARMS[arm]}) for arm in arms}  # fmt: skip
    for event in compared(recipe, candidates, folder / "sweep", seeds=1, max_seconds=max(0.0, ends_at - time.time()),
                          resume=(folder / "sweep").is_dir()):  # fmt: skip
        if isinstance(event, SweepDone):
            return {one.candidate: one for one in event.cells}
    return {}


def rows_of(data: str, per_class: int, runs: list[dict[str, Ran]], arms: list[str]) -> list[str]:
    """A row for each arm, over the seeds in which all ran."""
    runs = [one for one in runs if set(one) >= set(arms)]
    if not runs:
        return []
    right = {arm: np.array([right_in(one[arm].folder)[1] for one in runs]) for arm in arms}
    units, made = np.arange(right[arms[0]].shape[1]), list[str]()
    for arm in arms:
        sections = [one[arm].report.section for one in runs]
        means = [np.mean([one.metrics[name].value for one in sections if one]) for name in ("accuracy", "log_loss")]
        told = ""
        if arm != "plain" and "plain" in right:
            told = shown([Table(task=data, values=right[arm] - right["plain"], units=units)], signed=True)
        made.append(line(data, per_class, arm, len(runs), *(f"{one:.3f}" for one in means), told))
    return made


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["plantvillage_tomato", "hymenoptera"])
    parser.add_argument("--per-class", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--minutes", type=float, default=100.0, help="nothing is begun after these")
    given = parser.parse_args()
    if not CHECKPOINT.is_file():
        raise SystemExit(f"{CHECKPOINT} is not there: this study needs the shared checkpoint and data sets.")
    ends_at = time.time() + 60 * given.minutes
    table = head("dataset", "per class", "arm", "seeds", "test accuracy", "log loss", "minus plain")
    for data in given.sets:
        for per_class in given.per_class:
            runs = [swept(data, per_class, seed, given.arms, ends_at) for seed in range(given.seeds)]
            table += rows_of(data, per_class, runs, given.arms)
    print("\n".join(table))


if __name__ == "__main__":
    main()
