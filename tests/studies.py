"""A folder of painted images for studies."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("blue", "dots", "green", "plain", "red", "stripes")


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
