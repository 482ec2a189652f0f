"""Studies as a user runs them: on a folder of their own, and from the corpus where it is."""

import csv
from pathlib import Path

import pytest

from regraft.contracts.study import STUDIES, Study
from regraft.errors import BadData, RunError, UnknownName
from regraft.values import Event
from regraft.workbench import lab as workbench
from regraft.workbench.lab import StudyDone, lab, studies
from studies import CLASSES, paint

FEW = {"options.min_steps": 2, "threads": 1, "folds": 2, "max_repeats": 1}


def done(events: object) -> StudyDone:
    *_, last = events  # type: ignore[misc]
    assert isinstance(last, StudyDone)
    return last


@pytest.mark.slow
def test_a_study_of_a_folder_of_ones_own_leaves_a_sweep_a_page_and_a_verdict(tmp_path: Path) -> None:
    painted, out, site = paint(tmp_path / "painted", each=6), tmp_path / "out", tmp_path / "site"
    report = done(lab("auxiliary", out=out, data=painted, seeds=1, publish=site, settings=FEW)).report
    assert {one.name for one in report.sweep.candidates} == {"norm", "norm, aux", "bare", "bare, aux"}
    assert report.outcome == "not resolved at this scale"  # of one seed there is no interval
    assert all(one.difference is not None for one in report.effects)
    assert "regraft lab auxiliary --data FOLDER --seeds 1" in (out / "report.md").read_text()
    assert {path.name for path in site.iterdir()} >= {"lab_auxiliary.md", "lab_auxiliary_front.svg"}
    assert "](lab_auxiliary_front.svg)" in (site / "lab_auxiliary.md").read_text()
    with pytest.raises(RunError, match="already contains this sweep"):
        done(lab("auxiliary", out=out, data=painted, seeds=1, settings=FEW))


def test_every_study_is_listed_with_its_claim_and_others_are_not_there(tmp_path: Path) -> None:
    assert {one.name for one in studies()} == {"against", "auxiliary", "pooling", "reductions", "scales"}
    with pytest.raises(UnknownName, match="reductoins") as told:
        done(lab("reductoins", out=tmp_path))
    assert told.value.fix == "did you mean 'reductions'?"


def test_without_data_and_corpus_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REGRAFT_SHARED", str(tmp_path / "nowhere"))
    with pytest.raises(BadData, match="No data were given") as told:
        done(lab("scales", out=tmp_path / "out"))
    assert "--data FOLDER" in told.value.fix
    assert not (tmp_path / "out").exists()


def test_the_arms_of_a_study_are_the_candidates_of_a_sweep_on_classes_drawn_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paint(tmp_path / "data" / "source-images", each=5)
    monkeypatch.setenv("REGRAFT_SHARED", str(tmp_path))
    monkeypatch.setattr(workbench, "NUM_CLASSES", 4)
    monkeypatch.setattr(workbench, "PER_CLASS", 5)
    asked = []

    def stopped(recipe: object, arms: object, out: Path, **how: object) -> list[Event]:
        asked.append((recipe, arms, how))
        return []

    monkeypatch.setattr(workbench, "compared", stopped)
    assert list(lab("pooling", out=tmp_path / "out", long=True))[-1:] == []
    ((recipe, arms, how),) = asked
    study: Study = STUDIES.get("pooling")
    assert list(arms) == [arm.name for arm in study.arms]
    assert [one.backbone for one in arms.values()] == ["googlenet:half", "lab:flat", "lab:dense"]
    assert {one.strategy for one in arms.values()} == {"scratch"}
    assert all(one.options["min_steps"] == 1700 and not one.options["watch_gradients"] for one in arms.values())
    assert (how["sizes"], how["seeds"]) == (study.shares, 3)
    with Path(recipe.data).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 5
    assert {row["label"] for row in rows} < set(CLASSES)
