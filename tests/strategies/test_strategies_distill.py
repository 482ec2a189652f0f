"""Knowledge distillation: one network learns to see what another sees."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from problems import MemoryStates, drained, in_folder, losses, opened, problem, same, with_teacher
from regraft.backbones.backbone import Backbone
from regraft.contracts.strategy import Fitted, Problem
from regraft.contracts.task import TASKS
from regraft.errors import BadRecipe, BadRequest, UnknownName
from regraft.strategies.distill import Options, fit
from regraft.values import Progress

QUICK = {"teacher": "googlenet", "lr": 3e-3, "min_steps": 0, "batch": 10, "decay": 1.0, "head_lr_factor": 1.0}


@pytest.fixture(scope="module")
def teacher() -> Backbone:
    return opened("googlenet:tiny@random", 32, seed=7)


def unlabelled(asked: Problem) -> Problem:
    """The problem with what the teacher sees in the place of labels."""
    places = np.arange(len(asked.targets))
    targets = asked.others[0].states.batch(places, np.zeros_like(places))["features"]
    return replace(asked, task=TASKS.get("features")(()).prepared(targets), targets=targets, solve_start=None)


def distance(model: Fitted, asked: Problem, positions: np.ndarray) -> float:
    """The mean squared error of the outputs from the targets."""
    return float(((model.logits(asked, positions) - asked.targets[positions]) ** 2).mean())


def test_without_labels_the_held_out_distance_falls(tiny: Backbone, teacher: Backbone) -> None:
    asked = unlabelled(with_teacher(problem(tiny, "input", views=2, examples=60, val=20), teacher))
    _, model = drained(fit(asked, Options(**QUICK, epochs=10)))
    curve = model.curve
    assert distance(model, asked, asked.val) == pytest.approx(min(one["val_loss"] for one in curve), rel=1e-4)
    assert distance(model, asked, asked.val) < 0.9 * curve[0]["val_loss"]
    assert model.facts["teacher"]["digest"] == teacher.digest()


def test_each_row_learns_what_the_teacher_saw_in_its_own_view(
    tiny: Backbone, teacher: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = unlabelled(with_teacher(problem(tiny, "input", views=3, examples=12), teacher))
    (other,), given = asked.others, []
    before = type(asked.task).encoded
    monkeypatch.setattr(
        type(asked.task), "encoded", lambda task, targets, placed: given.append(placed) or before(task, targets, placed)
    )
    drained(fit(asked, Options(**QUICK, epochs=1)))
    assert isinstance(asked.states, MemoryStates)
    trained = [rows for rows in asked.states.asked if rows[1].any()]
    for (examples, views), placed in zip(trained, given, strict=False):
        np.testing.assert_array_equal(placed["taught"], other.states.batch(examples, views)["features"])


def test_beside_labels_the_distance_is_a_term_of_the_loss(tiny: Backbone, teacher: Backbone) -> None:
    asked = with_teacher(problem(tiny, "input", views=2, examples=40), teacher)
    _, model = drained(fit(asked, Options(**QUICK, epochs=6)))
    assert model.curve[-1]["distance"] < model.curve[0]["distance"]
    assert model.curve[0]["loss"] > model.curve[0]["distance"]
    assert {name.partition("/")[0] for name in model.tensors} == {*tiny.network.above("input"), "head"}
    assert model.logits(asked, asked.train).shape == (40, 3)


@pytest.mark.parametrize("labels", [True, False])
def test_the_teacher_stays_bit_identical(labels: bool, tiny: Backbone, teacher: Backbone) -> None:
    before = {name: tensor.clone() for name, tensor in teacher.network.tensors().items()}
    asked = with_teacher(problem(tiny, "input", views=2, examples=20), teacher)
    drained(fit(asked if labels else unlabelled(asked), Options(**QUICK, epochs=1)))
    for name, tensor in teacher.network.tensors().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.usefixtures("every_epoch")
@pytest.mark.parametrize("labels", [True, False])
def test_a_run_that_was_stopped_goes_on_to_the_same_model(
    labels: bool, tiny: Backbone, teacher: Backbone, tmp_path: Path
) -> None:
    asked, options = with_teacher(problem(tiny, "input", views=2, examples=20), teacher), Options(**QUICK, epochs=3)
    asked = asked if labels else unlabelled(asked)
    whole = drained(fit(asked, options))[1]
    for event in (events := fit(in_folder(asked, tmp_path), options)):
        if isinstance(event, Progress) and event.done >= 3:
            break
    events.close()  # type: ignore[attr-defined]
    resumed = drained(fit(in_folder(asked, tmp_path), options))[1]
    assert same(whole, resumed)
    assert losses(whole) == losses(resumed)


def test_what_cannot_be_had_is_refused_before_anything_is_computed(tiny: Backbone, teacher: Backbone) -> None:
    asked = with_teacher(problem(tiny, "input", views=2, examples=20), teacher)
    with pytest.raises(BadRecipe, match=r"options.teacher is empty"):
        drained(fit(asked, Options()))
    with pytest.raises(UnknownName):
        drained(fit(asked, Options(teacher="goglenet")))
    with pytest.raises(BadRequest, match="each seen by the teacher once"):
        drained(fit(problem(tiny, "input", views=0, examples=20), Options(teacher="googlenet")))
