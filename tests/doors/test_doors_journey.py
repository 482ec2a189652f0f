"""From a folder of pictures to a model and its predictions, by the command line and from Python."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import regraft
from regraft.recipe import read_recipe

TINY = ["--backbone", "googlenet:tiny@random", "--input-px", "32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos/{train,test}/{dark,light}`, and one damaged file."""
    root = tmp_path_factory.mktemp("journey")
    random = np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 12)):
        for label, brightness in (("dark", 60), ("light", 120)):
            (root / "photos" / part / label).mkdir(parents=True)
            for at in range(count):
                pixels = random.normal(brightness, 45, size=(40, 40, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / "photos" / part / label / f"{at:02}.png")
    whole = (root / "photos" / "test" / "dark" / "00.png").read_bytes()
    (root / "damaged").mkdir()
    (root / "damaged" / "half.png").write_bytes(whole[: len(whole) // 2])
    return root


@pytest.fixture(scope="module")
def command(folder: Path, child_env: dict[str, str]) -> "Command":
    return Command(folder, child_env)


class Command:
    """The command line, run in a folder."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "regraft", *arguments]
        done = subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == code, done.stderr
        return done


@pytest.fixture(scope="module")
def fitted(command: Command) -> subprocess.CompletedProcess[str]:
    return command("fit", "photos", *TINY, "--out", "runs/probe")


def test_a_fit_ends_with_figures_a_verdict_and_the_reports_path(
    fitted: subprocess.CompletedProcess[str], folder: Path
) -> None:
    report = json.loads((folder / "runs" / "probe" / "report.json").read_text())
    accuracy = report["evaluation"]["test"]["metrics"]["accuracy"]
    shown = f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]"
    assert f"Accuracy {shown} on 24 test examples of 2 classes." in fitted.stdout
    assert f"report  {Path('runs/probe/report.md')}" in fitted.stdout
    assert "Traceback" not in fitted.stderr
    page = (folder / "runs" / "probe" / "report.md").read_text(encoding="utf-8")
    assert page.startswith(f"# probe on photos\n\n**Accuracy {shown}")
    assert "Classes: dark, light." in (folder / "runs" / "probe" / "model" / "README.md").read_text(encoding="utf-8")


def test_a_finished_run_is_not_overwritten(fitted: object, command: Command) -> None:
    assert "holds a finished run" in command("fit", "photos", *TINY, "--out", "runs/probe", code=9).stderr


def test_the_written_recipe_makes_the_same_model(fitted: object, command: Command, folder: Path) -> None:
    printed = json.loads(command("fit", "runs/probe/recipe.toml", "--out", "runs/again", "--json").stdout)
    assert printed["path"] == str(Path("runs/again"))
    assert printed["verdict"].startswith("Accuracy ")
    assert printed["report"] == json.loads((folder / "runs" / "again" / "report.json").read_text())
    one, again = (folder / "runs" / name / "model" / "model.safetensors" for name in ("probe", "again"))
    assert one.read_bytes() == again.read_bytes()
    told = command("compare", "runs/probe", "runs/again").stdout
    assert "No difference: probe and again make the same predictions." in told
    printed = json.loads(command("compare", "runs/probe", "runs/again", "--json").stdout)
    assert printed["paired"]["verdict"] in told


def test_predictions_are_the_same_by_table_json_and_python(fitted: object, command: Command, folder: Path) -> None:
    command("predict", "runs/probe", "photos/test", "--out", "table.csv")
    with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
        table = {Path(row["input"]).as_posix(): row for row in csv.DictReader(file)}
    lines = command("predict", "runs/probe", "photos/test", "--json").stdout.splitlines()
    answers = {Path(one["id"]).as_posix(): one for one in map(json.loads, lines)}
    assert len(table) == 24
    assert table.keys() == answers.keys()
    first = next(iter(answers))
    direct = regraft.load(folder / "runs" / "probe").predict([folder / first])[0]
    assert answers[first]["probabilities"] == pytest.approx(dict(direct.probabilities), abs=1e-5)
    for name, row in table.items():
        assert row["label"] == answers[name]["label"]
        assert float(row["p:dark"]) == pytest.approx(answers[name]["probabilities"]["dark"], abs=1e-6)
    assert direct.label == answers[first]["label"]


def test_a_damaged_input_is_named_and_the_others_answered(fitted: object, command: Command) -> None:
    done = command("predict", "runs/probe", "photos/test/dark/01.png", "damaged", code=3)
    assert len(done.stdout.splitlines()) == 2
    assert "1 of 2 inputs could not be read" in done.stderr
    assert "half.png" in done.stderr


def test_an_evaluation_on_the_test_part_gives_the_reports_figure(
    fitted: object, command: Command, folder: Path
) -> None:
    done = command("evaluate", "runs/probe", "--data", "photos/test", "--out", "tests/probe")
    report = json.loads((folder / "runs" / "probe" / "report.json").read_text())
    later = json.loads((folder / "tests" / "probe" / "report.json").read_text())
    expected = report["evaluation"]["test"]["metrics"]["accuracy"]["value"]
    assert later["evaluation"]["test"]["metrics"]["accuracy"]["value"] == expected
    assert f"Accuracy {expected:.3f} [" in done.stdout
    page = (folder / "tests" / "probe" / "report.md").read_text()
    assert page.startswith("# probe tested on test\n")
    for picture in ("confusion.svg", "reliability.svg"):
        assert f"({picture})" in page
        assert (folder / "tests" / "probe" / picture).is_file()
    compared = command("compare", "tests/probe", "tests/probe").stdout
    assert "probe at output, googlenet:tiny@random" in compared
    assert "None" not in compared
    again = command("evaluate", "runs/probe", "--data", "photos/test", "--out", "tests/probe", code=9)
    assert "already exists" in again.stderr
    printed = json.loads(command("evaluate", "runs/probe", "--data", "photos/test", "--json").stdout)
    assert printed["path"] is None
    assert printed["report"]["evaluation"] == later["evaluation"]


def test_a_class_is_added_by_the_command_line_or_refused_with_the_limit_that_would_do(
    fitted: object, command: Command, folder: Path
) -> None:
    for part, count in (("train", 30), ("test", 6)):
        (folder / "grey" / part / "middle").mkdir(parents=True)
        for at in range(count):
            pixels = np.random.default_rng([count, at]).normal(60, 45, size=(40, 40, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "grey" / part / "middle" / f"{at}.png")
    arguments = ("extend", "runs/probe", "--data", "grey", "--out", "runs/three")
    refused = command(*arguments, "--max-loss", "0", code=3)
    assert "Nothing was written" in refused.stderr
    assert not (folder / "runs" / "three").exists()
    limit = re.search(r"--max-loss ([\d.]+\d)", refused.stderr)
    assert limit is not None
    done = json.loads(command(*arguments, "--max-loss", limit[1], "--json").stdout)
    assert "With middle added and nothing else changed" in " ".join(done["verdict"].split())
    assert done["path"] == str(Path("runs/three"))
    answers = command("predict", "runs/three", "grey/test", "--json").stdout.splitlines()
    assert set(json.loads(answers[0])["probabilities"]) == {"dark", "light", "middle"}


PYTHON = """
import json, regraft
data = regraft.open_dataset("photos")
run = regraft.fit(
    data, backbone="googlenet:tiny@random", strategy="partial", input_px=32, quiet=True,
    options={"epochs": 1, "min_steps": 1},
)
prediction = run.predict(["photos/test/dark/01.png"])[0]
print(json.dumps([str(run.path), run.recipe.cut, run.verdict(), run.report.paired.verdict, prediction.label]))
try:
    regraft.fit(data, backbone="googlenet:tiny@random", out=run.path, quiet=True)
except regraft.errors.RunError as error:
    print(error.message)
"""


def test_python_fits_an_opened_data_set_beside_its_probe(folder: Path, child_env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PYTHON], env=child_env, cwd=folder, capture_output=True, text=True, check=True
    )
    told, refused = done.stdout.splitlines()
    path, cut, verdict, paired, label = json.loads(told)
    assert (path, cut) == (str(Path("runs/photos-partial")), "4e")
    assert verdict.startswith("Accuracy ")
    assert paired in verdict
    assert label in ("dark", "light")
    assert "holds a finished run" in refused
    assert done.stderr == "", "quiet was asked for"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
def test_an_interrupted_fit_tells_how_to_go_on_and_does(command: Command, folder: Path) -> None:
    settings = [*TINY, "--strategy", "partial", "--set", "options.epochs=12", "--set", "options.min_steps=0"]
    arguments = [sys.executable, "-m", "regraft", "fit", "photos", *settings]
    with subprocess.Popen(
        [*arguments, "--out", "runs/stopped"], env=command.env, cwd=folder, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if re.match(r" *\d+/\d+ ", line):
                child.send_signal(signal.SIGINT)
                break
        rest = child.stderr.read()
    assert child.returncode == 130
    assert f"--out {os.path.join('runs', 'stopped')} --resume" in rest  # noqa: PTH118 - as it was told
    refused = command("fit", "photos", *settings, "--out", "runs/stopped", code=9)
    assert "add --resume" in refused.stderr
    assert read_recipe(folder / "runs" / "stopped" / "recipe.toml").options["epochs"] == 12
    done = command("fit", "photos", *settings, "--out", "runs/stopped", "--resume")
    assert "linear probe" in done.stdout
    assert not (folder / "runs" / "stopped" / "begun.json").exists()
