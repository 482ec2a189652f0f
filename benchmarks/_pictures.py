"""Images that the benchmark generates, or copies from a dataset."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ENDINGS = (".jpg", ".jpeg", ".png")


def noise_set(root: Path, *, per_class: int = 8, side_px: int = 256) -> Path:
    """A folder of two classes of seeded noise, whose only purpose is to be a different data set."""
    random = np.random.default_rng(0)
    for label in ("dark", "light"):
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            small = random.integers(0, 256, (8, 8, 3), dtype=np.uint8) // 2 + (128 if label == "light" else 0)
            picture = Image.fromarray(small.astype(np.uint8)).resize((side_px, side_px), Image.Resampling.BICUBIC)
            picture.save(root / label / f"{number}.png")
    return root


def pictures(folder: Path) -> list[Path]:
    """Every picture below a folder, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)


def part_of(data: Path, root: Path, *, per_class: dict[str, int]) -> Path:
    """The first pictures of every class of `data` (train/…, val/…), copied; `per_class` counts them by part."""
    for part, count in per_class.items():
        for folder in sorted(path for path in (data / part).iterdir() if path.is_dir()):
            goal = root / part / folder.name
            goal.mkdir(parents=True, exist_ok=True)
            for path in pictures(folder)[:count]:
                shutil.copy(path, goal / path.name)
    return root


def many_of(data: Path, root: Path, *, count: int) -> Path:
    """A folder of class folders with `count` pictures, made of those of `data`: as they are, then mirrored, turned …

    Every one has content of its own.
    """
    changes = (
        lambda picture: picture,
        ImageOps.mirror,
        ImageOps.flip,
        lambda picture: ImageOps.mirror(ImageOps.flip(picture)),
        ImageOps.invert,
        lambda picture: ImageOps.mirror(ImageOps.invert(picture)),
        lambda picture: ImageOps.flip(ImageOps.invert(picture)),
        lambda picture: ImageOps.mirror(ImageOps.flip(ImageOps.invert(picture))),
    )
    sources = pictures(data)
    for number in range(count):
        path, change = sources[number % len(sources)], changes[number // len(sources)]
        goal = root / path.parent.name
        goal.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as opened:
            change(opened.convert("RGB")).save(goal / f"{number:05d}.jpg", quality=90)
    return root
