"""Imports are a cost: the doors, and what a warm probe goes through, load nothing heavy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("matplotlib", "onnx", "onnxruntime", "pandas", "scipy", "sklearn", "torch", "torchvision")
TAIL = f"\nimport json, sys\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
LIGHT = ("", ".registry", ".recipe", ".bundle_format", ".activations.store", ".strategies.probe", ".workbench")
"""Modules that a listing or a warm probe imports, of rooms where others need torch."""
LIGHT_ROOMS = ("data", "doors", "evaluation", "reports", "tasks")
"""Rooms of which no module needs torch to be imported."""
IMPORT_ALL = """
from importlib import import_module
from pkgutil import walk_packages
found = [module.name for module in walk_packages(import_module(name).__path__, f"{name}.")]
for module in found if name != "regraft.doors" else [one for one in found if one != "regraft.doors.sklearn"]:
    import_module(module)
"""
HELP = """
import sys
from regraft.doors.cli import main
sys.argv = ["regraft", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def heavy_after(code: str, env: dict[str, str], *arguments: str) -> list[str]:
    """Which heavy packages a fresh process has loaded once it has run `code`."""
    command = [sys.executable, "-c", code + TAIL, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def test_the_checker_sees_a_heavy_import(child_env: dict[str, str]) -> None:
    assert "scipy" in heavy_after("import scipy.special", child_env)


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_nothing_heavy(module: str, child_env: dict[str, str]) -> None:
    assert heavy_after(f"import regraft{module}", child_env) == []


@pytest.mark.parametrize("room", LIGHT_ROOMS)
def test_no_module_of_a_light_room_loads_anything_heavy(room: str, child_env: dict[str, str]) -> None:
    assert heavy_after(f"name = 'regraft.{room}'\n{IMPORT_ALL}", child_env) == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["fit", "--help"], ["predict", "--help"], ["describe", "--help"]], ids=" ".join
)
def test_help_loads_nothing_heavy(arguments: list[str], package: Path, child_env: dict[str, str]) -> None:
    if not (package / "doors" / "cli.py").is_file():
        pytest.skip("the command line is not written yet")
    assert heavy_after(HELP, child_env, *arguments) == []
