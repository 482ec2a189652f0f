"""What the stored prefix saves a detector: an epoch above a stored cut against one that computes the prefix anew.

    .venv/bin/python benchmarks/detector_ratio.py [--images 48] [--epochs 2] [--page PAGE]

The single-stage detector on the first images of animal_detection, cut at the stage nearest to stride 16, batches of 16,
trained by `strategies/finetune` every time: with two stored views; with a new view of every image in every epoch; and
the same with the frozen stages in PyTorch. The ways take turns (A B C A B C); the first epoch of a turn is not counted.
CPU seconds of all threads, so that other work on the machine moves the ratio little; of a single thread these are the
seconds of an epoch.
"""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from _problems import returned
from _sets import Set

from regraft.activations.openvino import processor
from regraft.contracts.strategy import Problem
from regraft.recipe import Recipe
from regraft.strategies import finetune
from regraft.values import Progress
from regraft.words import table
from regraft.workbench._machine import Phases
from regraft.workbench._training import opened, store_states

BACKBONES, BAR = ("googlenet", "efficientnet_lite0@package"), 2.0
WAYS: dict[str, dict[str, Any]] = {
    "stored": {"views": 2},
    "anew": {"views": 0},
    "torch": {"views": 0, "backend": "torch"},
}
"""The ways, as settings of a recipe."""


def main() -> None:
    """Measure, print, and write the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=48, help="training images (48)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of a turn (2)")
    parser.add_argument("--page", type=Path, help="where the page is written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        data, every = part(Path(folder), given.images)
        rows = [row(backbone, data, given.epochs, every / given.images) for backbone in BACKBONES]
    text = page(rows, given.images, every)
    print(text)
    if given.page:
        given.page.write_text(text, encoding="utf-8")


def part(folder: Path, images: int) -> tuple[Path, int]:
    """A copy of the set with the first training images and a few to test on; and how many there are to train on."""
    whole, data = Set(name="animal_detection").open(), folder / "animals"
    names = {split: (whole / "ImageSets/Main" / f"{split}.txt").read_text().split() for split in ("train", "test")}
    (data / "ImageSets/Main").mkdir(parents=True)
    for split, some in (("train", names["train"][:images]), ("test", names["test"][:4])):
        (data / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(some))
        for kind in ("JPEGImages", "Annotations"):
            (data / kind).mkdir(exist_ok=True)
            for name in some:
                (file,) = (whole / kind).glob(f"{name}.*")
                shutil.copy(file, data / kind)
    return data, len(names["train"])


def row(backbone: str, data: Path, count: int, scale: float) -> list[str]:
    """A row of the table: what an epoch costs in each way, times `scale`, and the ratios to the stored one."""
    problems = {way: posed(backbone, data, settings) for way, settings in WAYS.items()}
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(2):
        for way, problem in problems.items():
            found[way].append(scale * median(epochs(problem, count)))
            print(f"{backbone}, {way}: {found[way][-1]:.1f} CPU seconds an epoch", flush=True)
    ratios = []
    for way in ("anew", "torch"):
        turns = ", ".join(f"{b / a:.2f}" for a, b in zip(found["stored"], found[way], strict=True))
        ratios.append(f"{median(found[way]) / median(found['stored']):.2f} ({turns})")
    cut = problems["stored"].cut
    return [f"`{backbone}`, cut at {cut}", *(f"{median(found[way]):.1f}" for way in WAYS), *ratios]


def posed(backbone: str, data: Path, settings: dict[str, Any]) -> Problem:
    """The training part as a problem, its states stored where there are views."""
    recipe = Recipe(data=str(data), backbone=backbone, strategy="partial", threads=1, **settings)
    setup = returned(opened(recipe, None, Phases(log=lambda _: None)))
    stored = returned(store_states(setup))
    session = setup.session
    return Problem(
        backbone=setup.backbone, cut=setup.resolved.cut, task=session.task, states=stored.states, top=stored.top,
        targets=session.targets, groups=session.splits.groups, train=session.learnable,
        val=np.zeros(0, dtype=np.int64), seed=0,
    )  # fmt: skip


def epochs(problem: Problem, count: int) -> list[float]:
    """CPU seconds of each epoch but the first."""
    options = replace(finetune.Options(), epochs=count, min_steps=0, batch=16, patience=0)
    ends = [
        time.process_time()
        for event in finetune.fit(problem, options)
        if isinstance(event, Progress) and "loss" in event.facts
    ]
    return np.diff(ends).tolist()


def page(rows: list[list[str]], images: int, every: int) -> str:
    """The page as Markdown."""
    header = ["", "stored", "anew", "anew, in PyTorch", "anew / stored", "in PyTorch / stored"]
    return f"""# A detector above a stored cut

Made by `python benchmarks/detector_ratio.py`, which says how: CPU seconds of an epoch of {every} images, measured on
{images} of them, 224 pixels, one thread of {processor()[0]}. In brackets: the ratio in each turn; other
work ran on the machine. The bar is {BAR:g}.

{table(header, rows)}

*Anew* is `--views 0`: every image is decoded, resized and augmented again in every epoch, and the frozen stages are run
by ONNX Runtime, or, as a loop without a store does, by PyTorch (`--set backend=torch`).
"""


if __name__ == "__main__":
    main()
