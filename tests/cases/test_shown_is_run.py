"""What `show` prints is what `fit` runs: both fill a recipe in by the same code."""

import json
import tomllib
from pathlib import Path

import pytest

from cases.door import photos, regraft

CASES = {
    "shipped": ("--backbone", "googlenet"),
    "shipped, smaller": ("--backbone", "googlenet", "--input-px", "64"),
    "another variant": ("--backbone", "googlenet:tiny@random", "--input-px", "32"),
    "the last stage": ("--backbone", "googlenet:tiny@random", "--input-px", "32", "--cut", "5b"),
    "another number of channels": ("--backbone", "googlenet:tiny@random", "--input-px", "32", "--set", "channels=1"),
    "views that cannot differ": (
        "--backbone", "googlenet:tiny@random", "--input-px", "32", "--strategy", "partial", "--augmentation", "none",
        "--set", "options.epochs=1", "--set", "options.min_steps=1", "--set", "folds=2", "--set", "max_repeats=1",
    ),
}  # fmt: skip
QUICK = ("shipped, smaller", "another number of channels")


@pytest.mark.parametrize(
    "flags",
    [one if name in QUICK else pytest.param(one, marks=pytest.mark.slow) for name, one in CASES.items()],
    ids=CASES,
)
def test_every_field_that_is_shown_is_the_field_that_is_run(flags: tuple[str, ...], tmp_path: Path) -> None:
    photos(tmp_path / "photos", 6)
    shown = regraft("show", "photos", *flags, folder=tmp_path)
    done = regraft("fit", "photos", *flags, "--set", "threads=1", "--out", "out", folder=tmp_path)
    assert (shown.code, done.code) == (0, 0), shown.err + done.err
    run = tomllib.loads((tmp_path / "out" / "recipe.toml").read_text(encoding="utf-8"))
    expected = run | {"task": "auto", "threads": 0} | {"seen": {"backbone": "", "data": ""}}
    assert tomllib.loads(shown.out) == expected


def test_the_shipped_weights_show_the_size_that_they_were_made_for() -> None:
    assert "\ninput_px = 128\n" in regraft("show", "photos").out


def test_without_augmentation_one_view_is_stored(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 6)
    flags = CASES["views that cannot differ"]
    done = regraft("fit", "photos", *flags, "--set", "threads=1", "--out", "o", folder=tmp_path)
    assert done.code == 0, done.err
    cuts = json.loads((tmp_path / "o" / "report.json").read_text(encoding="utf-8"))["store"]["cuts"]
    assert {(one["views"], one["rows"]) for one in cuts.values()} == {(1, 12)}
