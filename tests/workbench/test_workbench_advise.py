"""Advice: what the test resolves, probes and scores, a pilot, and test labels that are never read."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.activations.runner import Prefixes
from regraft.backbones.backbone import Backbone
from regraft.backbones.opening import open_backbone
from regraft.contracts.task import Task
from regraft.data.scan import Scanned
from regraft.errors import BadRequest
from regraft.recipe import Recipe, read_recipe
from regraft.reports.advice import AdviceReport, read_advice, verdict
from regraft.values import Plan, drained
from regraft.workbench import _probing
from regraft.workbench.advise import Advised, _affordable, advise
from regraft.workbench.features import Extracted, Probed, features, inside, probed
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone
from regraft.workbench.session import open_session
from regraft.workbench.show import show

TINY = "googlenet:tiny@random"


def tints(root: Path, *, swapped: bool = False) -> Path:
    """Two classes of noise of another tint, 120 to train and 40 to test; the labels of the latter perhaps swapped."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 120), ("test", 40)):
        for number in range(count):
            label = number % 2
            pixels = rng.integers(0, 200, (8, 8, 3)) + np.array([40 * label, 0, 0])
            shown = "ab"[1 - label if swapped and split == "test" else label]
            path = root / split / shown / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).resize((32, 32)).save(path)
    return root


def advice(data: Path, out: Path, budget_s: float) -> AdviceReport:
    recipe = Recipe(data=str(data), input_px=32, threads=1, options={"epochs": 1, "min_steps": 1})
    *_, done = advise(recipe, out, backbones=[TINY], strategies=["probe", "partial"], budget_s=budget_s)
    assert isinstance(done, Advised)
    return done.report


def facts(report: AdviceReport) -> list[object]:
    """What does not depend on the clock."""
    return [report.noise_floor, report.curve, report.weakest, report.backbones, report.num_test,
            [replace(one, cost=None) for one in report.candidates]]  # fmt: skip


