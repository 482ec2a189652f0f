"""Low-rank updates as a strategy: what changes, how much is trained, what is refused."""

import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from problems import drained, fitted, in_folder, losses, problem, same, ways
from regraft.backbones.backbone import Backbone
from regraft.contracts.strategy import Fitted
from regraft.errors import BadRecipe, BadRequest, MissingExtra
from regraft.strategies import _updates, loop, lora
from regraft.strategies.tail import Tail
from regraft.values import Event, Notice, Progress

WAY = next(way for way in ways() if way.name == "lora")
QUICK = {"epochs": 2, "min_steps": 0, "batch": 9, "patience": 0}


def test_weights_of_layers_change_by_no_more_than_the_rank_and_nothing_else_does(tiny: Backbone) -> None:
    model, before = fitted(WAY, problem(tiny, "4e", examples=18), lora.Options(**QUICK, rank=3)), tiny.tensors()
    changed = {
        name for name, array in model.tensors.items() if name in before and not np.array_equal(array, before[name])
    }
    assert changed == {name for name in model.tensors if name.endswith("conv.weight")}
    assert model.frozen == {name for name in model.tensors if not name.startswith("head/")} - changed
    for name in changed:
        singular = np.linalg.svd((model.tensors[name] - before[name]).reshape(len(before[name]), -1), compute_uv=False)
        assert singular[0] > 0
        assert (singular[3:] < 1e-3 * singular[0]).all(), name


def test_what_was_trained_is_counted_by_the_updates_and_the_head(tiny: Backbone) -> None:
    model, before = fitted(WAY, problem(tiny, "5a", examples=9), lora.Options(**QUICK, rank=2)), tiny.tensors()
    shapes = [array.shape for name, array in before.items() if name.startswith("5b/") and name.endswith("conv.weight")]
    assert len(shapes) == model.facts["updated_layers"] == 6
    head = 3 * tiny.card.width + 3
    assert model.num_trained == sum(2 * (int(np.prod(shape[1:])) + shape[0]) for shape in shapes) + head


def test_the_merged_model_answers_what_the_model_with_its_updates_answered(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, unmerged = problem(tiny, "4d", examples=18), []

    def watch(*given: Any, **named: Any) -> Generator[Event, None, Fitted]:
        model = yield from train(*given, **named)
        unmerged.append(model.logits(asked, asked.train))
        return model

    train = loop.train
    monkeypatch.setattr(loop, "train", watch)
    model = fitted(WAY, asked, lora.Options(**QUICK, lr=1e-2))
    merged = model.logits(asked, asked.train)
    assert np.abs(merged - unmerged[0]).max() <= 1e-5 * np.abs(merged).max()


@pytest.mark.usefixtures("every_epoch")
def test_stopped_with_dropout_before_the_updates_it_comes_to_the_same_end(tiny: Backbone, tmp_path: Path) -> None:
    asked, options = problem(tiny, "4e", examples=18), lora.Options(**QUICK, update_dropout=0.3)
    whole = fitted(WAY, asked, options)
    kept = in_folder(asked, tmp_path)
    events = lora.fit(kept, options)
    next(event for event in events if isinstance(event, Progress) and event.facts)
    events.close()
    resumed = fitted(WAY, kept, options)
    assert losses(resumed) == losses(whole)
    assert same(resumed, whole)
    assert not same(whole, fitted(WAY, asked, replace(options, update_dropout=0.0)))


def test_layers_without_a_mergeable_update_are_told_of_and_keep_their_weights(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_updates, "mergeable", lambda layer: layer.kernel_size == (1, 1))
    events, model = drained(lora.fit(problem(tiny, "5a", examples=9), lora.Options(**QUICK)))
    told = [event.text for event in events if isinstance(event, Notice)]
    assert told[0].startswith("2 of 6 layers above the cut keep their weights")
    changed = [model.tensors[name] for name in model.tensors.keys() - model.frozen if name.endswith("conv.weight")]
    assert [array.shape[2:] for array in changed] == [(1, 1)] * 4


@pytest.mark.parametrize(("cut", "layers"), [("output", "all"), ("4e", "linear")])
def test_a_cut_with_nothing_to_update_above_it_is_refused(cut: str, layers: str, tiny: Backbone) -> None:
    with pytest.raises(BadRequest, match=rf"Above the cut '{cut}' there is no layer.*\n.*lower cut") as raised:
        next(lora.fit(problem(tiny, cut, examples=9), lora.Options(layers=layers)))
    assert ("options.layers=all" in raised.value.fix) == (layers != "all")


def test_without_peft_it_says_what_to_install(tiny: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"lora needs the package 'peft'.*\n.*regraft\[lora\]"):
        next(lora.fit(problem(tiny, "5a", examples=9), lora.Options()))


@pytest.mark.parametrize(
    ("field", "value", "range_"),
    [
        ("rank", 0, "1 or more"), ("alpha", 0.0, "positive"), ("update_dropout", 1.0, r"\[0, 1\)"),
        ("lr", 0.0, "positive"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named_with_its_range(field: str, value: float, range_: str, tiny: Backbone) -> None:
    default = getattr(lora.Options(), field)
    with pytest.raises(BadRecipe, match=rf"options\.{field} is .*{range_}.*\n.*default {default}"):
        next(lora.fit(problem(tiny, "output", examples=6), replace(lora.Options(), **{field: value})))


def test_the_head_and_every_update_have_a_rate_and_nothing_frozen_a_gradient(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Tail, set[int]]] = []

    def watch(tail: Tail, options: lora.Options) -> list[dict[str, Any]]:
        groups = groups_of(tail, options)
        told.append((tail, {id(parameter) for group in groups for parameter in group["params"]}))
        return groups

    groups_of = loop.groups_of
    monkeypatch.setattr(loop, "groups_of", watch)
    events = lora.fit(problem(tiny, "5a", examples=9), lora.Options(**QUICK))
    next(event for event in events if isinstance(event, Progress))
    tail, ids = told[0]
    for name, parameter in tail.named_parameters():
        assert (id(parameter) in ids) == parameter.requires_grad == (parameter.grad is not None), name
    assert torch.is_tensor(tail.head.weight.grad)
