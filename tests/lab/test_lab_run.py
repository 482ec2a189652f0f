"""A study from its first cell to its report: interrupted, refused, out of time."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regraft.contracts.study import STUDIES, Study
from regraft.errors import RunError, TrainingFailed
from regraft.lab import run as running
from regraft.lab.run import Where, run
from regraft.lab.setting import Examples, Setting
from regraft.values import Notice, Plan, Progress
from studies import TINY, done

NAME = "pooling"
WHOLE: Study = STUDIES.get(NAME)
STUDY = replace(
    WHOLE,
    arms=tuple(arm for arm in WHOLE.arms if arm.name != "flat"),
    effects=tuple(effect for effect in WHOLE.effects if "flat" not in (effect.plus, effect.minus)),
)
"""Two of its arms."""


def where(folder: Path, **changes: Any) -> Where:
    return replace(Where(folder=folder, device="cpu", machine="a machine"), **changes)


def timeless(report: Any) -> Any:
    """The report without what the clock said."""
    arms = [{name: value for name, value in arm.items() if name != "seconds"} for arm in report["arms"]]
    return {**report, "arms": arms}


def test_a_study_that_was_interrupted_goes_on_to_the_report_it_would_have_had(
    examples: Examples, tmp_path: Path
) -> None:
    whole = done(run(NAME, STUDY, TINY, examples, where(tmp_path / "whole")))
    events = run(NAME, STUDY, TINY, examples, where(tmp_path / "cut"))
    for event in events:
        if isinstance(event, Notice) and event.text.startswith("1 of 4"):
            break
    events.close()
    rows = (tmp_path / "cut" / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 1
    with pytest.raises(RunError, match="holds this study already"):
        done(run(NAME, STUDY, TINY, examples, where(tmp_path / "cut")))
    again = done(run(NAME, STUDY, TINY, examples, where(tmp_path / "cut", resume=True)))
    assert (tmp_path / "cut" / "rows.jsonl").read_text().splitlines()[:1] == rows
    assert timeless(again.report) == timeless(whole.report)
    assert json.loads((tmp_path / "cut" / "report.json").read_text()) == json.loads(json.dumps(again.report))


def test_more_seeds_are_added_to_a_study_but_no_other_setting(examples: Examples, tmp_path: Path) -> None:
    study = replace(STUDY, sizes="one", effects=tuple(one for one in STUDY.effects if one.size == 0))
    done(run(NAME, study, TINY, examples, where(tmp_path)))
    more = done(run(NAME, study, replace(TINY, seeds=2), examples, where(tmp_path, resume=True)))
    assert [arm["figures"][0]["seeds"] for arm in more.report["arms"]] == [[0, 1]] * 2
    for changed in (replace(TINY, steps=4), replace(TINY, width=0.1)):
        with pytest.raises(RunError, match="other settings or data"):
            done(run(NAME, study, changed, examples, where(tmp_path, resume=True)))


def test_what_the_time_does_not_hold_is_listed_as_not_run(examples: Examples, tmp_path: Path) -> None:
    events = list(run(NAME, STUDY, TINY, examples, where(tmp_path, max_seconds=0.0)))
    assert any(isinstance(event, Notice) and "4 of 4 cells are not run" in event.text for event in events)
    report = done(events).report
    assert len(report["not_run"]) == report["num_cells"] == 4
    assert report["outcome"] == "not resolved at this scale"
    assert {effect["resolved"] for effect in report["effects"] if effect["size"]} == {"not run"}


def test_the_estimate_comes_first_and_progress_never_falls(examples: Examples, tmp_path: Path) -> None:
    setting: Setting = replace(TINY, sizes=(6,))
    events = list(run(NAME, replace(STUDY, sizes="one", effects=()), setting, examples, where(tmp_path)))
    plan = next(event for event in events if isinstance(event, Plan | Progress))
    assert isinstance(plan, Plan)
    assert plan.seconds is not None
    assert plan.seconds > 0
    shares = [event.done / event.total for event in events if isinstance(event, Progress)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_cell_whose_training_fails_is_told_and_not_tried_again(
    examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(study: Study, cell: Any, *rest: Any, **named: Any) -> Any:
        if cell.arm == "dense":
            raise TrainingFailed("The loss became nan.", fix="lower the rate.")
        yield from ()
        return {**cell.key, "train_accuracy": 0.5, "right": "01" * 8, "losses": [], "seconds": 1.0}

    monkeypatch.setattr(running, "measured", failing)
    report = done(run(NAME, STUDY, TINY, examples, where(tmp_path))).report
    assert [one["message"] for one in report["failed"]] == ["The loss became nan."] * 2
    assert report["not_run"] == []
    assert next(arm for arm in report["arms"] if arm["name"] == "dense")["figures"] == []
    monkeypatch.undo()
    events = list(run(NAME, STUDY, TINY, examples, where(tmp_path, resume=True)))
    assert not any(isinstance(event, Plan) for event in events)


def test_a_folder_that_holds_something_else_is_refused(examples: Examples, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("notes")
    with pytest.raises(RunError, match="is not empty and holds no study"):
        done(run(NAME, STUDY, TINY, examples, where(tmp_path)))
    with pytest.raises(RunError, match="is a file"):
        done(run(NAME, STUDY, TINY, examples, where(tmp_path / "mine.txt")))
