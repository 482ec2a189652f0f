"""One real task from data to a proven model: handwritten digits from the weights that are shipped, by feature
extraction, partial and full fine-tuning, and from scratch.

    make demo, or: python examples/demo.py

Nothing is fetched: the digits come with scikit-learn (UCI, 8x8 grey levels). The network was trained on photographs, as
far from digits as images can be. What is printed is what was measured, whatever it is.
"""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import regraft
from regraft.values import Measured

DATA = Path("demo-data")
RUNS = Path("runs") / "demo"
SIDE_PX = 40
"""Side of every image."""
INPUT_PX = 64
TRAIN, TEST = 10, 60
SEED = 0
TUNING = {"epochs": 1, "min_steps": 150, "batch": 32}


def main() -> int:
    """Run the demonstration in the current folder; returns the exit code."""
    began = time.monotonic()
    shutil.rmtree(RUNS, ignore_errors=True)
    print(f"1. Images: scikit-learn's handwritten digits, {TRAIN} a class to train on, {TEST} to test.")
    if not (DATA / "done").is_file():
        shutil.rmtree(DATA, ignore_errors=True)
        write_digits(DATA / "digits", train_per_class=TRAIN, test_per_class=TEST, seed=SEED)
        (DATA / "done").write_text("")
    print("2. Transfer: GoogLeNet with the shipped weights, retrained not at all, in part, wholly; and the control.")
    runs = {
        "probe": digits("probe"),
        "partial": digits("partial", options=TUNING),
        "full": digits("full", options=TUNING, views=1),
        "scratch": digits("scratch", backbone="googlenet:bn@random", options=TUNING, views=1),
    }
    partial = runs["partial"].report.strategy.cut
    print()
    print(table(runs))
    print()
    gain = less(runs["full"], runs["scratch"]).told(signed=True)
    print(f"What pretraining brings: full less scratch {gain}.")
    print(f"probe: the frozen network's features and a solved linear head. partial: stages above {partial} retrained.")
    print("full: all of them. scratch: the same network from random weights, as many steps: what transfer has to beat.")
    print("Intervals are 95 %; `vs probe` is the paired difference on the same test digits.")
    print(f"Reports: {', '.join(str(run.path / 'report.md') for run in runs.values())}")
    print(f"{time.monotonic() - began:.0f} s in all. Next: regraft predict {RUNS / 'full'} {DATA / 'digits' / 'test'}")
    return 0


def digits(strategy: str, *, backbone: str = "googlenet", **settings: Any) -> regraft.Run:
    """One run; no views, since a turned or mirrored digit may be another one."""
    return regraft.fit(
        DATA / "digits", backbone=backbone, strategy=strategy, out=RUNS / strategy, input_px=INPUT_PX, seed=SEED,
        augmentation="none", **settings,
    )  # fmt: skip


def table(runs: Mapping[str, regraft.Run]) -> str:
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


def less(run: regraft.Run, other: regraft.Run) -> Measured:
    """Accuracy of a run less that of another, on the same test digits. `scratch` has a probe of its own beside it, of
    random features: that is not the one to beat."""
    return regraft.compare(run.path, other.path).paired.difference


def write_digits(root: Path, *, train_per_class: int, test_per_class: int, seed: int) -> None:
    """`root/{train,test}/N/…png`, drawn from scikit-learn's digits by `seed`; no digit is in both."""
    random, source = np.random.default_rng(seed), load_digits()
    for number in range(10):
        rows = random.permutation(np.flatnonzero(source.target == number))[: train_per_class + test_per_class]
        images = [digit_image(source.images[row]) for row in rows]
        write_images(root / "train" / str(number), images[:train_per_class])
        write_images(root / "test" / str(number), images[train_per_class:])


def write_images(folder: Path, images: Sequence[Image.Image]) -> None:
    """Numbered PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        image.save(folder / f"{number:04d}.png")


def digit_image(levels: np.ndarray) -> Image.Image:
    """A digit of 8 x 8 levels from 0 to 16, four times as large, on a black ground."""
    small = Image.fromarray(np.rint(levels * 255 / 16).astype(np.uint8)).resize((32, 32), Image.Resampling.BILINEAR)
    image = Image.new("L", (SIDE_PX, SIDE_PX), 0)
    image.paste(small, ((SIDE_PX - 32) // 2,) * 2)
    return image


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    sys.exit(main())