@pytest.mark.slow
def test_a_pilot_ranks_recipes_on_training_examples_alone_and_no_test_label_is_read(tmp_path: Path) -> None:
    report = advice(tints(tmp_path / "d"), tmp_path / "out", 3000.0)
    other = advice(tints(tmp_path / "swapped" / "d", swapped=True), tmp_path / "other", 3000.0)
    assert facts(report) == facts(other)
    assert (report.num_train, report.num_test) == (120, 40)
    assert report.noise_floor is not None
    assert "cannot be detected" in verdict(report)
    assert {"LogME", "H-score", "GBC", "TransRate", "5-NN accuracy"} <= set(report.backbones[0].scores)
    assert report.curve is not None
    assert any("its card has no features of them" in one for one in report.not_done)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["num_test"] == 40
    rows = (tmp_path / "out" / "pilot.csv").read_text().splitlines()[1:]
    assert len(rows) == 120
    assert all("/train/" in row for row in rows)
    assert [one.measured is not None for one in report.candidates] == [True, True]
    best = report.candidates[0]
    assert best.predicted is not None
    assert best.tied
    assert report.advised.cost is not None
    stages = report.backbones[0].inside
    assert [one.name for one in stages] == ["stem", "3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "output"]
    assert all(set(one.scores) == {"LogME", "H-score", "GBC", "TransRate", "5-NN accuracy"} for one in stages)
    assert "## Stages inside the backbones" in (tmp_path / "out" / "report.md").read_text()


def test_without_time_nothing_is_measured_and_the_advice_says_so(tmp_path: Path) -> None:
    report = advice(tints(tmp_path / "d"), tmp_path / "out", 0.5)
    assert [(one.strategy, one.measured, one.cost) for one in report.candidates] == [
        ("probe", None, None), ("partial", None, None)
    ]  # fmt: skip
    assert report.backbones == ()
    assert report.noise_floor is None
    assert "nothing was measured" in verdict(report)
    assert any("No backbone was measured" in one for one in report.not_done)
    assert (tmp_path / "out" / "report.html").is_file()


def test_backbones_are_compared_on_as_many_examples_as_the_time_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(recipe: Recipe, backbone: Backbone, scanned: Scanned, task: Task, targets: Any, some: Any) -> Any:
        yield Plan(phase="activations", examples=len(some), bytes_needed=0, bytes_free=0, seconds=10.0 * len(some))
        return Probed(features=np.zeros((len(some), 2)), outputs=np.zeros((len(some), 2)), groups=some, c=1.0,
                      inputs=session.inputs(backbone.card, 1), prefixes=object.__new__(Prefixes))  # fmt: skip

    recipe, notes = Recipe(data=str(tints(tmp_path / "d")), input_px=32, threads=1), list[str]()
    session = drained(open_session(recipe, workers=1))
    monkeypatch.setattr(_probing, "probed", slow)
    found = drained(_probing.probe_in_time(recipe, session, [TINY], time.monotonic() + 1300, notes))
    assert 50 <= len(found[TINY].positions) <= 65, "half of the time, ten seconds each"
    assert [session.task.classes[at] for at in np.unique(session.targets[found[TINY].positions])] == ["a", "b"]
    assert "of 120 training and validation examples" in notes[0]
    assert not drained(_probing.probe_in_time(recipe, session, [TINY], time.monotonic() + 200, notes))
    assert notes[1] == f"The time did not suffice to measure {TINY}."


def test_the_pilot_takes_the_recipes_that_there_is_time_for() -> None:
    prices = {("a", "full"): 9.0, ("a", "probe"): 1.0, ("b", "probe"): 2.0}
    assert _affordable(prices, 4.0) == [("a", "probe"), ("b", "probe")]
    assert _affordable(prices, 12.0) == list(prices)


@pytest.mark.slow
def test_features_inside_a_backbone_are_those_of_the_verb(tmp_path: Path) -> None:
    recipe = Recipe(data=str(tints(tmp_path / "d")), input_px=32, threads=1)
    session = drained(open_session(recipe, workers=1))
    backbone = drained(open_backbone(TINY, input_px=32))
    seen = drained(probed(recipe, backbone, session.scanned, session.task, session.targets, session.learnable))
    some = session.learnable[:20]
    paths = [str(session.dataset.examples[at].content) for at in some.tolist()]
    *_, expected = features(paths, backbone, cut="4a", stored=False)
    assert isinstance(expected, Extracted)
    assert inside(seen, some)["4a"] == pytest.approx(expected.array, abs=1e-5)


@pytest.mark.slow
def test_a_fit_takes_the_advice_and_says_what_came_of_it(tmp_path: Path) -> None:
    recipe = Recipe(data=str(tints(tmp_path / "d")), backbone=TINY, strategy="auto", input_px=32, threads=1,
                    max_seconds=60.0, options={"epochs": 1, "min_steps": 1})  # fmt: skip
    *_, done = fit(recipe, tmp_path / "run")
    assert isinstance(done, RunDone)
    advice, report = read_advice(tmp_path / "run" / "advice"), done.report
    assert report.strategy is not None
    assert report.strategy.preset == advice.advised.strategy
    assert report.advised is not None
    assert report.advised.predicted == advice.advised.predicted is not None
    assert report.advised.seconds is not None
    assert 0 < sum(report.spent.values()) < report.advised.seconds * 50
    page = (tmp_path / "run" / "report.md").read_text()
    assert "## Advice" in page
    assert "predicted 90 % interval" in page
    assert read_recipe(tmp_path / "run" / "recipe.toml").strategy == advice.advised.strategy


def test_auto_is_a_word_of_fit_alone_and_chooses_the_cut_too(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="only when a model is fitted"):
        show(Recipe(data="d", strategy="auto"))
    with pytest.raises(BadRequest, match="also chooses the cut"):
        next(fit(Recipe(data="d", strategy="auto", cut="4e"), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_nothing_to_choose_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="no candidates to choose from"):
        list(advise(Recipe(data="d"), tmp_path / "out", backbones=[], strategies=["probe"]))
