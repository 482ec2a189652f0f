"""A folder of painted pictures, and a study so small that it ends in seconds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.lab._setting import Setting

CLASSES = ("blue", "dots", "green", "plain", "red", "stripes")


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes of sixteen pictures of 32 pixels, undivided; no two alike."""
    root = tmp_path_factory.mktemp("painted")
    for number, name in enumerate(CLASSES):
        (root / name).mkdir()
        for at in range(16):
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


@pytest.fixture(scope="session")
def tiny() -> Setting:
    """A few steps of the narrowest network on 32 pixels."""
    return Setting(
        name="small", num_classes=4, num_others=2, sizes=(6, 3), test_per_class=4, input_px=32, width=0.07, steps=3,
        batch=8, seeds=1,
    )  # fmt: skip
