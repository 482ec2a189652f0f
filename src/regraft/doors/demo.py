"""The demonstration: handwritten digits by feature extraction, partial and full fine-tuning, and from scratch.

No pretrained weights are shipped yet, so it first pretrains a small GoogLeNet on letters that it renders itself; that
network is then the backbone. What is printed is what was measured, whatever it is.
"""

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.doors._demo_pictures import LETTERS, write_digits, write_letters
from regraft.doors.python import fit
from regraft.workbench.run import Run

DATA = Path("demo-data")
RUNS = Path("runs") / "demo"
INPUT_PX = 32
LETTERS_PER_CLASS = 80
DIGITS_TRAIN, DIGITS_TEST = 10, 60
SEED = 0
PRETRAINING = {"epochs": 12, "min_steps": 1, "batch": 64, "warmup_share": 0.2, "lr": 2e-3}
TUNING = {"epochs": 1, "min_steps": 150, "batch": 32, "lr": 3e-4}
SCRATCH = {**TUNING, "lr": 1e-3}


def main() -> int:
    """Run the demonstration in the current folder; returns the exit code."""
    began = time.monotonic()
    shutil.rmtree(RUNS, ignore_errors=True)
    say(f"1. Pictures: {LETTERS_PER_CLASS} of each of {len(LETTERS)} letters, drawn with matplotlib's fonts,")
    say(f"   and scikit-learn's handwritten digits: {DIGITS_TRAIN} a class to train on, {DIGITS_TEST} to test.")
    if not (DATA / "done").is_file():
        shutil.rmtree(DATA, ignore_errors=True)
        write_letters(DATA / "letters", per_class=LETTERS_PER_CLASS, seed=SEED)
        write_digits(DATA / "digits", train_per_class=DIGITS_TRAIN, test_per_class=DIGITS_TEST, seed=SEED)
        (DATA / "done").write_text("")
    say("2. Pretraining: a GoogLeNet of a quarter of the usual width learns the letters, from random weights.")
    say("   (Weights trained on real photographs will be shipped with a later version.)")
    letters = fit(DATA / "letters", backbone="googlenet:tiny@random", strategy="scratch", out=RUNS / "letters",
                  input_px=INPUT_PX, views=1, **common(PRETRAINING))  # fmt: skip
    say("3. Transfer to digits: that network, retrained not at all, in part, wholly; and the control.")
    backbone = f"bundle:{letters.path}"
    runs = {
        "probe": fit(DATA / "digits", backbone=backbone, strategy="probe", out=RUNS / "probe", **common({})),
        "partial": fit(DATA / "digits", backbone=backbone, strategy="partial", cut="4a", out=RUNS / "partial",
                       **common(TUNING)),
        "full": fit(DATA / "digits", backbone=backbone, strategy="full", out=RUNS / "full", views=1, **common(TUNING)),
        "scratch": fit(DATA / "digits", backbone="googlenet:tiny@random", strategy="scratch", out=RUNS / "scratch",
                       views=1, input_px=INPUT_PX, **common(SCRATCH)),
    }  # fmt: skip
    say("")
    say(table(runs))
    say("")
    say("probe: the frozen network's features and a solved linear head. partial: stages above 4a retrained.")
    say("full: all of them. scratch: the same network from random weights, as many steps: what transfer has to beat.")
    say("Intervals are 95 %; `vs probe` is the paired difference on the same test digits.")
    say(f"Reports: {', '.join(str(run.path / 'report.md') for run in runs.values())}")
    say(f"{time.monotonic() - began:.0f} s in all. Next: regraft predict {RUNS / 'full'} {DATA / 'digits' / 'test'}")
    return 0


def common(options: Mapping[str, Any]) -> dict[str, Any]:
    """What all runs share. One thread: a network this small gains nothing from a second."""
    return {"seed": SEED, "augmentation": "none", "threads": 1, "options": options}


def table(runs: Mapping[str, Run]) -> str:
    """The comparison, one line per strategy."""
    lines = [f"{'':<9}{'accuracy':<24}{'vs probe':<26}{'train-test gap':<16}{'trained':>10}{'seconds':>9}"]
    for name, run in runs.items():
        report = run.report
        accuracy = report["evaluation"]["test"]["metrics"]["accuracy"]
        paired = report["paired"]
        against = shown(paired["difference"], signed=True) if paired else ""
        gap = sum(step["worse_by"]["value"] for step in report["gaps"])
        seconds = sum(phase["seconds"] for phase in report["phases"])
        trained = f"{report['backbone']['parameters_trained']:,}"
        lines.append(f"{name:<9}{shown(accuracy):<24}{against:<26}{gap:<+16.3f}{trained:>10}{seconds:>9.1f}")
    return "\n".join(lines)


def shown(measured: Mapping[str, Any], *, signed: bool = False) -> str:
    """A number with its interval."""
    form = "+.3f" if signed else ".3f"
    if measured["low"] is None:
        return f"{measured['value']:{form}}"
    return f"{measured['value']:{form}} [{measured['low']:{form}}, {measured['high']:{form}}]"


def say(text: str) -> None:
    """A line for the reader, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
