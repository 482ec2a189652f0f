"""The command `lab`."""

import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-c", "from regraft.doors.cli import main; main()", "lab"]


def run(*arguments: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False)


def test_without_a_name_the_studies_are_listed(child_env: dict[str, str], tmp_path: Path) -> None:
    done = run(env=child_env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("reductions", "scales", "pooling", "auxiliary", "against"):
        assert f"{name}\n" in done.stdout
    assert "arXiv:1409.4842" in done.stdout


def test_a_wrong_name_offers_the_nearest(child_env: dict[str, str], tmp_path: Path) -> None:
    done = run("scale", env=child_env, cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'scales'?" in done.stderr
