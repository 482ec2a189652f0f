"""Gradual unfreezing: what is frozen stays as it is, when each stage is unfrozen, and what that means for the model."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from problems import drained, fitted, in_folder, losses, problem, same, ways
from regraft.backbones.backbone import Backbone
from regraft.contracts.strategy import Fitted, Problem
from regraft.errors import BadRecipe
from regraft.strategies import finetune, gradual, loop
from regraft.strategies._checkpoint import CRITERION
from regraft.strategies._steps import Unfreezing
from regraft.strategies.tail import Tail
from regraft.values import Event, Notice, Progress

WAY = next(way for way in ways() if way.name == "gradual")
QUICK = {"epochs": 6, "min_steps": 0, "batch": 9, "patience": 0, "lr": 1e-3}


@pytest.fixture
def tails(monkeypatch: pytest.MonkeyPatch) -> list[Tail]:
    """The tails of the fits that follow."""
    seen: list[Tail] = []

    def watch(tail: Tail, *given: Any, **named: Any) -> Generator[Event, None, Fitted]:
        seen.append(tail)
        return train(tail, *given, **named)

    train = loop.train
    monkeypatch.setattr(loop, "train", watch)
    return seen


def test_a_stage_stays_as_it_is_to_the_bit_until_its_phase_and_moves_from_then_on(
    tiny: Backbone, tails: list[Tail]
) -> None:
    before, seen = tiny.tensors(), []
    for event in gradual.fit(problem(tiny, "4c", examples=18), gradual.Options(**QUICK, unfreeze_share=0.7)):
        if isinstance(event, Progress) and event.facts:
            now = {name: tensor.detach().numpy().copy() for name, tensor in tails[0].tensors().items()}
            frozen = {name: p.grad for name, p in tails[0].stages.named_parameters() if not p.requires_grad}
            assert all(gradient is None for gradient in frozen.values())
            seen.append(now)
    moved = [
        {name.partition("/")[0] for name, array in now.items() if name in was and not np.array_equal(array, was[name])}
        for was, now in zip([before, *seen], seen, strict=False)
    ]
    new = [sorted(stages - {"head"}) for stages in moved]
    assert new == [["5b"], ["5b"], ["5a", "5b"], ["4e", "5a", "5b"], ["4d", "4e", "5a", "5b"], ["4d", "4e", "5a", "5b"]]


def test_a_frozen_stage_computes_in_evaluation_mode_and_an_unfrozen_one_measures_its_batches(
    tiny: Backbone, tails: list[Tail]
) -> None:
    options = gradual.Options(**{**QUICK, "epochs": 2}, batch_norm="train")
    modes = []
    for event in gradual.fit(problem(tiny, "4e", examples=18), options):
        if isinstance(event, Progress) and event.facts:
            tail = tails[0].train()
            modes.append(
                [{norm.training for norm in stage.modules() if hasattr(norm, "running_mean")} for stage in tail.stages]
            )
    assert modes == [[{False}, {True}], [{True}, {True}]]


def test_from_zero_the_head_is_trained_alone_first(tiny: Backbone, tails: list[Tail]) -> None:
    asked, before = problem(tiny, "4e", examples=18), tiny.tensors()
    events = gradual.fit(asked, gradual.Options(**QUICK, init="zero"))
    next(event for event in events if isinstance(event, Progress) and event.facts)
    for name, tensor in tails[0].tensors().items():
        if name.startswith("head/"):
            assert torch.count_nonzero(tensor)
        else:
            np.testing.assert_array_equal(tensor.detach().numpy(), before[name])


@pytest.mark.parametrize(
    ("plan", "epochs", "unfrozen"),
    [
        ({"stages": 3, "first": 0, "together": 1, "share": 0.5}, 6, [0, 1, 2, 3, 3, 3]),
        ({"stages": 3, "first": 1, "together": 1, "share": 0.5}, 8, [1, 1, 2, 2, 3, 3, 3, 3]),
        ({"stages": 5, "first": 2, "together": 2, "share": 0.75}, 8, [2, 2, 2, 4, 4, 4, 5, 5]),
        ({"stages": 9, "first": 0, "together": 1, "share": 0.5}, 4, [0, 4, 9, 9]),
        ({"stages": 3, "first": 0, "together": 1, "share": 0.5, "epochs": 2}, 8, [0, 0, 1, 1, 2, 2, 3, 3]),
        ({"stages": 3, "first": 0, "together": 1, "share": 0.5, "epochs": 9}, 3, [0, 1, 3]),
        ({"stages": 3, "first": 1, "together": 1, "share": 0.0}, 2, [3, 3]),
        ({"stages": 3, "first": 0, "together": 1, "share": 0.9}, 1, [3]),
        ({"stages": 0, "first": 1, "together": 1, "share": 0.5}, 2, [0, 0]),
    ],
)
def test_the_cut_falls_evenly_and_all_are_unfrozen_at_the_end(
    plan: dict[str, Any], epochs: int, unfrozen: list[int]
) -> None:
    assert [Unfreezing(**plan).unfrozen(epoch, epochs) for epoch in range(epochs)] == unfrozen


def test_phases_of_given_length_lengthen_a_run_that_would_end_before_the_last(tiny: Backbone) -> None:
    options = gradual.Options(**{**QUICK, "epochs": 1}, init="zero", phase_epochs=2)
    events, model = drained(gradual.fit(problem(tiny, "4e", examples=9), options))
    assert [record["trained_stages"] for record in model.curve] == [0, 0, 1, 1, 2]
    told = [event.text for event in events if isinstance(event, Notice)]
    assert told == [
        "options.epochs is 1, but every stage must be unfrozen: 5 epochs are planned.",
        "From epoch 3 of 5, also trained: 5b.",
        "From epoch 5 of 5, also trained: 5a.",
    ]


def flipping(asked: Problem) -> Problem:
    """The same problem with wrong validation targets, so that learning raises the validation loss."""
    targets = asked.targets.copy()
    targets[asked.val] = (targets[asked.val] + 1) % 3
    return replace(asked, targets=targets)


def test_an_epoch_kept_from_an_early_phase_leaves_the_others_frozen(tiny: Backbone) -> None:
    asked, before = flipping(problem(tiny, "4e", examples=36, val=6)), tiny.tensors()
    model = fitted(WAY, asked, gradual.Options(**{**QUICK, "lr": 1e-2}, init="zero"))
    assert model.curve[model.facts["best_epoch"] - 1]["trained_stages"] == 0
    assert model.curve[-1]["trained_stages"] == 2
    stages = {name for name in model.tensors if not name.startswith("head/")}
    assert model.frozen == stages
    assert all(np.array_equal(model.tensors[name], before[name]) for name in stages)


def test_patience_waits_for_the_last_phase(tiny: Backbone) -> None:
    asked = flipping(problem(tiny, "4e", examples=36, val=6))
    options = gradual.Options(**{**QUICK, "epochs": 20, "lr": 1e-2, "patience": 2}, init="zero")
    model = fitted(WAY, asked, options)
    best = int(np.argmin([record[CRITERION] for record in model.curve])) + 1
    assert model.facts["stopped_by"] == "patience"
    assert len(model.curve) == max(10, best) + 2


def test_without_phases_it_is_fine_tuning_to_the_bit(tiny: Backbone) -> None:
    asked = problem(tiny, "4e", examples=18)
    model = fitted(WAY, asked, gradual.Options(**QUICK, unfreeze_share=0.0))
    way = next(way for way in ways() if way.name == "finetune-partial")
    assert same(model, fitted(way, asked, finetune.Options(**QUICK, init="probe")))


@pytest.mark.usefixtures("every_epoch")
@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 5])
def test_stopped_in_or_between_phases_it_comes_to_the_same_end(stop_after: int, tiny: Backbone, tmp_path: Path) -> None:
    asked = problem(tiny, "4e", examples=21, val=3)
    options = gradual.Options(**{**QUICK, "epochs": 6}, init="zero", dropout=0.2, phase_epochs=2)
    whole = fitted(WAY, asked, options)
    kept = in_folder(asked, tmp_path)
    events = gradual.fit(kept, options)
    for _ in range(stop_after):
        next(event for event in events if isinstance(event, Progress) and event.facts)
    events.close()
    resumed = fitted(WAY, kept, options)
    assert losses(resumed) == losses(whole)
    assert same(resumed, whole)
    assert resumed.frozen == whole.frozen


def test_a_time_limit_of_one_epoch_says_what_was_trained_in_it(tiny: Backbone) -> None:
    asked = replace(problem(tiny, "4e", examples=9), max_seconds=1e-6)
    model = fitted(WAY, asked, gradual.Options(**QUICK))
    assert len(model.curve) == 1
    assert {name.partition("/")[0] for name in model.tensors.keys() - model.frozen} == {"head", "5b"}


@pytest.mark.parametrize(
    ("field", "value", "range_"),
    [
        ("unfreeze_share", 1.0, r"\[0, 1\)"), ("phase_epochs", -1, "0 or more"), ("stages_per_phase", 0, "1 or more"),
        ("lr", 0.0, "positive"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named_with_its_range(field: str, value: float, range_: str, tiny: Backbone) -> None:
    default = getattr(gradual.Options(), field)
    with pytest.raises(BadRecipe, match=rf"options\.{field} is .*{range_}.*\n.*default {default}"):
        next(gradual.fit(problem(tiny, "output", examples=6), replace(gradual.Options(), **{field: value})))
