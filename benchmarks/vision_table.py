"""Boxes and faces: the single-stage detector and verification on the shared sets, against their bars.

    .venv/bin/python benchmarks/vision_table.py --minutes 20

Runs the cells in order of value, each as `regraft fit` would, until the minutes are used; what is finished is kept
under `runs/vision` and not run again. Says first what is left and about how long it takes. Writes
docs/results/vision.md, where cells that were not run are marked as such.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
from _sets import ROOT, Set
from PIL import Image

from regraft.contracts.metric import metric
from regraft.data.open import open_dataset
from regraft.evaluation.differences import compare
from regraft.evaluation.intervals import measure
from regraft.reports.report import Report, read_report
from regraft.tasks.verification import Verification
from regraft.words import duration, table
from regraft.workbench.run import read_predictions

RUNS = ROOT / "runs" / "vision"
PAGE = ROOT / "docs" / "results" / "vision.md"
BOXES = Set(name="animal_detection")
FACES = Set(name="att_faces", path="pairs.csv")
VEHICLES = Set(name="vehicle_detection")
BEST = 2
"""Recipes of animal_detection that are run on vehicle_detection."""
DETECTOR = ("--task", "detection", "--strategy", "partial", "--set", "options.epochs=12", "--set", "options.batch=16")
RCNN = ("--set", "target.detector=faster_rcnn")
LITE, RANDOM = "efficientnet_lite0@package", "efficientnet_lite0@random"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run."""

    name: str
    of: Set
    title: str
    arguments: tuple[str, ...]
    seed: int
    seconds: float
    """About how long it takes on one core."""

    @property
    def command(self) -> list[str]:
        """What is run."""
        out = RUNS / f"{self.name}-{self.seed}"
        common = ("--seed", str(self.seed), "--out", str(out), "--set", "threads=1")
        return [sys.executable, "-m", "regraft", "fit", str(self.of.open()), *self.arguments, *common]

    @property
    def report(self) -> Report | None:
        """What was found; None where it was not run."""
        folder = RUNS / f"{self.name}-{self.seed}"
        return read_report(folder) if (folder / "report.json").is_file() else None


def cells() -> list[Cell]:
    """The cells in order of value: the bars with one seed first, then more seeds, then more backbones and cuts."""
    probe = ("--backbone", LITE, "--strategy", "probe")
    tuned = ("--backbone", LITE, "--strategy", "partial")
    found = [Cell(name="faces-probe", of=FACES, title="whitened probe", arguments=probe, seed=0, seconds=25)]
    detectors = (
        ("boxes", f"`{LITE}`, cut at block5 (stride 16)", ("--backbone", LITE, *DETECTOR), 260),
        ("boxes-random", f"`{RANDOM}`, cut at block5", ("--backbone", RANDOM, *DETECTOR), 260),
    )
    others = (
        ("boxes-faster-rcnn", f"`{LITE}`, cut at block5, Faster R-CNN", ("--backbone", LITE, *DETECTOR, *RCNN), 400),
        ("boxes-googlenet", "`googlenet`, cut at 4e (stride 16)", ("--backbone", "googlenet", *DETECTOR), 400),
        (
            "boxes-stride8",
            f"`{LITE}`, cut at block3 (stride 8)",
            ("--backbone", LITE, *DETECTOR, "--cut", "block3"),
            400,
        ),
        ("boxes-full", f"`{LITE}`, nothing frozen", ("--backbone", LITE, *DETECTOR, "--cut", "input"), 900),
    )
    for seed in range(3):
        found.append(Cell(name="faces", of=FACES, title="fine-tuned above block5 (ArcFace)", arguments=tuned, seed=seed,
                          seconds=80))  # fmt: skip
        for name, title, arguments, seconds in detectors:
            found.append(Cell(name=name, of=BOXES, title=title, arguments=arguments, seed=seed, seconds=seconds))
    for name, title, arguments, seconds in others:
        found += [
            Cell(name=name, of=BOXES, title=title, arguments=arguments, seed=seed, seconds=seconds)
            for seed in range(1 if RCNN[1] in arguments else 3)
        ]
    return found + vehicles(found)


def vehicles(every: list[Cell]) -> list[Cell]:
    """The recipes that were best on animal_detection, on vehicle_detection: by mean AP50 over the seeds that were
    run."""
    scores = dict[str, list[float]]()
    for cell in every:
        if cell.of is BOXES and (report := cell.report):
            scores.setdefault(cell.name, []).append(report.evaluation["test"].metrics["ap50"].value)
    best = sorted(scores, key=lambda name: -np.mean(scores[name]))[:BEST]
    of = {cell.name: cell for cell in reversed(every)}
    return [replace(of[name], name=f"vehicles-{name}", of=VEHICLES, seed=0) for name in best]


def run(minutes: float, every: list[Cell]) -> None:
    """Run what is not there yet, as long as there is time."""
    left = [cell for cell in every if cell.report is None]
    print(
        f"{len(left)} cells left, about {duration(sum(cell.seconds for cell in left))}; {minutes:g} minutes are given"
    )
    end = time.monotonic() + 60 * minutes
    for cell in left:
        if time.monotonic() + cell.seconds > end:
            print("no time for", cell.name, cell.seed)
            continue
        print("regraft fit", *cell.command[4:], flush=True)
        subprocess.run(cell.command, check=True)


