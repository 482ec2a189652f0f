"""Pictures for the demonstration, from what dependencies carry: scikit-learn's handwritten digits (UCI, 8x8 grey
levels), written as PNG files.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

SIDE_PX = 40
"""Side of every picture."""


def write_digits(root: Path, *, train_per_class: int, test_per_class: int, seed: int) -> None:
    """`root/{train,test}/N/…png`, drawn from scikit-learn's digits by `seed`; no digit is in both."""
    from sklearn.datasets import load_digits

    random, digits = np.random.default_rng(seed), load_digits()
    for number in range(10):
        rows = random.permutation(np.flatnonzero(digits.target == number))[: train_per_class + test_per_class]
        pictures = [_digit(digits.images[row]) for row in rows]
        _write(root / "train" / str(number), pictures[:train_per_class])
        _write(root / "test" / str(number), pictures[train_per_class:])


def _write(folder: Path, pictures: Sequence[UInt8[np.ndarray, "_ _"]]) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:04d}.png")


def _digit(image: np.ndarray) -> UInt8[np.ndarray, "40 40"]:
    from PIL import Image

    small = Image.fromarray(np.rint(image * 255 / 16).astype(np.uint8)).resize((32, 32), Image.Resampling.BILINEAR)
    picture = Image.new("L", (SIDE_PX, SIDE_PX), 0)
    picture.paste(small, ((SIDE_PX - 32) // 2,) * 2)
    return np.asarray(picture)
