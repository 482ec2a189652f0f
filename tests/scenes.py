"""Small images without a subject, and data sets of them as checks of an audit see these: no network is run, features
are miniatures."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from regraft.backbones.opening import named_card
from regraft.contracts.audit import SessionView
from regraft.contracts.task import TASKS
from regraft.data.open import open_dataset
from regraft.data.scan import ScanMemory, Scanned, scan


def scene(seed: int, side: int = 64) -> Image.Image:
    """A smooth random image, unlike any other."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    fine = Image.fromarray(rng.integers(0, 256, (21, 21, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    return Image.blend(coarse, fine, 0.4)


def put(image: Image.Image, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def viewed(root: Path, **changes: Any) -> SessionView:
    """The data at `root`; features are grey miniatures, the probe is right and sure of it."""
    options = changes.pop("options", {})
    dataset = open_dataset(root, learnable=False, **options)
    *_, scanned = scan(dataset, ScanMemory(root.parent / "memory"), max_damaged_share=1.0)
    assert isinstance(scanned, Scanned)
    dataset = scanned.dataset
    task = TASKS.get(dataset.kind)(dataset.classes)
    targets = task.targets(dataset.examples)
    card = named_card("googlenet:tiny@random")[1].with_input(64)
    features = scanned.rows["grey"].reshape(len(targets), -1).astype(np.float64)
    probabilities = np.full((len(targets), len(dataset.classes)), 0.02)
    if targets.dtype != object:
        probabilities[np.arange(len(targets)), targets] = 1 - 0.02 * (len(dataset.classes) - 1)
    rng = np.random.default_rng(0)
    pixels = np.array(card.mean) + np.array(card.std) * rng.normal(size=(16, 16, 3))
    known: dict[str, Any] = {
        "data": str(root), "examples": dataset.examples, "modality": dataset.reads, "task": task, "targets": targets,
        "prints": scanned.rows, "decoded": scanned.decoded, "groups": dataset.groups, "card": card,
        "features": features, "probabilities": probabilities,
        "record": lambda at: {"pixels": np.clip(pixels * 255, 0, 255).astype(np.uint8)},
    }  # fmt: skip
    return SessionView(**known | changes)
