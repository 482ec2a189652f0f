"""One small run for every way to train, made once: the head alone, an inner cut, everything."""

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.bundle_format import FACTS, sealed
from regraft.recipe import Recipe
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone

WAYS = {
    "probe": {},
    "partial": {"epochs": 1, "min_steps": 2, "batch": 8},
    "full": {"epochs": 1, "min_steps": 2, "batch": 8},
}
CLASSES = ("columns", "rows")


@dataclass(frozen=True)
class Small:
    """A finished run."""

    path: Path
    photos: Path

    @property
    def model(self) -> Path:
        """The bundle."""
        return self.path / "model"

    def answers(self) -> dict[Path, dict[str, float]]:
        """What the run itself said of its test part: probabilities by file."""
        with (self.path / "predictions.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
        return {self.photos / row["id"]: {name: float(row[f"p:{name}"]) for name in CLASSES} for row in rows}


def stripes(label: int, seed: int, size: int = 40) -> Image.Image:
    """Stripes along rows or columns, with noise: two classes that any features tell apart."""
    random = np.random.default_rng(seed)
    wave = (np.searchsorted(np.sort(random.choice(size, 8, replace=False)), np.arange(size)) % 2) * 120
    plane = wave[:, None].repeat(size, 1) if label else wave[None].repeat(size, 0)
    pixels = plane[..., None] + random.integers(0, 80, 3) + random.integers(0, 40, (size, size, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`{train,test}/{rows,columns}`: 24 and 10 pictures."""
    root = tmp_path_factory.mktemp("bundles") / "photos"
    for part, count in (("train", 24), ("test", 10)):
        for number in range(count):
            folder = root / part / CLASSES[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            stripes(number % 2, 1000 * len(part) + number).save(folder / f"{number}.png")
    return root


class Runs(dict[str, Small]):
    """A run for every way in `WAYS`, made when it is first asked for."""

    def __init__(self, photos: Path, folder: Path) -> None:
        super().__init__()
        self.photos, self.folder = photos, folder

    def __missing__(self, strategy: str) -> Small:
        out = self.folder / strategy
        chosen = Recipe(
            data=str(self.photos), backbone="googlenet:tiny@random", strategy=strategy, input_px=32, threads=1,
            options=WAYS[strategy],
        )  # fmt: skip
        assert isinstance(list(fit(chosen, out))[-1], RunDone)
        return self.setdefault(strategy, Small(path=out, photos=self.photos))


@pytest.fixture(scope="session")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Small]:
    """A run for every way in `WAYS`."""
    return Runs(photos, tmp_path_factory.mktemp("runs"))


@pytest.fixture(params=WAYS)
def small(request: pytest.FixtureRequest, runs: Mapping[str, Small]) -> Small:
    """Every run in turn."""
    return runs[request.param]


@pytest.fixture
def copy(runs: Mapping[str, Small], tmp_path: Path) -> Path:
    """The bundle of the probe, to be damaged."""
    return Path(shutil.copytree(runs["probe"].model, tmp_path / "model"))


@pytest.fixture
def reseal(copy: Path) -> Callable[[Callable[[Any], None]], Path]:
    """A function that changes `bundle.json` of the copy and seals it anew, as only a program would."""

    def change(edit: Callable[[Any], None]) -> Path:
        body = json.loads((copy / FACTS).read_text(encoding="utf-8"))
        edit(body)
        body = {name: value for name, value in body.items() if name not in ("digest", "format")}
        (copy / FACTS).write_text(json.dumps(sealed(body)), encoding="utf-8")
        return copy

    return change
