"""The pictures of the demonstration; the whole of it is run by `make demo`."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.data.open import open_dataset
from regraft.doors._demo_pictures import FONTS, LETTERS, SIDE_PX, write_digits, write_letters


def digests(root: Path) -> dict[str, str]:
    """Every file below a folder with the digest of its bytes."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("letters")
    write_letters(root, per_class=3, seed=0)
    return root


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    write_digits(root, train_per_class=4, test_per_class=6, seed=0)
    return root


def test_no_digit_is_among_the_letters() -> None:
    assert len(set(LETTERS)) == len(LETTERS) > 30
    assert LETTERS.isalpha()
    assert LETTERS.isascii()


def test_every_font_comes_with_matplotlib() -> None:
    import matplotlib as mpl

    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    assert [name for name in FONTS if not (fonts / name).is_file()] == []


def test_every_letter_has_a_class_of_its_own_also_where_case_does_not_count(letters: Path) -> None:
    found = open_dataset(letters)
    assert len({label.casefold() for label in found.classes}) == len(LETTERS)
    assert found.num_examples == 3 * len(LETTERS)


def test_every_letter_is_seen_in_its_picture(letters: Path) -> None:
    for path in letters.rglob("*.png"):
        with Image.open(path) as picture:
            values = np.asarray(picture, dtype=float)
        assert values.shape == (SIDE_PX, SIDE_PX)
        assert values[4:-4, 4:-4].max() - np.median(values) > 40, f"{path.name} shows nothing"


def test_no_two_pictures_are_the_same(letters: Path, digits: Path) -> None:
    for root in (letters, digits):
        found = list(digests(root).values())
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


def test_the_same_seed_draws_the_same_letters(tmp_path: Path, letters: Path) -> None:
    write_letters(tmp_path, per_class=3, seed=0)
    assert digests(tmp_path) == digests(letters)
