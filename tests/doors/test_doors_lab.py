"""The command `lab`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from studies import paint

COMMAND = [sys.executable, "-c", "from regraft.doors.cli import main; main()", "lab"]


def run(*arguments: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("painted"), each=6)


def test_without_a_name_the_studies_are_listed(child_env: dict[str, str], tmp_path: Path) -> None:
    done = run(env=child_env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("reductions", "scales", "pooling", "auxiliary", "against"):
        assert f"{name}\n" in done.stdout
    assert "arXiv:1409.4842" in done.stdout


def test_without_time_the_estimate_and_the_page_are_written_and_the_study_goes_on_only_when_asked(
    child_env: dict[str, str], painted: Path, tmp_path: Path
) -> None:
    asked = ("pooling", "--data", str(painted), "--minutes", "0", "--threads", "1", "--publish", "site")
    done = run(*asked, env=child_env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lab pooling: 15 to go through, about" in done.stderr
    assert "15 of 15 cells are not run" in done.stderr
    assert "average" in done.stdout
    assert "not resolved at this scale" in done.stdout
    assert (tmp_path / "runs" / "lab" / "pooling" / "report.md").is_file()
    assert (tmp_path / "site" / "lab_pooling.md").is_file()
    again = run(*asked, env=child_env, cwd=tmp_path)
    assert again.returncode == 9
    assert "add --resume" in again.stderr


def test_a_wrong_name_offers_the_nearest(child_env: dict[str, str], tmp_path: Path) -> None:
    done = run("scale", env=child_env, cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'scales'?" in done.stderr


def test_two_settings_at_once_are_refused(child_env: dict[str, str], tmp_path: Path) -> None:
    done = run("scales", "--long", "--full", env=child_env, cwd=tmp_path)
    assert done.returncode == 2
    assert "--long and --full are two settings" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_long_setting_has_a_folder_of_its_own_and_three_seeds(
    child_env: dict[str, str], painted: Path, tmp_path: Path
) -> None:
    done = run("reductions", "--long", "--data", str(painted), "--minutes", "0", "--json", env=child_env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == str(Path("runs/lab/reductions-long"))
    assert "9 of 9 cells are not run" in done.stderr
    text = (tmp_path / "runs" / "lab" / "reductions-long" / "report.md").read_text(encoding="utf-8")
    assert "regraft lab reductions --data FOLDER --long --seeds 3" in text
