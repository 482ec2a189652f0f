"""The example that `make demo` runs, on fewer images."""

import hashlib
import re
from pathlib import Path

import demo
import numpy as np
import pytest
from demo import write_digits
from PIL import Image

from regraft.data.open import open_dataset


def digests(root: Path) -> dict[str, str]:
    """Every file below a folder with the digest of its bytes."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    write_digits(root, train_per_class=4, test_per_class=6, seed=0)
    return root


def test_no_two_images_are_the_same(digits: Path) -> None:
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
            with Image.open(path) as image:
                small = image.crop((4, 4, 36, 36)).resize((8, 8), Image.Resampling.NEAREST)
            apart = np.abs(np.asarray(small, dtype=float) * 16 / 255 - source.images).mean(axis=(1, 2))
            assert source.target[apart.argmin()] == int(label)


def test_the_same_seed_draws_the_same_images_and_another_seed_others(tmp_path: Path, digits: Path) -> None:
    for name, seed in (("again", 0), ("other", 1)):
        write_digits(tmp_path / name, train_per_class=4, test_per_class=6, seed=seed)
    assert digests(tmp_path / "again") == digests(digits)
    assert digests(tmp_path / "other") != digests(digits)


@pytest.mark.slow  # a minute, and `make demo` itself is run wherever the default tests are
def test_every_way_is_held_against_the_probe_of_the_first_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "INPUT_PX", 32)
    monkeypatch.setattr(demo, "TRAIN", 2)
    monkeypatch.setattr(demo, "TEST", 6)
    monkeypatch.setattr(demo, "TUNING", {"epochs": 1, "min_steps": 2, "batch": 8})
    assert demo.main() == 0
    text = capsys.readouterr().out
    rows = {
        name: [float(one) for one in re.findall(r"[+-]?\d\.\d{3}", re.sub(r"\[.*?\]", "", line))]
        for line in text.splitlines()
        if (name := line.partition(" ")[0]) in ("probe", "partial", "full", "scratch")
    }
    assert list(rows) == ["probe", "partial", "full", "scratch"]
    for name in ("partial", "full", "scratch"):
        assert rows[name][1] == pytest.approx(rows[name][0] - rows["probe"][0], abs=0.0011)
    gain = re.search(r"full less scratch ([+-]\d\.\d{3})", text)
    assert gain
    assert float(gain[1]) == pytest.approx(rows["full"][0] - rows["scratch"][0], abs=0.0011)