def rows_of(names: list[str], by: str, every: list[Cell], spent_as: str = "seconds") -> list[list[str]]:
    """A row for each kind of cell: the metric for each seed, and the seconds (`cpu_seconds`: of the processor)."""
    rows = []
    for name in names:
        some = [cell for cell in every if cell.name == name]
        reports = [cell.report for cell in some]
        told = ["not run" if one is None else one.evaluation["test"].metrics[by].told() for one in reports]
        seconds = [sum(getattr(phase, spent_as) for phase in one.phases) for one in reports if one is not None]
        spent = duration(float(np.mean(seconds))) if seconds else "–"
        rows.append([some[0].title, *told, *["–"] * (3 - len(told)), spent])
    return rows


def raw_faces() -> tuple[str, list[str]]:
    """The AUROC of raw pixels on the same pairs, by their Euclidean distance, which does better than their cosine; and
    what each model gains on it."""
    dataset = open_dataset(FACES.open())
    chosen = [one for one in dataset.examples if one.split == "test"]
    pixels = np.stack([np.asarray(Image.open(one.path), dtype=np.float64).ravel() for one in chosen])
    squared = ((pixels[:, None] - pixels[None]) ** 2).sum(axis=2)
    # metrics take products of embeddings: those of a Gaussian kernel fall as distances rise
    values, vectors = np.linalg.eigh(np.exp(-squared / np.median(squared)))
    pixels = vectors * np.sqrt(np.maximum(values, 0))
    targets = Verification(dataset.classes).encode([one.label for one in chosen])
    said = measure(metric("pair_auroc"), targets, pixels).told()
    gains = []
    for cell in cells():
        if cell.of is FACES and cell.report is not None:
            path = RUNS / f"{cell.name}-{cell.seed}" / "predictions.csv"
            table_ = read_predictions(path, "test", "verification", dataset.classes)
            own = table_.in_order([one.id for one in chosen], dataset.classes).outputs
            found = compare(targets, own, pixels, metric="pair_auroc", names=(cell.title, "raw pixels"))
            gains.append(f"{cell.title}, seed {cell.seed}: {found.verdict}")
    return said, gains


def against_random(pair: tuple[str, str], kind: str, by: str) -> list[str]:
    """The paired difference between pretrained and random weights, by seed: of two kinds of cells, by a metric."""
    found = []
    for seed in range(3):
        paths = [RUNS / f"{name}-{seed}" for name in pair]
        reports = [read_report(path) for path in paths if (path / "report.json").is_file()]
        if len(reports) == 2:
            classes = reports[0].data.classes
            one, other = (read_predictions(path / "predictions.csv", "test", kind, classes) for path in paths)
            other = other.in_order(one.ids, classes)
            gain = compare(one.targets, one.outputs, other.outputs, metric=by, names=("pretrained", "random"))
            found.append(f"Seed {seed}: {gain.verdict}")
    return found


def write() -> None:
    """Write the page."""
    said, gains = raw_faces()
    detectors = list(dict.fromkeys(cell.name for cell in cells() if cell.of is BOXES))
    moved = list(dict.fromkeys(cell.name for cell in cells() if cell.of is VEHICLES))
    header = ["", "seed 0", "seed 1", "seed 2", "seconds, mean"]
    text = f"""# Boxes and faces

Made by `python benchmarks/vision_table.py`, which runs cells in order of value for as many minutes as it is given;
cells that were not run are marked. In brackets: 95 % intervals over test images, or over identities. Seconds are of a
whole run on one core of a machine that did other work as well, so they are upper bounds.

## Detection

animal_detection: 267 images to train on, 88 to test on, raccoons and kangaroos. The single-stage detector on a canvas
of 224 pixels, twelve epochs, batches of 16, four views. AP50; the bar is 0.5.

{table(header, rows_of(detectors, "ap50", cells()))}

COCO mAP:

{table(header, rows_of(detectors, "map", cells()))}

Pretrained against random weights, on the same test images:

{chr(10).join(f"* {one}" for one in against_random(("boxes", "boxes-random"), "detection", "ap50")) or "Not run."}

Faster R-CNN is given one seed.

vehicle_detection, by the {BEST} recipes with the highest mean AP50 above: 225 images to train on, 95 to test on, five
kinds of vehicles. Each image has boxes of the kind it was collected for only, so right finds of other kinds count as
false: compare the rows, and do not read them as AP. AP50, one seed:

{table(header, rows_of(moved, "ap50", cells())) if moved else "Not run."}

What the stored prefix saves: `python benchmarks/detector_ratio.py`.

## Verification

att_faces: s01 to s30 are trained on, tested are the 600 given pairs of s31 to s40. AUROC of pairs; raw pixels,
by their Euclidean distance, have {said}.

{table(header, rows_of(["faces-probe", "faces"], "pair_auroc", cells()))}

Against raw pixels, on the same pairs:

{chr(10).join(f"* {one}" for one in gains) or "Not run."}

There are ten identities in the test, so intervals are wide. The share of true accepts at one false in a hundred is
refused: 300 pairs of two identities are given, and 1,000 are needed. The probe is solved, and needs one seed.
"""
    PAGE.write_text(text, encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    run(parser.parse_args().minutes, cells())
    write()
