"""Which defaults fine-tuning should have, by cross-validation inside the training parts of four real sets.

    .venv/bin/python benchmarks/defaults_study.py [--data NAME …] [--cut 4e] [--seeds 1] [--only-write]

Test parts are not touched. Every candidate is trained on two thirds of the training part (grouped folds) in the same
folds, beside the probe. Resumable: what is measured is kept under `runs/study`. Writes docs/results/defaults.md.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _cells import shown
from _problems import problem_of, returned
from _sets import CHECKPOINT, ROOT, SETS

from regraft.files import atomic
from regraft.strategies import finetune, probe
from regraft.strategies._contract import Problem
from regraft.workbench._crossvalidate import deal

INPUT_PX = 64
FOLDS = 3
KEPT = ROOT / "runs" / "study"
PAGE = ROOT / "docs" / "results" / "defaults.md"
CANDIDATES: dict[str, dict[str, Any]] = {
    "lr 1e-4": {"lr": 1e-4},
    "from the probe, lr 1e-4": {"lr": 1e-4, "init": "probe"},
    "from the probe, lr 1e-4, head alike": {"lr": 1e-4, "init": "probe", "head_lr_factor": 1.0},
    "from the probe, lr 3e-5, head alike": {"lr": 3e-5, "init": "probe", "head_lr_factor": 1.0},
    "from the probe, lr 1e-4, head alike, 60 steps": {
        "lr": 1e-4,
        "init": "probe",
        "head_lr_factor": 1.0,
        "min_steps": 60,
    },
    "from the probe, lr 3e-4, head alike, 60 steps": {
        "lr": 3e-4,
        "init": "probe",
        "head_lr_factor": 1.0,
        "min_steps": 60,
    },
    "lr 3e-4": {"lr": 3e-4},
    "lr 1e-3": {"lr": 1e-3},
    "from the probe, lr 3e-4": {"lr": 3e-4, "init": "probe"},
    "from the probe, lr 1e-3": {"lr": 1e-3, "init": "probe"},
    "lr 3e-4, 400 steps": {"lr": 3e-4, "min_steps": 400},
    "lr 1e-3, 400 steps": {"lr": 1e-3, "min_steps": 400},
    "lr 3e-4, norms trained": {"lr": 3e-4, "batch_norm": "train"},
    "lr 1e-3, norms trained": {"lr": 1e-3, "batch_norm": "train"},
    "lr 1e-3, norms trained, no decay": {"lr": 1e-3, "batch_norm": "train", "decay": 1.0, "head_lr_factor": 1.0},
    "from the probe, lr 3e-4, norms trained": {"lr": 3e-4, "batch_norm": "train", "init": "probe"},
    "from the probe, lr 1e-3, norms trained": {"lr": 1e-3, "batch_norm": "train", "init": "probe"},
    "from the probe, lr 3e-4, 400 steps": {"lr": 3e-4, "min_steps": 400, "init": "probe"},
}
"""Options by name; one pass over the data unless the steps ask for more."""
FOUND = """## What follows

Above 4e, starting from the solved probe is better than starting at zero on two sets and no worse on the others, so
`partial` does so. No candidate there beats the probe on chest_xray_pneumonia, and none by more than chance on
breast_histology: training longer or faster only learns the training pictures by heart. So where there are fifty
validation examples or more, the start counts as epoch 0 and is kept if no epoch has a lower validation loss. Training
norms on stored views only costs log loss.

Where everything is trained, gentle rates (1e-4, lower from stage to stage) hardly leave the probe behind; a rate of
1e-3 for every stage with norms trained gains most on plantvillage_tomato and chest_xray_pneumonia, has the lowest log
loss there, and loses on hymenoptera and breast_histology by no more than chance. So `full` does that. `lp_ft` takes
the higher rate but keeps norms frozen, because its head was solved for them. The checkpoint is weakly pretrained; a
better one may want gentler rates, and this study is to be run again with it.
"""


def held_out(problem: Problem, options: finetune.Options | None, num_folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Training examples by place, and logits of each by the model of the fold that left it out; None: the probe.

    Of the `FOLDS` folds the first `num_folds` are left out in turn.
    """
    fold_of = deal(problem, FOLDS, 0)
    logits = np.zeros((len(problem.train), problem.task.num_outputs), dtype=np.float32)
    for fold in range(num_folds):
        held = fold_of == fold
        part = replace(problem, train=problem.train[~held])
        if options is None:
            part = replace(part, cut="output", states=part.top)
            fitted = returned(probe.fit(part, probe.Options()))
        else:
            fitted = returned(finetune.fit(part, options))
        logits[held] = fitted.logits(part, problem.train[held])
    judged = np.flatnonzero(fold_of < num_folds)
    return judged, logits[judged]


