"""What fine-tuning sets: rates by stage, weight decay, first values, ranges."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from problems import drained, fitted, problem, ways
from regraft.backbones.backbone import Backbone
from regraft.errors import BadRecipe
from regraft.nn.stages import PooledHead
from regraft.strategies import finetune, probe, training
from regraft.strategies.tail import Tail
from regraft.values import Notice

WAY = next(way for way in ways() if way.name == "finetune")


def groups(backbone: Backbone, cut: str, options: finetune.Options, sides: int = 0) -> dict[str, tuple[float, float]]:
    """Peak rate and weight decay of every parameter, by `stage/parameter`."""
    tail = Tail(backbone.fresh_network(), cut, PooledHead(256, 3), "pooled", batch_norm="frozen", side_outputs=sides)
    named = {id(tensor): name for name, tensor in tail.tensors().items()}
    named |= {id(tensor): f"side/{name}" for name, tensor in tail.side_heads.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in training.groups_of(tail, options):
        for parameter in group["params"]:
            assert named[id(parameter)] not in found
            found[named[id(parameter)]] = (group["lr"], group["weight_decay"])
    assert len(found) == len(list(tail.parameters()))
    return found


def test_each_stage_learns_more_slowly_than_the_one_above_it_and_the_head_fastest(tiny: Backbone) -> None:
    found = groups(tiny, "4d", finetune.Options(lr=0.01, head_lr_factor=5.0, decay=0.5))
    rates = {name.partition("/")[0]: set() for name in found}
    for name, (rate, _) in found.items():
        rates[name.partition("/")[0]].add(rate)
    assert rates == {"head": {0.05}, "5b": {0.01}, "5a": {0.005}, "4e": {0.0025}}


def test_gradients_are_told_as_torch_has_them(tiny: Backbone) -> None:
    tail = Tail(tiny.fresh_network(), "4e", PooledHead(256, 3), "pooled", batch_norm="frozen")
    for at, parameter in enumerate(tail.parameters()):
        parameter.grad = torch.full_like(parameter, float(at + 1))
    flat = torch.cat([one.grad.flatten() for one in tail.stages[0].parameters() if one.grad is not None])
    found = tail.gradients()
    assert list(found) == ["gradient 5a", "gradient 5b"]
    assert float(found["gradient 5a"]) == pytest.approx(float(flat.square().mean().sqrt()))


def test_side_heads_learn_like_the_head(tiny: Backbone) -> None:
    found = groups(tiny, "4c", finetune.Options(lr=0.01, head_lr_factor=5.0), sides=3)
    assert {rate for name, (rate, _) in found.items() if name.startswith("side/")} == {0.05}


def test_only_weights_of_layers_decay(tiny: Backbone) -> None:
    found = groups(tiny, "4e", finetune.Options(weight_decay=0.3))
    tensors = tiny.tensors() | {"head/weight": np.zeros((3, 256)), "head/bias": np.zeros(3)}
    for name, (_, decay) in found.items():
        assert decay == (0.3 if tensors[name].ndim > 1 else 0.0), name
    assert found["head/weight"][1] == 0.3
    assert found["head/bias"][1] == 0.0


def test_tokens_and_positions_do_not_decay() -> None:
    class Embeddings(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.class_token = torch.nn.Parameter(torch.zeros(1, 1, 4))
            self.project = torch.nn.Linear(4, 4)

    tail = torch.nn.Module()
    tail.head, tail.side_heads, tail.stages = (
        PooledHead(4, 2),
        torch.nn.ModuleList(),
        torch.nn.ModuleList([Embeddings()]),
    )
    tail.each_term = dict
    decayed = [g["params"] for g in training.groups_of(tail, finetune.Options()) if g["weight_decay"]]  # type: ignore[arg-type]
    assert sorted(tuple(p.shape) for group in decayed for p in group) == [(2, 4), (4, 4)]


def test_small_data_get_more_epochs_until_there_are_enough_steps(tiny: Backbone) -> None:
    model = fitted(WAY, problem(tiny, "5a", examples=18), finetune.Options(epochs=2, min_steps=7, batch=9))
    assert len(model.curve) == 4


@pytest.mark.parametrize(("min_steps", "said"), [(7, ["training"]), (4, [])])
def test_that_a_minimum_of_steps_lengthens_a_run_is_said(min_steps: int, said: list[str], tiny: Backbone) -> None:
    options = finetune.Options(epochs=2, min_steps=min_steps, batch=9)
    events, _ = drained(WAY.module.fit(problem(tiny, "5a", examples=18), options))
    told = [event for event in events if isinstance(event, Notice)]
    assert [event.topic for event in told] == said
    assert all("options.epochs is 2" in event.text and "4 epochs are planned" in event.text for event in told)


def test_lp_ft_starts_at_the_probes_logits(tiny: Backbone) -> None:
    asked = problem(tiny, "4e")
    _, probed = drained(probe.fit(replace(asked, cut="output", states=asked.top), probe.Options()))
    still = finetune.Options(init="probe", lr=1e-30, epochs=1, min_steps=0, weight_decay=0.0)
    model = fitted(WAY, asked, still)
    expected = probed.logits(asked, asked.train)
    np.testing.assert_allclose(model.logits(asked, asked.train), expected, rtol=1e-4, atol=1e-4)
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(expected), torch.from_numpy(asked.targets[asked.train]))
    assert model.curve[0]["loss"] == pytest.approx(float(loss), rel=1e-4)
    assert model.facts["probe"]["c"] == probed.facts["c"]


def test_a_head_that_starts_at_zero_begins_at_chance(tiny: Backbone) -> None:
    model = fitted(WAY, problem(tiny, "4e"), finetune.Options(lr=1e-30, epochs=1, min_steps=0, weight_decay=0.0))
    assert model.curve[0]["loss"] == pytest.approx(np.log(3), rel=1e-5)


def test_recalibrating_is_told(tiny: Backbone) -> None:
    options = finetune.Options(batch_norm="recalibrate", epochs=1, min_steps=0)
    events, _ = drained(WAY.module.fit(problem(tiny, "5a", examples=9), options))
    assert "norm" in [event.topic for event in events if isinstance(event, Notice)]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_acts_in_training_alone(tiny: Backbone, dropout: float) -> None:
    asked = problem(tiny, "output", examples=9)
    asked = replace(asked, states=asked.top)
    model = fitted(WAY, asked, finetune.Options(epochs=2, min_steps=0, dropout=dropout, lr=1e-2))
    np.testing.assert_array_equal(model.logits(asked, asked.train), model.logits(asked, asked.train))


def test_label_smoothing_and_class_weights_reach_the_loss(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=30)
    asked = replace(asked, states=asked.top, train=np.flatnonzero(np.arange(30) % 6 != 5))
    targets = torch.from_numpy(asked.targets[asked.train])
    weights = len(targets) / (3 * torch.bincount(targets))
    still = finetune.Options(init="probe", lr=1e-30, epochs=1, min_steps=0)
    for smoothing, balanced in ((0.0, False), (0.4, False), (0.0, True), (0.4, True)):
        model = fitted(WAY, asked, replace(still, smoothing=smoothing, balanced=balanced))
        expected = torch.nn.functional.cross_entropy(
            torch.from_numpy(model.logits(asked, asked.train)),
            targets,
            weight=weights if balanced else None,
            label_smoothing=smoothing,
        )
        assert model.curve[0]["loss"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    ("field", "value", "range_"),
    [
        ("lr", 0.0, "positive"), ("lr", float("nan"), "positive"), ("head_lr_factor", -1.0, "positive"),
        ("decay", 1.5, r"\(0, 1\]"), ("weight_decay", -0.1, "0 or more"), ("epochs", 0, "1 or more"),
        ("min_steps", -1, "0 or more"), ("batch", 0, "1 or more"), ("warmup_share", 1.1, r"\[0, 1\]"),
        ("patience", -1, "0 or more"), ("smoothing", 1.0, r"\[0, 1\)"), ("dropout", 1.0, r"\[0, 1\)"),
        ("clip_norm", -1.0, "0 or more"), ("regulariser_weight", -1.0, "0 or more"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named_with_its_range(field: str, value: float, range_: str, tiny: Backbone) -> None:
    with pytest.raises(BadRecipe, match=rf"options\.{field} is .*{range_}.*\n.*--set options\.{field}"):
        next(finetune.fit(problem(tiny, "output", examples=6), replace(finetune.Options(), **{field: value})))


def test_a_probe_solved_for_statistics_that_are_then_changed_is_refused() -> None:
    with pytest.raises(BadRecipe, match="old statistics"):
        finetune.check(finetune.Options(init="probe", batch_norm="recalibrate"))
