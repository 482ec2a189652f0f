"""Every command that a verb's page shows is run as it stands there, on images made on the spot."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from doors.serving import Process
from regraft.doors.cli import app

VERBS = Path(__file__).parents[2] / "docs" / "verbs"
PAGES = sorted(path.stem for path in VERBS.glob("*.md") if path.stem not in ("README", "fit"))
FILE = re.compile(r"`([\w/.-]+\.(?:md|json|jsonl|csv|toml|svg|html)|runs/[\w-]+/model)`")


def text_of(name: str) -> str:
    """A page."""
    return (VERBS / f"{name}.md").read_text(encoding="utf-8")


def commands(name: str) -> list[str]:
    """The command lines of a page's `sh` blocks, comments left out."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text_of(name), flags=re.MULTILINE | re.DOTALL)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def section(name: str, title: str) -> str:
    """The text under a heading of the second level, up to the next."""
    return text_of(name).partition(f"\n## {title}\n")[2].partition("\n## ")[0].strip()


def run(name: str, folder: Path, env: dict[str, str], some: slice = slice(None)) -> None:
    """Run (`some` of) the commands of a page in `folder`; `> FILE` keeps stdout, and a server is stopped when it is
    ready."""
    for line in commands(name)[some]:
        command, _, target = line.partition(" > ")
        program, *words = shlex.split(command)
        assert program == "regraft"
        if words[0] in (
            "mcp",
            "push",
        ):  # a client tries the one in tests/doors, a hub of ours the other in tests/workbench
            continue
        if words[0] == "ui":
            opened(words[1:], folder, env)
            continue
        if words[0] == "serve":
            with Process(*words[1:], env=env, folder=folder) as server:
                assert server.ask("/v1/models").status in (200, 401)
            assert server.code == 0
            continue
        done = subprocess.run(
            [sys.executable, "-m", "regraft", *words], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.strip()
        if target:
            (folder / target).write_text(done.stdout, encoding="utf-8")


def opened(words: list[str], folder: Path, env: dict[str, str]) -> None:
    """Start the page, open the address that it prints, and stop it."""
    command = [sys.executable, "-m", "regraft", "ui", *words]
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        address = server.stderr.readline().split()[-1]
        with build_opener(HTTPCookieProcessor()).open(address) as page:
            assert "Drop data" in page.read().decode()
        server.terminate()


def left_out(name: str, folder: Path) -> list[str]:
    """Files that a page promises and that are not there."""
    return [file for file in FILE.findall(section(name, "What comes out")) if not (folder / file).exists()]


def draw(path: Path, level: int, random: np.random.Generator) -> None:
    """A small noisy image of about this brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.integers(0, 96, (48, 48, 3)) + level
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, child_env: dict[str, str]) -> Path:
    """The folder that the pages talk of, with the first run of the page on `fit` in it."""
    folder, random = tmp_path_factory.mktemp("pages"), np.random.default_rng(0)
    for number in range(16):
        for label, level in (("ant", 20), ("bee", 130)):
            split = "train" if number < 10 else "test"
            draw(folder / "photos" / split / label / f"{number:02d}.png", level, random)
            if number < 6:
                draw(folder / "more" / label / f"{number:02d}.png", level, random)
        draw(folder / "wasps" / "wasp" / f"{number:02d}.png", 75, random)
    draw(folder / "new" / "some.png", 20, random)
    run("fit", folder, child_env, slice(1))
    return folder


@pytest.mark.slow
def test_the_page_on_fit_leaves_the_files_that_it_names_and_its_runs_are_compared(
    workspace: Path, child_env: dict[str, str]
) -> None:
    run("fit", workspace, child_env, slice(1, None))
    assert len(FILE.findall(section("fit", "What comes out"))) == 8
    assert left_out("fit", workspace) == []
    run("compare", workspace, child_env)
    assert left_out("compare", workspace) == []


HEAVY = ("advise", "bench", "describe", "explain", "export", "serve", "sweep")
"""Pages whose commands take five seconds and more of a processor; their tests are in the slow tier."""
SHORT = [pytest.param(one, marks=pytest.mark.slow if one in HEAVY else []) for one in PAGES if one != "compare"]


@pytest.mark.parametrize("name", SHORT)
def test_the_commands_of_a_page_run_and_leave_the_files_that_it_names(
    name: str, workspace: Path, child_env: dict[str, str]
) -> None:
    run(name, workspace, child_env)
    assert left_out(name, workspace) == []


def test_every_command_has_a_page_that_says_what_it_is_for_and_shows_an_example() -> None:
    verbs = list(get_command(app).commands)  # type: ignore[attr-defined]
    assert sorted(verbs) == sorted(["fit", *PAGES])
    for name in verbs:
        start = text_of(name).partition("\n")[2].partition("\n## ")[0].strip()
        assert len(start) > 80, f"{name}.md does not say what {name} is for"
        assert any(line.startswith(f"regraft {name}") for line in commands(name)), f"{name}.md has no example of {name}"
        assert section(name, "What comes out"), f"{name}.md does not say what comes out"
        assert section(name, "Help")
