"""Which defaults fine-tuning should have, by cross-validation on the training splits of four real datasets.

    .venv/bin/python benchmarks/defaults_study.py [--backbone googlenet] [--px 64] [--minutes 60] [--only-write]

Test splits are not touched. Every candidate is trained on two thirds of the training split (grouped folds) and
evaluated on the rest, beside the probe. Prints an estimate first; cells go in order of value until the minutes are
spent, the rest is marked as not run and runs when the command is given again. Rows are kept in
benchmarks/rows/defaults.jsonl, from which `--only-write` makes docs/results/defaults.md again.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _defaults_page import Cell, page
from _kept import FOLDER, Kept, packed
from _problems import network, problem_of, returned
from _sets import ROOT, SETS, SHARED

from regraft.contracts.strategy import Problem
from regraft.files import write_text
from regraft.strategies import finetune, probe
from regraft.workbench._evaluation import deal

INPUT_PX = 64
FOLDS = 3
STEPS = 150
VIEWS = 4
"""Views that are kept of what lies above an inner cut."""
PAGE = ROOT / "docs" / "results" / "defaults.md"
CANDIDATES: dict[str, dict[str, dict[str, Any]]] = {
    "input": {
        "probe": {},
        "lr 1e-3": {"lr": 1e-3, "head_lr_factor": 1.0, "decay": 1.0, "batch_norm": "train"},
        "lr 1e-3, gentler below": {"lr": 1e-3, "head_lr_factor": 1.0, "batch_norm": "train"},
        "lr 1e-4": {"lr": 1e-4, "head_lr_factor": 1.0, "decay": 1.0, "batch_norm": "train"},
        "lr 3e-4, gentler below": {"lr": 3e-4, "head_lr_factor": 1.0, "batch_norm": "train"},
        "lr 3e-4": {"lr": 3e-4, "head_lr_factor": 1.0, "decay": 1.0, "batch_norm": "train"},
        "from the probe, lr 1e-3, gentler below, norms frozen": {"lr": 1e-3, "head_lr_factor": 1.0, "init": "probe"},
        "from the probe, lr 3e-4, gentler below, norms frozen": {"lr": 3e-4, "head_lr_factor": 1.0, "init": "probe"},
        "from the probe, lr 3e-4": {"lr": 3e-4, "head_lr_factor": 1.0, "decay": 1.0, "batch_norm": "train",
                                    "init": "probe"},
        "lr 3e-3": {"lr": 3e-3, "head_lr_factor": 1.0, "decay": 1.0, "batch_norm": "train"},
    },
    "4e": {
        "probe": {},
        "from the probe, lr 1e-4": {"lr": 1e-4, "init": "probe"},
        "from the probe, lr 3e-4": {"lr": 3e-4, "init": "probe"},
        "from the probe, lr 1e-3": {"lr": 1e-3, "init": "probe"},
        "from the probe, lr 3e-5": {"lr": 3e-5, "init": "probe"},
        "lr 3e-4": {"lr": 3e-4},
        "lr 1e-3": {"lr": 1e-3},
        "lr 1e-3, norms trained": {"lr": 1e-3, "batch_norm": "train"},
        "from the probe, lr 3e-4, 400 steps": {"lr": 3e-4, "init": "probe", "min_steps": 400},
    },
}  # fmt: skip
"""Options by cut and name; one pass over the data unless the steps ask for more."""
GUESS_S = {"input": 45.0, "4e": 15.0}
"""Wall seconds of a cell on a core of its own, before one of its cut was timed."""


def plan() -> list[Cell]:
    """All cells, in order of value: whole comparisons, fold by fold."""
    return [
        Cell(data=data, cut=cut, name=name, fold=fold)
        for fold in range(FOLDS)
        for cut, names in CANDIDATES.items()
        for name in names
        for data in SETS
    ]


def options_of(cell: Cell) -> finetune.Options:
    """How a candidate is trained."""
    return replace(finetune.Options(), epochs=1, **{"min_steps": STEPS, **CANDIDATES[cell.cut][cell.name]})


def measured(problem: Problem, cell: Cell) -> dict[str, Any]:
    """Train without the fold, judge on it."""
    began, held = time.monotonic(), deal(problem, FOLDS, 0) == cell.fold
    part = replace(problem, train=problem.train[~held])
    if cell.name == "probe":
        part = replace(part, cut="output", states=part.top)
        fitted = returned(probe.fit(part, probe.Options()))
    else:
        options = options_of(cell)
        fitted = returned(finetune.fit(probe.with_start(part, finetune.needs(options)), options))
    judged = problem.train[held]
    logits = fitted.logits(part, judged)
    return {
        **cell.key,
        "right": packed(logits.argmax(axis=1) == problem.targets[judged]),
        "log_loss": round(log_loss(logits, problem.targets[judged]), 5),
        "units": np.unique(problem.groups[judged], return_inverse=True)[1].tolist(),
        "seconds": round(time.monotonic() - began, 2),
    }


def log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean cross-entropy in nats."""
    return float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets)))


