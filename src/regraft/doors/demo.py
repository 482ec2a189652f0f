"""The demonstration: handwritten digits from the weights that are shipped, by feature extraction, partial and full
fine-tuning, and from scratch.

The network was trained on photographs, as far from digits as pictures can be. What is printed is what was measured,
whatever it is.
"""

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.doors._demo_pictures import write_digits
from regraft.doors.python import fit
from regraft.values import Measured
from regraft.workbench.compare import compare
from regraft.workbench.run import Run

DATA = Path("demo-data")
RUNS = Path("runs") / "demo"
INPUT_PX = 64
TRAIN, TEST = 10, 60
SEED = 0
TUNING = {"epochs": 1, "min_steps": 150, "batch": 32}


def main() -> int:
    """Run the demonstration in the current folder; returns the exit code."""
    began = time.monotonic()
    shutil.rmtree(RUNS, ignore_errors=True)
    say(f"1. Pictures: scikit-learn's handwritten digits, {TRAIN} a class to train on, {TEST} to test.")
    if not (DATA / "done").is_file():
        shutil.rmtree(DATA, ignore_errors=True)
        write_digits(DATA / "digits", train_per_class=TRAIN, test_per_class=TEST, seed=SEED)
        (DATA / "done").write_text("")
    say("2. Transfer: GoogLeNet with the shipped weights, retrained not at all, in part, wholly; and the control.")
    runs = {
        "probe": digits("probe"),
        "partial": digits("partial", options=TUNING),
        "full": digits("full", options=TUNING, views=1),
        "scratch": digits("scratch", backbone="googlenet:bn@random", options=TUNING, views=1),
    }
    partial = runs["partial"].recipe.cut
    say("")
    say(table(runs))
    say("")
    gain = less(runs["full"], runs["scratch"]).told(signed=True)
    say(f"What pretraining brings: full less scratch {gain}.")
    say(f"probe: the frozen network's features and a solved linear head. partial: stages above {partial} retrained.")
    say("full: all of them. scratch: the same network from random weights, as many steps: what transfer has to beat.")
    say("Intervals are 95 %; `vs probe` is the paired difference on the same test digits.")
    say(f"Reports: {', '.join(str(run.path / 'report.md') for run in runs.values())}")
    say(f"{time.monotonic() - began:.0f} s in all. Next: regraft predict {RUNS / 'full'} {DATA / 'digits' / 'test'}")
    return 0


def digits(strategy: str, *, backbone: str = "googlenet", **settings: Any) -> Run:
    """One run; no views, since a turned or mirrored digit may be another one."""
    return fit(DATA / "digits", backbone=backbone, strategy=strategy, out=RUNS / strategy, input_px=INPUT_PX, seed=SEED,
               augmentation="none", **settings)  # fmt: skip


def table(runs: Mapping[str, Run]) -> str:
    """The comparison, one line per strategy."""
    lines = [f"{'':<9}{'accuracy':<24}{'vs probe':<26}{'train-test gap':<16}{'trained':>10}{'seconds':>9}"]
    for name, run in runs.items():
        report = run.report
        accuracy = report.evaluation["test"].metrics["accuracy"]
        against = "" if name == "probe" else less(run, runs["probe"]).told(signed=True)
        gap = sum(step.worse_by.value for step in report.gaps)
        seconds = sum(phase.seconds for phase in report.phases)
        trained = f"{report.backbone.parameters_trained:,}"
        lines.append(f"{name:<9}{accuracy.told():<24}{against:<26}{gap:<+16.3f}{trained:>10}{seconds:>9.1f}")
    return "\n".join(lines)


def less(run: Run, other: Run) -> Measured:
    """Accuracy of a run less that of another, on the same test digits. `scratch` has a probe of its own beside it, of
    random features: that is not the one to beat."""
    return compare(run.path, other.path).paired.difference


def say(text: str) -> None:
    """A line for the reader, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
