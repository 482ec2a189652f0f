"""A sweep: candidates on the same splits, a ranking, and a page; stopped, it goes on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from regraft.activations.runner import Prefixes
from regraft.errors import BadRequest, RunError, UnknownName
from regraft.recipe import Recipe
from regraft.reports.report import read_report
from regraft.reports.sweep import verdict
from regraft.values import Event, Progress
from regraft.workbench.compare import compare
from regraft.workbench.sweep import SweepDone, sweep

TINY = "googlenet:tiny@random"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Two classes of noise of another tint, 40 to train and 24 to test."""
    root, rng = tmp_path_factory.mktemp("sweeps") / "tints", np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 24)):
        for number in range(count):
            label = "ab"[number % 2]
            pixels = rng.integers(0, 200, (8, 8, 3)) + np.array([40 if label == "a" else 0, 0, 0])
            path = root / split / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).resize((40, 40)).save(path)
    return Recipe(data=str(root), input_px=32, threads=1, options={"epochs": 1, "min_steps": 1}, split_seed=0)


def swept(recipe: Recipe, out: Path, **asked: Any) -> tuple[list[Event], SweepDone]:
    """All events, and the last."""
    asked = {"backbones": [TINY], "strategies": ["probe", "partial"], "seeds": 2} | asked
    events = list(sweep(recipe, out, **asked))
    done = events[-1]
    assert isinstance(done, SweepDone)
    return events, done