def run_all(cells: list[Cell], kept: Kept, spec: str, px: int, *, ends_at: float) -> None:
    """Run what is missing until then, printing the estimate first."""
    todo = [cell for cell in cells if not kept.where(**cell.key)]
    seconds = {cut: [row["seconds"] for row in kept.where(cut=cut) if row["name"] != "probe"] for cut in CANDIDATES}
    guess = {cut: float(np.median(some)) if some else GUESS_S[cut] for cut, some in seconds.items()}
    print(f"defaults: {len(cells)} cells, {len(todo)} missing, "
          f"about {sum(guess[cell.cut] for cell in todo if cell.name != 'probe') / 60:.0f} min; "
          f"{max(0.0, ends_at - time.time()) / 60:.0f} min of the budget left", flush=True)  # fmt: skip
    problems: dict[tuple[str, str], Problem] = {}
    for number, cell in enumerate(todo, 1):
        if time.time() + guess[cell.cut] > ends_at:
            print(f"{len(todo) - number + 1} cells are not run: the budget is spent", flush=True)
            return
        where = (cell.data, cell.cut)
        if where not in problems:
            views = 0 if cell.cut == "input" else VIEWS
            problems[where] = problem_of(cell.data, cell.cut, views, input_px=px, spec=spec)
        row = measured(problems[where], cell)
        kept.add(row)
        print(f"{number}/{len(todo)} {cell.data}, {cell.cut}, {cell.name}, fold {cell.fold}: "
              f"{row['right'].count('1') / len(row['right']):.3f} {row['seconds']:.0f} s", flush=True)  # fmt: skip


def main() -> None:
    """Measure what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="googlenet", help="as `regraft fit` takes it")
    parser.add_argument("--px", type=int, default=INPUT_PX, help="side of the input, in pixels")
    parser.add_argument("--minutes", type=float, default=60.0, help="the budget of one core")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)), choices=range(FOLDS),
                        help="folds to leave out in turn; other ones may run beside")  # fmt: skip
    parser.add_argument("--rows", type=Path, default=FOLDER / "defaults.jsonl", help="file of what was measured")
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--only-write", action="store_true", help="make the page of the rows that are there")
    given = parser.parse_args()
    kept, ends_at = Kept(given.rows), time.time() + 60 * given.minutes
    if not given.only_write:
        if not SHARED.is_dir():
            raise SystemExit(f"{SHARED} is not there: this study needs the shared data sets.")
        torch.set_num_threads(1)
        kept.settle({"backbone": given.backbone, "weights": network(given.backbone).digest(), "px": given.px,
                     "steps": STEPS, "views": VIEWS, "folds": FOLDS})  # fmt: skip
        cells = [cell for cell in plan() if cell.fold in given.folds]
        run_all(cells, kept, given.backbone, given.px, ends_at=ends_at)
    write_text(given.out, page(kept, {cut: list(names) for cut, names in CANDIDATES.items()}))
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
