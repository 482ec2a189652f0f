"""How much of the package one run goes through: files whose code is executed, and frames down to the first gradient;
and how much there is to read first.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MAX_FILES = 100
"""Files that one `fit --strategy partial` executes at most (DESIGN, section 3)."""
MAX_FRAMES = 9
"""Frames of ours between the command and the first gradient at most."""
KNOWN_FILES, KNOWN_FRAMES = 100, 9
"""What it is now; these numbers may only fall, to the two above."""

CHILD = """
import json, sys, threading
from pathlib import Path
executed, frames = set(), []

def profile(frame, event, argument):
    if event == "call":
        executed.add(frame.f_code.co_filename)

sys.setprofile(profile)
threading.setprofile(profile)
from regraft.doors.cli import main
import regraft
package = str(Path(regraft.__file__).parent)
import torch
backward = torch.Tensor.backward

def first(self, *arguments, **named):
    if not frames:
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename.startswith(package):
                frames.append(frame.f_code.co_filename[len(package) + 1:] + ":" + frame.f_code.co_name)
            frame = frame.f_back
    return backward(self, *arguments, **named)

torch.Tensor.backward = first
sys.argv = ["regraft", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
sys.setprofile(None)
files = sorted(name[len(package) + 1:] for name in executed if name.startswith(package))
Path("reach.json").write_text(json.dumps({"files": files, "frames": frames[::-1]}))
"""


@pytest.fixture(scope="module")
def reach(tmp_path_factory: pytest.TempPathFactory, child_env: dict[str, str]) -> dict[str, list[str]]:
    """Files and frames of one fit on tiny inputs, in a fresh process with an empty store."""
    root = tmp_path_factory.mktemp("reach")
    for split, count in (("train", 12), ("test", 6)):
        for number in range(count):
            random = np.random.default_rng(1000 * len(split) + number)
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            path = root / "data" / split / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((40, 40)).save(path)
    command = [
        *(sys.executable, "-c", CHILD, "fit", "data", "--strategy", "partial", "--out", "run"),
        *("--backbone", "googlenet:tiny@random", "--set", "input_px=32", "--set", "views=1", "--set", "threads=1"),
        *("--set", "options.epochs=1", "--set", "options.min_steps=1"),
    ]
    env = {**child_env, "REGRAFT_CACHE": str(root / "cache")}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads((root / "reach.json").read_text())
    return found


def lines_of_code(package: Path, name: str) -> int:
    return sum(bool(line.strip()) for line in (package / name).read_text(encoding="utf-8").splitlines())


def test_a_fit_executes_few_files(reach: dict[str, list[str]], package: Path) -> None:
    ours = [name for name in reach["files"] if name.endswith(".py") and not name.endswith("__init__.py")]
    sizes = sorted((lines_of_code(package, name), name) for name in ours)
    listed = "\n".join(f"{size:4d} {name}" for size, name in sizes)
    print(f"{len(sizes)} files, the shortest first:\n{listed}")  # noqa: T201 - for whoever shortens the list
    assert len(sizes) <= max(KNOWN_FILES, MAX_FILES), f"{len(sizes)} files are executed; merge the shortest:\n{listed}"


def test_the_first_gradient_is_a_few_calls_away_from_the_command(reach: dict[str, list[str]]) -> None:
    listed = "\n".join(reach["frames"])
    print(f"{len(reach['frames'])} frames:\n{listed}")  # noqa: T201 - for whoever shortens the list
    assert 0 < len(reach["frames"]) <= max(KNOWN_FRAMES, MAX_FRAMES), f"{len(reach['frames'])} frames:\n{listed}"


READ_FIRST = (
    "contracts/backbone.py",
    "contracts/task.py",
    "activations/states.py",
    "strategies/loop.py",
    "workbench/fit.py",
)
"""What to read first (DESIGN, section 3)."""


def test_the_files_to_read_first_are_short(package: Path) -> None:
    lengths = {name: len((package / name).read_text(encoding="utf-8").splitlines()) for name in READ_FIRST}
    assert sum(lengths.values()) <= 500, lengths