def measure(data: str, cut: str, views: int, seeds: range, names: list[str], num_folds: int) -> None:
    """Run the candidates on one set and keep what came out."""
    missing = [(name, seed) for seed in seeds for name in names if not file_of(data, cut, views, name, seed).is_file()]
    if not missing:
        return
    problem = problem_of(data, cut, views, input_px=INPUT_PX)
    for name, seed in missing:
        began = time.monotonic()
        posed = replace(problem, seed=seed)
        options = (
            None if name == "probe" else replace(finetune.Options(), epochs=1, **{"min_steps": 150, **CANDIDATES[name]})
        )
        judged, logits = held_out(posed, options, num_folds)
        seconds, path = time.monotonic() - began, file_of(data, cut, views, name, seed)
        targets = problem.targets[problem.train][judged]
        scores = dict(problem.task.scores(logits, targets))
        kept = {"options": asdict(options) if options else None, "seconds": seconds, "scores": scores,
                "log_loss": log_loss(logits, targets), "right": (logits.argmax(1) == targets).tolist(),
                "groups": problem.groups[problem.train][judged].tolist()}  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as file:
            file.write(json.dumps(kept).encode())
        print(f"{data} {cut} {views} views, {name}, seed {seed}: {np.mean(kept['right']):.3f} {kept['log_loss']:.3f} "
              f"{seconds:.0f} s", flush=True)  # fmt: skip


def log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean cross-entropy in nats."""
    return float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets)))


def file_of(data: str, cut: str, views: int, name: str, seed: int) -> Path:
    """Where a measurement is kept."""
    return KEPT / data / f"{cut}-{views}-{name.replace(' ', '_').replace(',', '')}-{seed}.json"


INTRODUCTION = f"""GoogLeNet (torchvision's network) with the shared short checkpoint, {INPUT_PX} pixels, 4 views.
{FOLDS} grouped folds of the training part; test parts are not touched. 150 optimizer steps of 32 examples unless a
row says otherwise; the head's rate is ten times `lr` unless it is `head alike` or there is `no decay`; batch norm's
statistics are frozen unless norms are trained. A cell: accuracy, its paired difference to the probe on the same
examples with a 95 % bootstrap over examples (over patients or other groups where there are any), and the log loss
before any calibration (nats). One seed. Rows that were not run are left out."""
SECTIONS = {
    "4e": (
        "What lies above 4e is trained",
        "Every fold is left out once. Made by `python benchmarks/defaults_study.py`.",
    ),
    "input": (
        "Everything is trained",
        "One fold of three is left out. Made by `python benchmarks/defaults_study.py --cut input --folds 1`.",
    ),
}


def page(views: int, seed: int = 0) -> str:
    """What is kept, as Markdown."""
    lines = ["# Defaults of fine-tuning, chosen inside the training parts", "", INTRODUCTION]
    for cut, (title, how) in SECTIONS.items():
        lines += [
            "",
            f"## {title}",
            "",
            how,
            "",
            f"| candidate | {' | '.join(SETS)} |",
            f"| --- |{' --- |' * len(SETS)}",
        ]
        for name in ("probe", *CANDIDATES):
            cells = [cell(data, cut, views, name, seed) for data in SETS]
            if any(cells):
                lines.append(f"| {name} | {' | '.join(one or 'not run' for one in cells)} |")
    return "\n".join(lines) + "\n\n" + FOUND


def cell(data: str, cut: str, views: int, name: str, seed: int) -> str:
    """One cell; empty where it was not run."""
    path, beside = (file_of(data, cut, views, one, seed) for one in (name, "probe"))
    if not path.is_file() or not beside.is_file():
        return ""
    kept, probed = json.loads(path.read_text()), json.loads(beside.read_text())
    right, groups = np.array(kept["right"], dtype=float), list(map(str, kept["groups"]))
    against = shown(right - np.array(probed["right"], dtype=float), groups, signed=True)
    return f"{right.mean():.3f}{f' ({against})' if name != 'probe' else ''}, {kept['log_loss']:.3f}"


def main() -> None:
    """Measure what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--cut", default="4e")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only-write", action="store_true")
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"how many of the {FOLDS} folds are left out in turn")
    parser.add_argument("--names", nargs="+", default=["probe", *CANDIDATES])
    given = parser.parse_args()
    if not CHECKPOINT.is_file():
        raise SystemExit(f"{CHECKPOINT} is not there: this study needs the shared checkpoint and data sets.")
    torch.set_num_threads(1)
    for data in [] if given.only_write else given.data:
        measure(data, given.cut, given.views, range(given.seeds), given.names, given.folds)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(given.views))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
