"""The command `describe`."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from regraft.doors._listings import of_network, of_networks
from regraft.workbench.describe import SideBySide
from regraft.workbench.describe import side_by_side as compare

COMMAND = [sys.executable, "-c", "from regraft.doors.cli import main; main()", "describe"]


def run(*arguments: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False)


def test_one_network_is_told_as_json_drawing_page_and_text(child_env: dict[str, str], tmp_path: Path) -> None:
    done = run(
        "googlenet:paper", "--json", "--svg", "net.svg", "--html", "out/net.html", env=child_env, cwd=tmp_path
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["name"], said["parameters"]) == ("googlenet:paper", 6_998_552)
    assert ElementTree.parse(tmp_path / "net.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "out" / "net.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    text = of_network(said)
    assert "6,998,552 parameters, 1,582.7M multiply-adds" in text
    assert "4e (partial)" in text
    assert [line.split()[0] for line in text.splitlines() if line.endswith("disagrees")] == ["conv1", "4c", "5a"]
    assert "after 4d" in text
    assert "stem/0.conv" not in text
    assert "stem/0.conv" in of_network(said, layers=True)


def test_several_are_told_in_a_line_each_with_whose_accuracy_it_is() -> None:
    (found,) = compare(["googlenet:bn", "resnet18", "googlenet:tiny"], input_px=64)
    assert isinstance(found, SideBySide)
    lines = of_networks(found.to_json()).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["googlenet:bn", "resnet18:torchvision", "googlenet:tiny"]
    assert [line.split("  ")[-1].strip() for line in lines[2:5]] == ["(69.8 %)", "69.8 %", "–"]
    assert any("googlenet-1378be20.pth" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["googlenet", "alexnet", "--svg", "net.svg"], "accept a single network"),
        (["googlenet", "--compare", "--layers"], "accept a single network"),
        (["googlenet", "resnet8"], "did you mean 'resnet18'?"),
        (["googlenet", "--input-px", "8"], "at least 32 pixels"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], said: str, child_env: dict[str, str], tmp_path: Path
) -> None:
    done = run(*arguments, env=child_env, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
