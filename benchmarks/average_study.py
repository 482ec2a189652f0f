"""Whether an EMA of the weights helps training from scratch, on the training splits of two datasets.

    .venv/bin/python benchmarks/average_study.py [--seeds 3] [--folds 1] [--only-write]

Test splits are not touched. One run serves every decay: averaging does not affect training, so the average of each
decay is kept beside it. Resumable: what is measured is kept under `runs/average`. Writes docs/results/average.md.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pooled import Table, shown
from _problems import problem_of, returned
from _sets import ROOT
from defaults_study import FOLDS, INPUT_PX, log_loss

from regraft.contracts.strategy import Problem
from regraft.files import atomic
from regraft.strategies import _steps, finetune, loop
from regraft.strategies._steps import add_step, standing_in
from regraft.strategies.tail import Tail
from regraft.values import Event
from regraft.workbench._evaluation import deal

DATA = ("hymenoptera", "plantvillage_tomato")
SPEC = "googlenet:tiny@random"
DECAYS = (0.0, 0.9, 0.99, 0.999)
FOUND = """## What follows

No average is significantly better or worse than the last weights, and the log losses are about the same: the learning
rate decays to zero along a cosine, so the last weights hardly move any more. Therefore `ema` is 0 by default.
Averages with decays of 0.99 and 0.999 coincide here, because the decay is warmed up as (1 + t) / (10 + t), which
reaches only 0.975 and 0.983 by the end of these runs. Longer runs, and runs that stop early, were not measured.
"""
KEPT = ROOT / "runs" / "average"
PAGE = ROOT / "docs" / "results" / "average.md"


def measure(data: str, seed: int, num_folds: int) -> None:
    """Train from random weights without each fold in turn, and ask every average about it."""
    problem = replace(problem_of(data, "input", 0, input_px=INPUT_PX, spec=SPEC, seed=seed), seed=seed)
    fold_of = deal(problem, FOLDS, 0)
    logits = {decay: np.zeros((len(problem.train), problem.task.num_outputs), np.float32) for decay in DECAYS}
    began, steps = time.monotonic(), 0
    for fold in range(num_folds):
        held = fold_of == fold
        found, steps = averages_of(replace(problem, train=problem.train[~held]), problem.train[held])
        for decay in DECAYS:
            logits[decay][held] = found[decay]
    judged = fold_of < num_folds
    targets = problem.targets[problem.train][judged]
    kept = {
        "steps": steps,
        "seconds": time.monotonic() - began,
        "groups": problem.groups[problem.train][judged].tolist(),
        "right": {str(d): (logits[d][judged].argmax(1) == targets).tolist() for d in DECAYS},
        "log_loss": {str(d): log_loss(logits[d][judged], targets) for d in DECAYS},
    }
    path = file_of(data, seed, num_folds)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as file:
        file.write(json.dumps(kept).encode())
    accuracies = " ".join(f"{d}: {np.mean(kept['right'][str(d)]):.3f}" for d in DECAYS)
    print(f"{data} seed {seed}, {steps} steps, {kept['seconds']:.0f} s: {accuracies}", flush=True)


def averages_of(problem: Problem, asked: np.ndarray) -> tuple[dict[float, np.ndarray], int]:
    """Logits of the asked by the average of every decay (0: the last weights), and the steps that were made."""
    averages: dict[float, dict[str, torch.Tensor]] = {decay: {} for decay in DECAYS}
    tails, steps, train = list[Tail](), 0, loop.train

    def add_to_each(ema: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], step: int, decay: float) -> None:
        nonlocal steps
        add_step(ema, tensors, step, decay)
        steps = step + 1
        for one, kept in averages.items():
            add_step(kept, tensors, step, one)

    def watched(tail: Tail, *given: Any, **named: Any) -> Iterator[Event]:
        tails.append(tail)
        return train(tail, *given, **named)

    _steps.add_step, loop.train = add_to_each, watched
    try:
        fitted = returned(finetune.fit(problem, finetune.Options(**finetune.PRESETS["pretrain"].options, ema=0.9)))
    finally:
        _steps.add_step, loop.train = add_step, train
    logits = {}
    for decay, average in averages.items():
        with standing_in(average, tails[0]):
            logits[decay] = fitted.logits(problem, asked)
    return logits, steps


def file_of(data: str, seed: int, num_folds: int) -> Path:
    """Where a measurement is kept."""
    return KEPT / f"{data}-{seed}-{num_folds}.json"


def page(seeds: Sequence[int], num_folds: int) -> str:
    """What is kept, as Markdown."""
    lines = [
        "# EMA of the weights, training from scratch",
        "",
        f"`scratch` with its defaults on {SPEC}, {INPUT_PX} pixels, on the training splits only:",
        f"{num_folds} of {FOLDS} folds held out, test splits not touched. Seeds {', '.join(map(str, seeds))}.",
        "Each cell: mean accuracy over the seeds; in parentheses its paired difference from the last weights of the",
        "same runs, with a 95 % bootstrap interval over examples; then the log loss before calibration (nats).",
        "Generated by",
        f"`python benchmarks/average_study.py --seeds {len(seeds)}`.",
        "",
        f"| dataset | steps | last weights | {' | '.join(f'EMA {d}' for d in DECAYS[1:])} |",
        f"| --- | --- | --- |{' --- |' * len(DECAYS[1:])}",
    ]
    for data in DATA:
        paths = [file_of(data, seed, num_folds) for seed in seeds]
        runs = [json.loads(path.read_text()) for path in paths if path.is_file()]
        if len(runs) < len(paths):
            lines.append(f"| {data} | not run | |{' |' * len(DECAYS[1:])}")
            continue
        right = {d: np.mean([run["right"][str(d)] for run in runs], axis=0) for d in DECAYS}
        loss = {d: np.mean([run["log_loss"][str(d)] for run in runs]) for d in DECAYS}
        units = np.array(runs[0]["groups"])
        cells = [f"{right[0.0].mean():.3f}, {loss[0.0]:.3f}"]
        cells += [f"{right[d].mean():.3f} ({_shown(data, right[d] - right[0.0], units)}), {loss[d]:.3f}"
                  for d in DECAYS[1:]]  # fmt: skip
        lines.append(f"| {data} | {runs[0]['steps']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", FOUND])


def _shown(data: str, differences: np.ndarray, units: np.ndarray) -> str:
    return shown([Table(task=data, values=differences[None], units=units)], signed=True, min_seeds=1)


def main() -> None:
    """Measure what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=1, help=f"how many of the {FOLDS} folds are left out in turn")
    parser.add_argument("--only-write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(given.seeds):
        for data in DATA:
            if not given.only_write and not file_of(data, seed, given.folds).is_file():
                measure(data, seed, given.folds)
    PAGE.write_text(page(range(given.seeds), given.folds))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