@pytest.fixture(scope="module")
def done(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> SweepDone:
    """A sweep of two candidates, two seeds and two sizes."""
    return swept(recipe, tmp_path_factory.mktemp("sweep") / "s", sizes=[0.5, 1.0])[1]


def test_candidates_are_ranked_and_all_runs_are_tested_on_the_same_examples(done: SweepDone) -> None:
    report = done.report
    assert {one.name for one in report.candidates} == {f"{TINY} probe", f"{TINY} partial"}
    assert report.candidates[0].measured.value >= report.candidates[1].measured.value
    assert (report.num_examples, report.split, report.seeds) == (24, "test", (0, 1))
    assert sum(one.on_front for one in report.candidates) >= 1
    assert all(one.seconds > 0 for one in report.candidates)
    assert report.candidates[0].name in verdict(report)


def test_what_a_candidate_shows_is_the_mean_of_its_runs(done: SweepDone) -> None:
    for one in done.report.candidates:
        runs = [read_report(path) for path in sorted(done.path.glob(f"*_{one.strategy}-1-seed*"))]
        values = [run.section.metrics["accuracy"].value for run in runs if run.section]
        assert one.by_seed == pytest.approx(values)
        assert one.measured.value == pytest.approx(np.mean(values))


def test_a_difference_is_that_of_comparing_two_runs(recipe: Recipe, tmp_path: Path) -> None:
    _, found = swept(recipe, tmp_path / "s", seeds=1)
    best, other = found.report.candidates
    folders = [next(found.path.glob(f"*_{one.strategy}-1-seed0")) for one in (best, other)]
    assert other.behind.value == pytest.approx(compare(*folders).paired.difference.value)


@pytest.mark.slow
def test_one_pass_computes_what_several_candidates_need_at_all_of_their_cuts(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[tuple[str, ...]] = set()
    states = Prefixes.states

    def noting(prefixes: Prefixes, cuts: Any, records: Any) -> Any:
        asked.add(tuple(cuts))
        return states(prefixes, cuts, records)

    monkeypatch.setattr(Prefixes, "states", noting)
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    given = {"backbones": ["mobilenet_v3_small"], "strategies": ["probe", "partial@c2", "partial@c3"], "seeds": 1}
    _, done = swept(replace(recipe, views=2, augmentation="default"), tmp_path / "s", **given)
    assert ("c2", "c3", "output") in asked
    assert all(("c2" in cuts) == ("c3" in cuts) for cuts in asked), "an inner cut had a pass of its own"
    assert all(one.seconds > 0 for one in done.report.candidates)


def test_learning_curves_have_a_point_for_every_size(done: SweepDone) -> None:
    for one in done.report.candidates:
        assert [point.share for point in one.curve] == [0.5, 1.0]
        assert [point.examples for point in one.curve] == [20, 40]


def test_a_run_keeps_its_predictions_and_of_the_model_what_training_changed(done: SweepDone) -> None:
    run = next(done.path.glob("*_partial-1-seed0"))
    trained = read_report(run).strategy
    assert trained is not None
    assert not (run / "model").exists()
    stages = {name.split("/")[0] for name in load_file(run / "tail.safetensors")}
    assert stages - {"head", "ood"} == set(trained.trained_stages)
    assert (run / "predictions.csv").is_file()


def test_the_pages_and_the_numbers_are_written(done: SweepDone) -> None:
    page = (done.path / "report.md").read_text()
    assert "## Learning curves" in page
    assert "Pareto front" in page
    assert json.loads((done.path / "report.json").read_text())["metric"] == "accuracy"
    page = (done.path / "report.html").read_text()
    assert "<svg" in page
    assert "mathdefault" not in page


@pytest.mark.slow
def test_a_sweep_that_was_stopped_goes_on_and_says_the_same(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = swept(recipe, tmp_path / "whole")[1].report
    events = sweep(recipe, tmp_path / "cut", backbones=[TINY], strategies=["probe", "partial"], seeds=2)
    for event in events:
        if isinstance(event, Progress) and event.phase == "sweep" and event.done == 2:
            events.close()  # type: ignore[attr-defined]
            break
    with pytest.raises(RunError, match="already contains this sweep"):
        swept(recipe, tmp_path / "cut")
    told, found = swept(recipe, tmp_path / "cut", resume=True)
    assert [one.total for one in told if isinstance(one, Progress) and one.phase == "sweep"][-1] < len(
        list((tmp_path / "whole").glob("*-seed*"))
    )
    for one, other in zip(whole.candidates, found.report.candidates, strict=True):
        assert replace(one, seconds=0, on_front=True) == replace(other, seconds=0, on_front=True)


@pytest.mark.slow
def test_seeds_share_what_the_frozen_stages_compute(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    states = Prefixes.states

    def counted(self: Prefixes, cuts: Any, records: Any, **named: Any) -> Any:
        computed[-1] += len(records)
        return states(self, cuts, records, **named)

    monkeypatch.setattr(Prefixes, "states", counted)
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    asked = {"backbones": ["mobilenet_v3_small"], "strategies": ["partial"], "seeds": 2}
    computed.append(0)
    for event in sweep(recipe, tmp_path / "s", **asked):  # type: ignore[arg-type]
        computed += [0] if isinstance(event, Progress) and event.phase == "sweep" else []
    first, second, _ = computed
    # Four views of 40 training examples, the plain ones of 24 test examples; what is left checks the finished model.
    assert first - second >= 4 * 40 + 24


def test_a_candidate_that_fails_is_named_and_the_others_are_ranked(recipe: Recipe, tmp_path: Path) -> None:
    _, found = swept(recipe, tmp_path / "s", strategies=["probe", "partial@9z"], seeds=1)
    assert [one.name for one in found.report.candidates] == [f"{TINY} probe"]
    (failed,) = found.report.failed
    assert "partial@9z" in failed.name
    assert "9z" in failed.reason


def test_what_no_time_is_left_for_is_said(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="time did not suffice"):
        swept(recipe, tmp_path / "s", max_seconds=-1.0)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"strategies": ["nothing"]}, UnknownName),
        ({"backbones": ["nothing"]}, UnknownName),
        ({"metric": "nothing"}, UnknownName),
        ({"strategies": []}, BadRequest),
        ({"seeds": 0}, BadRequest),
        ({"sizes": [0.0]}, BadRequest),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_made(
    recipe: Recipe, tmp_path: Path, asked: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        swept(recipe, tmp_path / "s", **asked)
    assert not (tmp_path / "s").exists()


def test_another_folder_is_not_written_into(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="contains no sweep"):
        swept(recipe, tmp_path / "s")
