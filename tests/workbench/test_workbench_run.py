"""A run folder opened, and verbs that are loaded on first use."""

from pathlib import Path

import pytest

from regraft.errors import RunError
from regraft.files import write_json
from regraft.recipe import Recipe, write_recipe
from regraft.workbench.run import open_run
from sample_report import sample_report


def test_an_opened_run_gives_its_recipe_report_verdict_and_log(tmp_path: Path) -> None:
    recipe = Recipe(data="photos", strategy="partial", cut="4e")
    (tmp_path / "recipe.toml").write_text(write_recipe(recipe))
    write_json(tmp_path / "report.json", sample_report().to_json())
    (tmp_path / "events.jsonl").write_text('{"event": "Plan"}\n{"event": "Prog')
    run = open_run(tmp_path)
    assert run.recipe == recipe
    assert run.verdict().startswith("Accuracy 0.980")
    assert list(run.events()) == [{"event": "Plan"}]


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="contains no run"):
        open_run(tmp_path)
    (tmp_path / "begun.json").write_text("{}")
    with pytest.raises(RunError, match="holds an unfinished run"):
        open_run(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(RunError, match=r"report.json cannot be read"):
        _ = open_run(tmp_path).report
