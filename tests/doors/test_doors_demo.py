"""The pictures of the demonstration; the whole of it is run by `make demo`."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.data.open import open_dataset
from regraft.doors._demo_pictures import write_digits


def digests(root: Path) -> dict[str, str]:
    """Every file below a folder with the digest of its bytes."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    write_digits(root, train_per_class=4, test_per_class=6, seed=0)
    return root


def test_no_two_pictures_are_the_same(digits: Path) -> None:
    found = list(digests(digits).values())
    assert len(set(found)) == len(found)


def test_the_digits_are_divided_as_asked_and_are_scikit_learns(digits: Path) -> None:
    from sklearn.datasets import load_digits

    found = open_dataset(digits)
    assert found.classes == tuple("0123456789")
    assert {part: set(row.values()) for part, row in found.counts().items()} == {"train": {4}, "test": {6}}
    source = load_digits()
    for label in "038":
        for path in sorted((digits / "train" / label).iterdir()):
            with Image.open(path) as picture:
                small = picture.crop((4, 4, 36, 36)).resize((8, 8), Image.Resampling.NEAREST)
            apart = np.abs(np.asarray(small, dtype=float) * 16 / 255 - source.images).mean(axis=(1, 2))
            assert source.target[apart.argmin()] == int(label)


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others(tmp_path: Path, digits: Path) -> None:
    for name, seed in (("again", 0), ("other", 1)):
        write_digits(tmp_path / name, train_per_class=4, test_per_class=6, seed=seed)
    assert digests(tmp_path / "again") == digests(digits)
    assert digests(tmp_path / "other") != digests(digits)
