"""The command line, as far as it goes without a run; journeys through a fit have tests of their own."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from answers import sample
from regraft.doors.cli import app
from regraft.doors.screen import aligned, compared, figures
from regraft.evaluation.differences import compare as paired
from regraft.recipe import read_recipe
from regraft.version import VERSION
from regraft.workbench.compare import Comparison
from regraft.workbench.strategies import recipe_fields, strategies
from sample_report import NAMES, sample_report, sample_report_of

COMMAND = [sys.executable, "-c", "from regraft.doors.cli import main; main()"]


def regraft(*arguments: str, env: dict[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_version_is_told(child_env: dict[str, str]) -> None:
    done = regraft("--version", env=child_env)
    assert (done.returncode, done.stdout) == (0, f"regraft {VERSION}\n")


def test_help_names_every_command_and_is_quick(child_env: dict[str, str]) -> None:
    resource = pytest.importorskip("resource", reason="no times of children on this system")
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = regraft("--help", env=child_env)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    names = {line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines() if line.strip()}
    assert names == {
        "fit", "show", "evaluate", "extend", "predict", "compare", "sweep", "backbones", "describe", "strategies",
        "lab", "cache", "export", "bench", "explain", "audit", "advise", "serve", "ui", "mcp", "push",
    }  # fmt: skip
    assert best < 0.9, f"--help took {best:.2f} s of processor time"  # 0.3 on an idle machine: benchmarks/bench.py


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["fit", "nowhere", "--strategy", "partail"], 2, "did you mean 'partial'?"),
        (["fit", "nowhere.toml"], 2, "nowhere.toml cannot be read"),
        (["fit", "nowhere", "--set", "lr=3"], 2, "there is no field 'lr'"),
        (["fit", "nowhere", "--max-time", "soon"], 2, "'soon' is not a valid duration"),
        (["show", "photos", "--backbone", "googlenett"], 2, "did you mean 'googlenet'?"),
        (["backbones", "resnet8"], 2, "did you mean 'resnet18'?"),
        (["strategies", "adapters"], 2, "There is no strategy named 'adapters'"),
        (["cache", "--backbone", "googlenet"], 2, "add --clear"),
        (["cache", "--clear", "--backbone", "googlenet@imagenet"], 2, "use googlenet, which clears"),
        (["compare", "one", "two"], 9, "one contains no run"),
        (["fit"], 2, "Usage: regraft fit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_request_is_answered_with_what_to_do(
    arguments: list[str], code: int, said: str, child_env: dict[str, str], tmp_path: Path
) -> None:
    done = regraft(*arguments, env=child_env, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "a refused request leaves nothing behind"


def test_what_show_prints_is_a_recipe(child_env: dict[str, str], tmp_path: Path) -> None:
    done = regraft("show", "photos", "--strategy", "partial", "--set", "options.lr=1e-3", env=child_env)
    path = tmp_path / "recipe.toml"
    path.write_text(done.stdout, encoding="utf-8")
    recipe = read_recipe(path)
    assert (recipe.strategy, recipe.cut, recipe.options["lr"]) == ("partial", "4e", 1e-3)
    again = regraft("show", str(path), env=child_env)
    assert again.stdout == done.stdout


def test_listings_name_what_there_is(child_env: dict[str, str]) -> None:
    listed = regraft("backbones", env=child_env).stdout
    for said in ("googlenet@imagenet", "resnet18@random", "4e (partial)", "terms: ", "use it by default: ", "use it "):
        assert said in listed
    listed = regraft("strategies", env=child_env).stdout
    assert all(name in listed for name in ("probe", "partial", "full", "lp_ft", "scratch"))
    (facts,) = strategies("partial")
    option = facts.options[0]
    assert option.sentence not in listed
    told = regraft("strategies", "partial", env=child_env).stdout
    assert f"    {option.name} = {option.default}\n        {option.sentence}" in told


def test_listings_break_long_lines_and_keep_what_one_would_copy_whole(child_env: dict[str, str]) -> None:
    for listing in (["backbones"], ["strategies"], ["strategies", "partial"]):
        lines = regraft(*listing, env=child_env).stdout.splitlines()
        assert [line for line in lines if len(line) > 120] == []
    assert "layer.8 (partial)" in regraft("backbones", "vit_b_16", env=child_env).stdout


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["backbones", "googlenet"], {"backbones"}),
        (["strategies", "partial"], {"strategies"}),
        (["lab"], {"studies"}),
        (["show", "photos", "--cut", "output"], {"data", "strategy", "cut", "source", "options"}),
        (["describe", "googlenet:tiny"], {"name", "parameters", "layers"}),
        (["describe", "googlenet:tiny", "--compare"], {"networks", "timing"}),
        (["cache"], {"path", "bytes", "entries"}),
        (["cache", "--clear"], {"removed", "freed_bytes"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_listed_is_one_json_object_for_programs(
    arguments: list[str], keys: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.isascii()
    assert json.loads(done.stdout).keys() >= keys


def test_every_command_that_prints_a_result_offers_json() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items() - {(name, commands[name]) for name in ("serve", "ui", "mcp")}:  # they run on
        assert "--json" in {flag for parameter in command.params for flag in parameter.opts}, name


def test_a_flag_for_a_field_of_the_recipe_has_its_sentence_and_sets_it() -> None:
    words = "show d.csv --views 0 --seed 0 --strategy full --label-column a --label-column b --allow-leaks --json"
    done = CliRunner().invoke(app, words.split())
    shown = json.loads(done.stdout)
    assert (shown["views"], shown["seed"], shown["source"]["label_columns"]) == (0, 0, ["a", "b"])
    assert shown["source"]["allow_leaks"] is True
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name in ("fit", "evaluate", "extend"):
        (found,) = [one for one in commands[name].params if one.name == "group_column"]
        assert found.help.startswith(recipe_fields()["source.group_column"].sentence)


def test_the_cache_is_looked_at_and_cleared(child_env: dict[str, str], tmp_path: Path) -> None:
    env = {**child_env, "REGRAFT_CACHE": str(tmp_path)}
    looked = regraft("cache", env=env)
    assert str(tmp_path) in looked.stdout
    assert "No activations are stored." in looked.stdout
    assert "0 stored sets of activations deleted" in regraft("cache", "--clear", "--older-than", "30d", env=env).stdout


def test_the_table_at_the_end_sets_the_model_beside_its_probe() -> None:
    report = sample_report()
    lines = figures(report).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["partial", "linear"]
    assert report.probe
    assert report.probe.evaluation.headline.told() in lines[3]
    assert len(figures(replace(report, probe=None)).splitlines()) == 3
    assert figures(replace(report, evaluation={})) == ""


def test_columns_are_aligned() -> None:
    assert aligned(["a", "long"], [["wide cell", "x"]]) == "a          long\n---------  ----\nwide cell  x"


def test_a_comparison_is_told_with_its_verdict() -> None:
    import numpy as np

    targets = np.array([0, 1] * 20)
    good, bad = np.eye(2)[targets] * 0.8 + 0.1, np.full((40, 2), 0.5)
    found = Comparison(
        names=("ants", "ants-full"),
        described=("partial at 4e, googlenet:bn@shipped", "full at input, googlenet:bn@shipped"),
        split="test",
        num_examples=40,
        num_groups=None,
        paired=paired(targets, good, bad, names=("ants", "ants-full")),
        notes=("One seed each.",),
    )
    text = compared(found)
    assert text.startswith("accuracy on the same 40 test examples")
    assert "Real: ants is better." in text
    assert text.endswith("One seed each.")
    assert "right where the other is wrong" in text


def test_runs_of_numbers_are_compared_without_counting_who_is_right() -> None:
    targets, outputs = sample("regression", num_outputs=1)
    found = Comparison(
        names=("a", "b"), described=("x", "y"), split="test", num_examples=150, num_groups=None, notes=(),
        paired=paired(targets, outputs, targets, metric="mae", outputs=["price"]),
    )  # fmt: skip
    text = compared(found)
    assert text.startswith("mean absolute error on the same 150 test examples")
    assert "Real: b is better. Mean absolute error +" in text
    assert "right where" not in text


@pytest.mark.parametrize("kind", NAMES)
def test_the_table_at_the_end_shows_the_main_metric_of_the_kind(kind: str) -> None:
    report = sample_report_of(kind)
    lines = figures(report).splitlines()
    assert report.section
    assert report.section.headline.told() in lines[2]
    assert max(map(len, lines)) <= 110
