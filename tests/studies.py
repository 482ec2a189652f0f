"""A folder of painted pictures, and a study so small that it ends in seconds."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from regraft.lab.run import StudyDone
from regraft.lab.setting import Examples, Setting
from regraft.values import Event
from regraft.workbench._lab_data import open_examples

CLASSES = ("blue", "dots", "green", "plain", "red", "stripes")
TINY = Setting(
    name="small", num_classes=4, num_others=2, sizes=(6, 3), test_per_class=4, input_px=32, width=0.07, steps=3,
    batch=8, seeds=1,
)  # fmt: skip
"""A few steps of the narrowest network on 32 pixels."""


def paint(root: Path, *, each: int = 16) -> Path:
    """Six classes of `each` pictures of 32 pixels, undivided; no two alike."""
    for number, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for at in range(each):
            random = np.random.default_rng([number, at])
            pixels = random.integers(40, 160, (8, 8, 3)).repeat(4, axis=0).repeat(4, axis=1)
            match name:
                case "stripes":
                    pixels[::4] += 90
                case "dots":
                    pixels[::4, ::4] += 90
                case "red" | "green" | "blue":
                    pixels[:, :, ("red", "green", "blue").index(name)] += 90
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{at}.png")
    return root


def opened(root: Path, setting: Setting = TINY) -> Examples:
    """The folder as the examples of a study."""
    found: Examples = returned(open_examples(root, setting, threads=1))
    return found


def returned(events: Iterator[Event]) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def done(events: Iterable[Event]) -> StudyDone:
    """The last event of a study."""
    *_, last = events
    assert isinstance(last, StudyDone)
    return last
