"""What README.md says to type exists, in the words it uses."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from regraft.doors.cli import app

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    """The code blocks of README.md marked so."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [text for marked, text in found if marked == language]


def lines() -> list[str]:
    """The command lines of README.md, without comments and redirections."""
    every = [line.partition("#")[0].partition(">")[0].strip() for text in blocks("") for line in text.splitlines()]
    return [line for line in every if line.startswith("regraft ")]


@pytest.mark.parametrize("line", lines())
def test_every_command_of_the_readme_can_be_parsed(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    typer.main.get_command(app).commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


def test_the_readme_shows_the_way_from_data_to_a_served_model_in_less_than_a_hundred_lines() -> None:
    way = {"audit", "advise", "fit", "sweep", "compare", "evaluate", "predict", "explain", "export", "serve"}
    assert way <= {shlex.split(line)[1] for line in lines()}
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 100


PRELUDE = """
from pathlib import Path
paths = sorted(map(str, Path("photos").rglob("*.png")))
labels = [Path(path).parent.name for path in paths]
patients = [Path(path).stem for path in paths]
"""


def test_the_python_of_the_readme_runs(child_env: dict[str, str], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for at in range(24):
        image = Image.fromarray(random.integers(0, 128, (48, 48, 3), np.uint8) + np.uint8(100 * (at % 2)))
        path = tmp_path / "photos" / ("train" if at < 16 else "test") / ("ants", "bees")[at % 2] / f"{at // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    image.save(tmp_path / "some.jpg")
    # Published weights are not fetched in a test, and a smaller network is quicker; all else is as it stands there.
    text = "\n".join(blocks("python")).replace("googlenet@imagenet", "googlenet:tiny@random")
    text = text.replace('fit("photos",', 'fit("photos", backbone="googlenet:tiny@random", input_px=32,')
    done = subprocess.run(
        [sys.executable, "-c", f"{PRELUDE}{text}print(predictions[0].label, len(scores))"],
        cwd=tmp_path, env=child_env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("Accuracy ")
    assert done.stdout.splitlines()[-1] in ("ants 5", "bees 5")
