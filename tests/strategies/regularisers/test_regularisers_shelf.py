"""What every regulariser promises, beside the promises of a strategy, which are tested with each of them in
`test_strategies_contract`."""

from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from problems import drained, fitted, in_folder, problem, ways
from regraft.backbones.backbone import Backbone
from regraft.errors import BadRecipe, BadRequest, UnknownName
from regraft.strategies import finetune, loop
from regraft.strategies.regularisers.regulariser import REGULARISERS, build
from regraft.strategies.tail import Tail

EVERY = pytest.mark.parametrize("name", REGULARISERS.names())
QUICK = {"epochs": 1, "min_steps": 0, "batch": 9}
FINETUNE = next(way for way in ways() if way.name == "finetune")


@EVERY
def test_it_names_its_source_and_a_published_weight(name: str) -> None:
    kind, module = REGULARISERS.get(name), import_module(REGULARISERS.module(name))
    assert "Source: " in module.__doc__
    assert kind.weight > 0


@EVERY
def test_its_term_is_part_of_the_loss_and_told_apart_in_the_curve(name: str, tiny: Backbone) -> None:
    asked = problem(tiny, "5a", examples=9)
    plain = fitted(FINETUNE, asked, finetune.Options(**QUICK))
    held = fitted(FINETUNE, asked, finetune.Options(**QUICK, regulariser=name))
    assert "regulariser" not in plain.curve[0]
    assert held.curve[0]["regulariser"] >= 0
    assert held.curve[0]["loss"] == pytest.approx(plain.curve[0]["loss"] + held.curve[0]["regulariser"], rel=1e-5)
    assert held.facts["regulariser"]["name"] == name


@EVERY
def test_the_published_weight_is_used_unless_another_is_given(name: str, tiny: Backbone) -> None:
    asked, published = problem(tiny, "5a", examples=9), REGULARISERS.get(name).weight
    for given, used in ((0.0, published), (3 * published, 3 * published)):
        model = fitted(FINETUNE, asked, finetune.Options(**QUICK, regulariser=name, regulariser_weight=given))
        assert model.facts["regulariser"]["weight"] == used


@EVERY
@pytest.mark.parametrize("changes", [{"side_heads": True}, {"init": "probe"}, {"batch_norm": "train"}], ids=str)
def test_it_goes_with_side_heads_a_solved_head_and_trained_norms(name: str, changes: dict, tiny: Backbone) -> None:
    asked = problem(tiny, "4c", examples=9)
    model = fitted(FINETUNE, asked, finetune.Options(**QUICK, **changes, regulariser=name))
    assert np.isfinite(model.logits(asked, asked.train)).all()
    assert {part.partition("/")[0] for part in model.tensors} == {"4d", "4e", "5a", "5b", "head"}


@EVERY
def test_only_what_it_trains_along_is_kept_in_a_checkpoint(name: str, tiny: Backbone, tmp_path: Path) -> None:
    fitted(FINETUNE, in_folder(problem(tiny, "5a", examples=9), tmp_path), finetune.Options(**QUICK, regulariser=name))
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        kept = {key.removeprefix("tail:") for key in file.keys() if key.startswith("tail:terms.regulariser.")}  # noqa: SIM118
    tail = Tail(tiny.fresh_network(), "5a", FakeHead(), "pooled", batch_norm="frozen")
    trained = build(name, problem(tiny, "5a", examples=9), tail, 0.0).named_parameters()
    assert kept == {f"terms.regulariser.{parameter}" for parameter, _ in trained}


class FakeHead(torch.nn.Linear):
    """A head of three classes."""

    def __init__(self) -> None:
        super().__init__(256, 3)


@EVERY
def test_random_weights_are_nothing_to_be_held_back_to(name: str, tiny: Backbone) -> None:
    random = replace(tiny, card=replace(tiny.card, weights="random"))
    asked = replace(problem(tiny, "5a", examples=9), backbone=random)
    with pytest.raises(BadRequest, match=rf"{name}.*random.*\n.*leave out options.regulariser"):
        fitted(FINETUNE, asked, finetune.Options(**QUICK, regulariser=name))


@EVERY
def test_a_head_alone_is_not_regularised(name: str, tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=9)
    with pytest.raises(BadRequest, match=rf"{name}.*only the head is above.*\n.*a lower cut"):
        fitted(FINETUNE, replace(asked, states=asked.top), finetune.Options(**QUICK, regulariser=name))


def test_an_unknown_one_is_refused_with_the_nearest(tiny: Backbone) -> None:
    with pytest.raises(UnknownName, match="did you mean 'co_tuning'"):
        fitted(FINETUNE, problem(tiny, "5a", examples=9), finetune.Options(**QUICK, regulariser="cotuning"))


def test_a_weight_without_a_regulariser_is_refused() -> None:
    with pytest.raises(BadRecipe, match=r"regulariser_weight is 0\.5, but no regulariser.*\n.*regulariser=NAME"):
        finetune.check(finetune.Options(regulariser_weight=0.5))


@pytest.mark.parametrize(("name", "off"), [("l2_sp", True), ("delta", True), ("bss", False), ("co_tuning", False)])
def test_weight_decay_is_off_where_the_term_stands_in_for_it(
    name: str, off: bool, tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    groups_of = loop.groups_of
    monkeypatch.setattr(loop, "groups_of", lambda *given: seen.append(found := groups_of(*given)) or found)
    options = finetune.Options(**QUICK, weight_decay=0.3, regulariser=name)
    model = drained(finetune.fit(problem(tiny, "5a", examples=9), options))[1]
    assert {group["weight_decay"] for group in seen[0]} == ({0.0} if off else {0.0, 0.3})
    assert model.curve


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize(
    "way", [way for way in ways() if way.preset in finetune.PRESETS.values()], ids=lambda w: w.name
)
def test_it_is_there_for_every_preset(name: str, way, tiny: Backbone) -> None:
    assert "regulariser" in {field.name for field in fields(way.module.Options)}
    asked = way.problem(tiny, examples=18)
    model = fitted(way, asked, way.options(**{**QUICK, "epochs": 3}, regulariser=name))
    assert np.isfinite(model.logits(asked, asked.train)).all()


@EVERY
@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_it_is_refused_beside_mixed_examples(name: str, mixing: str) -> None:
    with pytest.raises(BadRecipe, match=f"{name} and options.{mixing} mixes examples"):
        finetune.check(finetune.Options(regulariser=name, **{mixing: 0.2}))
