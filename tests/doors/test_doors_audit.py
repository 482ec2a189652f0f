"""`regraft audit`: exit codes that a pipeline can go by, text and JSON."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import regraft
from regraft.doors.cli import app
from regraft.errors import UnknownName
from scenes import put, scene

ONLY = ["--checks", "exact_copies,class_sizes", "--backbone", "googlenet:tiny@random", "--input-px", "32"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in range(44):
        put(
            scene(number, 16),
            tmp_path / "d" / ("train" if number < 24 else "test") / "ab"[number % 2] / f"{number}.png",
        )
    return tmp_path / "d"


def code(data: Path, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", str(data), "--quiet", *ONLY, *more])
    return done.exit_code, done.stdout


def test_the_exit_code_says_whether_something_must_be_mended(data: Path) -> None:
    assert code(data)[0] == 0
    shutil.copy(data / "train/a/0.png", data / "test/a/again.png")
    found, text = code(data)
    assert found == 10
    assert "stop  Exact copies across splits" in text
    assert code(data, "--fail-on", "never")[0] == 0
    found, text = code(data, "--json")
    assert found == 10
    assert json.loads(text)["report"]["findings"][0]["severity"] == "stop"
    (data / "test/a/again.png").unlink()
    for path in sorted((data / "test/b").iterdir())[1:]:
        path.unlink()
    assert code(data)[0] == 0
    assert code(data, "--fail-on", "warn")[0] == 10


def test_from_python_the_findings_are_those_of_the_command(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "train/a/0.png", data / "test/a/again.png")
    chosen = {"checks": ["exact_copies"], "backbone": "googlenet:tiny@random", "input_px": 32, "quiet": True}
    report = regraft.audit(data, out=tmp_path / "out", fix_split=tmp_path / "clean.csv", **chosen)
    assert [one.severity for one in report.findings] == ["stop"]
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "clean.csv").is_file()
    assert regraft.audit(regraft.open_dataset(data), **chosen).findings == report.findings
    with pytest.raises(UnknownName, match="exact_copies"):
        regraft.audit(data, checks=["exact_copy"], quiet=True)
