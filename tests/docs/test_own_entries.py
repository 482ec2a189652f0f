"""The examples of how to extend Regraft work as they stand: saved under their titles, found by their entry points."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r'^```\w+ title="([\w.]+)"\n(.*?)^```$', flags=re.MULTILINE | re.DOTALL)
QUICK = ("--set", "options.min_steps=4", "--set", "options.epochs=1", "--quiet")


def install(page: str, folder: Path) -> None:
    """What `pip install` makes of the page's files: modules, and a distribution that names their entry points."""
    files = dict(BLOCK.findall((HOW_TO / f"{page}.md").read_text(encoding="utf-8")))
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    about = folder / "example-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 0.1\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {module}" for name, module in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def regraft(tmp_path: Path, child_env: dict[str, str]) -> Callable[..., str]:
    """Runs a command where the page's package is installed; returns what it prints."""
    env = {**child_env, "PYTHONPATH": os.pathsep.join([child_env["PYTHONPATH"], str(tmp_path)])}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "regraft", *words],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def draw_photos(folder: Path) -> None:
    """Noisy images of three brightnesses: eight of each to train on, four to test."""
    random = np.random.default_rng(0)
    for label, level in {"dark": 20, "grey": 80, "light": 150}.items():
        for number in range(12):
            path = folder / ("train" if number < 8 else "test") / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 90, (48, 48, 3)) + level
            Image.fromarray(pixels.astype(np.uint8)).save(path)


def draw_recordings(folder: Path) -> None:
    """Slow and fast oscillations of 64 numbers: eight of each to train on, four to test."""
    random, time = np.random.default_rng(0), np.arange(64) / 64
    for label, cycles in {"slow": 1, "fast": 5}.items():
        for number in range(12):
            path = folder / ("train" if number < 8 else "test") / label / f"{number}.sig"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.sin(2 * np.pi * (cycles * time + random.random())) + random.normal(0, 0.1, 64)
            path.write_text("\n".join(f"{value:.4f}" for value in values))


def report(run: Path) -> Any:
    """What a run measured."""
    return json.loads((run / "report.json").read_text(encoding="utf-8"))


def test_a_backbone_of_ones_own_is_described_trained_and_transferred_from(tmp_path: Path, regraft: Any) -> None:
    install("own-backbone", tmp_path)
    draw_photos(tmp_path / "photos")
    assert "low, middle (partial)" in regraft("describe", "mynet")
    regraft("fit", "photos", "--backbone", "mynet@random", "--strategy", "scratch", "--out", "own", *QUICK)
    regraft("fit", "photos", "--backbone", "own", "--strategy", "partial", "--out", "next", *QUICK)
    assert report(tmp_path / "next")["backbone"]["family"] == "mynet"
    assert regraft("predict", "next", "photos/test/dark/8.png").split("\t")[1] in ("dark", "grey", "light")


def test_a_task_of_ones_own_is_solved_trained_and_judged_by_its_metric(tmp_path: Path, regraft: Any) -> None:
    install("own-task", tmp_path)
    draw_photos(tmp_path / "photos")
    regraft("fit", "photos", "--task", "noisy", "--strategy", "partial", "--input-px", "64", "--out", "run", *QUICK)
    assert report(tmp_path / "run")["evaluation"]["test"]["main_metric"] == "noisy_accuracy"
    assert regraft("predict", "run", "photos/test/light/8.png").split("\t")[1] == "light"


@pytest.mark.slow
def test_a_strategy_of_ones_own_trains_what_it_says(tmp_path: Path, regraft: Any) -> None:
    install("own-strategy", tmp_path)
    draw_photos(tmp_path / "photos")
    regraft("fit", "photos", "--strategy", "bitfit", "--input-px", "64", "--out", "run", *QUICK)
    found = report(tmp_path / "run")
    assert found["strategy"]["name"] == "bitfit"
    assert 0 < found["backbone"]["parameters_trained"] < 50_000


def test_a_modality_of_ones_own_is_trained_on_and_predicted(tmp_path: Path, regraft: Any) -> None:
    install("own-modality", tmp_path)
    draw_recordings(tmp_path / "recordings")
    regraft("fit", "recordings", "--backbone", "signalnet@random", "--strategy", "partial", "--out", "run", *QUICK)
    regraft("predict", "run", "recordings/test", "--out", "table.csv")
    assert len((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()) == 9


def test_a_metric_of_ones_own_is_in_the_report(tmp_path: Path, regraft: Any) -> None:
    install("own-metric", tmp_path)
    draw_photos(tmp_path / "photos")
    regraft("fit", "photos", "--input-px", "64", "--out", "run", "--quiet")
    text = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "Top-2 accuracy" in text
