"""Masks: wbc_segmentation with pretrained and random backbones at several cuts, beside thresholds of colour.

    .venv/bin/python benchmarks/masks_table.py --minutes 20

Runs the cells in order of value, each as `regraft fit` would, until the minutes are used; what is finished is kept
under `runs/vision` and not run again. Says first what is left and about how long it takes. Writes
docs/results/masks.md, where cells that were not run are marked as such.
"""

import argparse
from itertools import product

import numpy as np
from _sets import ROOT, Set
from PIL import Image
from vision_table import LITE, RANDOM, RUNS, Cell, against_random, rows_of, run

from regraft.contracts.example import as_records
from regraft.contracts.metric import metric
from regraft.data.open import open_dataset
from regraft.evaluation.differences import compare
from regraft.evaluation.intervals import measure
from regraft.tasks.said import recorded
from regraft.tasks.segmentation import Segmentation
from regraft.words import table
from regraft.workbench.run import read_predictions

PAGE = ROOT / "docs" / "results" / "masks.md"
CELLS = Set(name="wbc_segmentation")
TUNED = (
    "--strategy", "partial", "--input-px", "128", "--set", "options.epochs=12", "--set", "options.batch=16",
    "--set", "options.min_steps=0",
)  # fmt: skip
CHANNELS = ("red", "green", "blue", "hue", "saturation", "value")
METRICS = ("iou", "dice", "boundary_f")


def cells() -> list[Cell]:
    """The cells in order of value."""
    first = (
        ("masks", f"`{LITE}`, cut at block5 (stride 16)", ("--backbone", LITE, *TUNED), 75),
        ("masks-random", f"`{RANDOM}`, cut at block5", ("--backbone", RANDOM, *TUNED), 75),
        ("masks-googlenet", "`googlenet`, cut at 4e (stride 16)", ("--backbone", "googlenet", *TUNED), 90),
    )
    others = (
        ("masks-stride8", f"`{LITE}`, cut at block3 (stride 8)", ("--backbone", LITE, *TUNED, "--cut", "block3"), 100),
        ("masks-full", f"`{LITE}`, nothing frozen", ("--backbone", LITE, *TUNED, "--cut", "input"), 200),
        ("masks-googlenet8", "`googlenet`, cut at 3b (stride 8)", ("--backbone", "googlenet", *TUNED, "--cut", "3b"),
         120),
        ("masks-googlenet-full", "`googlenet`, nothing frozen", ("--backbone", "googlenet", *TUNED, "--cut", "input"),
         300),
    )  # fmt: skip
    return [
        Cell(name=name, of=CELLS, title=title, arguments=arguments, seed=seed, seconds=seconds)
        for group, seeds in ((first, range(3)), (others, range(3)))
        for seed, (name, title, arguments, seconds) in product(seeds, group)
    ]


def by_colour() -> tuple[tuple[str, ...], np.ndarray, np.ndarray, str]:
    """Ids, targets and outputs of the test images by two thresholds, and which they are: one for the nucleus, one for
    the rest of the cell, each on the channel and the side of it that serve best on the training images."""
    dataset = open_dataset(CELLS.open())
    task = Segmentation(dataset.classes)
    targets = task.targets(dataset.examples)
    trained = [at for at, one in enumerate(dataset.examples) if one.split == "train"]
    images = [Image.open(one.path).convert("RGB") for one in dataset.examples]
    colours = [np.concatenate([np.asarray(one), np.asarray(one.convert("HSV"))], axis=2) for one in images]
    flat = np.concatenate([colours[at].reshape(-1, 6) for at in trained])
    truth = np.concatenate([targets[at].grid().ravel() for at in trained])
    nucleus = best(flat, truth == 2)
    left = ~chosen(flat, nucleus)
    plasm = best(flat[left], truth[left] == 1)
    masks = []
    for one in colours:
        grid = np.where(chosen(one, nucleus), 2, np.where(chosen(one, plasm), 1, 0)).astype(np.uint8)
        masks.append(grid)
    test = [at for at, one in enumerate(dataset.examples) if one.split == "test"]

    outputs = task.restored([recorded(masks[at], dataset.classes) for at in test])
    told = " and ".join(
        f"{CHANNELS[channel]} {'under' if below else 'from'} {limit}{' on' if not below else ''} for {name}"
        for name, (channel, limit, below) in (("the nucleus", nucleus), ("the cytoplasm", plasm))
    )
    return tuple(dataset.examples[at].id for at in test), as_records(list(targets[test])), outputs, told


def chosen(colours: np.ndarray, rule: tuple[int, int, bool]) -> np.ndarray:
    """Which points a threshold is for."""
    channel, limit, below = rule
    return (colours[..., channel] < limit) == below


def best(colours: np.ndarray, wanted: np.ndarray) -> tuple[int, int, bool]:
    """The channel, the threshold and the side of it with the highest IoU."""
    found = list[tuple[float, tuple[int, int, bool]]]()
    for channel in range(colours.shape[1]):
        inside, every = (
            np.concatenate([[0], np.cumsum(np.bincount(some, minlength=256))])
            for some in (colours[wanted, channel], colours[:, channel])
        )
        for below in (True, False):
            both, said = (inside, every) if below else (inside[-1] - inside, every[-1] - every)
            iou = both / np.maximum(said + inside[-1] - both, 1)
            found.append((float(iou.max()), (channel, int(iou.argmax()), below)))
    return max(found)[1]


def write() -> None:
    """Write the page."""
    ids, targets, outputs, told = by_colour()
    plain = ["two thresholds of colour", *(measure(metric(name), targets, outputs).told() for name in METRICS)]
    gains = []
    for cell in cells():
        if cell.report is not None:
            path = RUNS / f"{cell.name}-{cell.seed}" / "predictions.csv"
            classes = cell.report.data.classes
            own = read_predictions(path, "test", "segmentation", classes).in_order(ids, classes).outputs
            pair = compare(targets, own, outputs, metric="iou", names=(cell.title, "thresholds of colour"))
            gains.append(f"{cell.title}, seed {cell.seed}: {pair.verdict}")
    names = list(dict.fromkeys(cell.name for cell in cells()))
    header = ["", "seed 0", "seed 1", "seed 2", "CPU time, mean"]
    pairs = against_random(("masks", "masks-random"), "segmentation", "iou")
    tables = "\n\n".join(
        f"{metric(name).title}:\n\n{table(header, rows_of(names, name, cells(), 'cpu_seconds'))}" for name in METRICS
    )
    text = f"""# Masks

Made by `python benchmarks/masks_table.py`, which runs cells in order of value for as many minutes as it is given; cells
that were not run are marked. In brackets: 95 % intervals over test images. Times are CPU time of a whole run, its probe
included.

wbc_segmentation: 209 images of white blood cells to train on, 90 to test on, at most 120 pixels wide; background,
cytoplasm and nucleus. A canvas of 128 pixels, twelve epochs, batches of 16, four views; nothing was chosen by the test.

{tables}

## Against thresholds of colour

Both thresholds are chosen on the training images: {told}.

{table(["", *METRICS], [plain])}

The difference of the mean IoU on the same test images:

{chr(10).join(f"* {one}" for one in gains) or "Not run."}

## Pretrained against random weights

{chr(10).join(f"* {one}" for one in pairs) or "Not run."}
"""
    PAGE.write_text(text, encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    run(parser.parse_args().minutes, cells())
    write()
