"""Small pictures for the tests of this room."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (24, 20)) -> Image.Image:
    """A picture that no other seed comes near to."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


def folder_of(root: Path, names: Iterable[str]) -> Path:
    """A folder with one picture under every name, all different."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(path)
    return root


def table_of(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """A table beside pictures a.png to f.png."""
    folder_of(path.parent, [f"{letter}.png" for letter in "abcdef"])
    path.write_bytes(text.encode(encoding))
    return path
