"""The trained part: batch norm's policies, side heads, states of several tensors."""

import numpy as np
import pytest
import torch

from problems import fitted, problem, ways
from regraft.backbones.backbone import Backbone
from regraft.errors import BadRequest
from regraft.nn.stages import PooledHead
from regraft.strategies import finetune
from regraft.strategies.loop import train
from regraft.strategies.tail import STATISTICS, Tail
from toys import ToyEncoder, toy_network

QUICK = {"epochs": 2, "min_steps": 0, "batch": 9}
FINETUNE = next(way for way in ways() if way.name == "finetune")


def statistics(model_tensors, before) -> tuple[list[str], list[str]]:
    """Names of batch norm's statistics that stayed, and of those that moved."""
    names = [name for name in model_tensors if name.endswith(STATISTICS)]
    stayed = [name for name in names if np.array_equal(model_tensors[name], before[name])]
    return stayed, [name for name in names if name not in stayed]


@pytest.mark.parametrize("cut", ["input", "4e"])
def test_frozen_statistics_stay_bit_for_bit_and_are_declared(tiny: Backbone, cut: str) -> None:
    model = fitted(FINETUNE, problem(tiny, cut, examples=18), finetune.Options(**QUICK, batch_norm="frozen"))
    stayed, moved = statistics(model.tensors, tiny.tensors())
    assert not moved
    assert model.frozen == frozenset(stayed)
    assert model.facts["batch_norm"] == "frozen"


@pytest.mark.parametrize("policy", ["train", "recalibrate"])
def test_other_policies_move_all_statistics(tiny: Backbone, policy: str) -> None:
    model = fitted(FINETUNE, problem(tiny, "4e", examples=18), finetune.Options(**QUICK, batch_norm=policy))
    stayed, moved = statistics(model.tensors, tiny.tensors())
    assert moved
    assert not stayed
    assert not model.frozen


def test_auto_freezes_the_statistics_of_small_data(tiny: Backbone) -> None:
    model = fitted(FINETUNE, problem(tiny, "5a", examples=18), finetune.Options(**QUICK, batch_norm="auto"))
    assert model.facts["batch_norm"] == "frozen"


def test_training_mode_leaves_frozen_norms_in_evaluation_mode(tiny: Backbone) -> None:
    for policy, training in (("frozen", False), ("recalibrate", False), ("train", True)):
        tail = Tail(tiny.fresh_network(), "4e", PooledHead(256, 3), "pooled", batch_norm=policy)
        assert tail.norms()
        assert all(norm.training == training for norm in tail.train().norms())
        assert tail.min_rows == (2 if training else 1)


def test_side_heads_above_the_cut_are_trained_and_never_handed_over(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    tails: list[tuple[Tail, dict[str, torch.Tensor]]] = []

    def watch(tail: Tail, *args: object, **named: object) -> object:
        tails.append((tail, {name: tensor.clone() for name, tensor in tail.side_heads.state_dict().items()}))
        return train(tail, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("regraft.strategies.loop.train", watch)
    asked = problem(tiny, "4b", examples=18)
    model = fitted(FINETUNE, asked, finetune.Options(**QUICK, side_heads=True))
    tail, before = tails[0]
    assert list(tail.side_weights.items()) == [("4d", 0.3)]
    changed = {name for name, tensor in tail.side_heads.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == set(before)
    plain = fitted(FINETUNE, asked, finetune.Options(**QUICK))
    assert model.tensors.keys() == plain.tensors.keys()
    assert model.curve[0]["loss"] > plain.curve[0]["loss"]


def test_every_side_head_above_the_cut_takes_part(tiny: Backbone) -> None:
    tail = Tail(tiny.fresh_network(), "input", PooledHead(256, 3), "pooled", batch_norm="frozen", side_outputs=3)
    inputs = {"pixels": torch.zeros(2, 32, 32, 3, dtype=torch.uint8)}
    assert {name: side.shape for name, side in tail.train().passed(inputs).sides.items()} == {
        "4a": (2, 3), "4d": (2, 3),
    }  # fmt: skip
    assert tail.eval().passed(inputs).sides == {}


@pytest.mark.parametrize("cut", ["4d", "5a", "output"])
def test_side_heads_where_none_lies_above_the_cut_are_refused(tiny: Backbone, cut: str) -> None:
    with pytest.raises(BadRequest, match=r"it has them at|has them at: 4a, 4d"):
        fitted(FINETUNE, problem(tiny, cut, examples=9), finetune.Options(**QUICK, side_heads=True))


@pytest.mark.parametrize("cut", ["input", "embeddings", "layer.1", "output"])
def test_a_state_with_mask_and_shared_bias_goes_through_and_learns(cut: str) -> None:
    torch.manual_seed(0)
    network = toy_network(ToyEncoder())
    ids, mask = torch.randint(0, 50, (6, 9)), torch.arange(9)[None] < torch.tensor([9, 4, 6, 9, 2, 5])[:, None]
    with torch.no_grad():
        expected = network.readouts(network.run({"ids": ids, "mask": mask}))["pooled"]
        state = network.run({"ids": ids, "mask": mask}, upto=cut)
        state = {"pooled": network.readouts(state)["pooled"]} if cut == "output" else state
    tail = Tail(network, cut, PooledHead(16, 4), "pooled", batch_norm="frozen")
    with torch.no_grad():
        tail.head.weight.normal_()
        torch.testing.assert_close(tail(state), expected @ tail.head.weight.T)
    tail(state).square().sum().backward()
    assert all(parameter.grad is not None for parameter in tail.parameters())
    assert {name.partition("/")[0] for name in tail.tensors()} == {*network.above(cut), "head"}


def test_loading_keeps_what_is_not_given(tiny: Backbone) -> None:
    tail = Tail(tiny.fresh_network(), "5a", PooledHead(256, 3), "pooled", batch_norm="frozen")
    before = {name: tensor.detach().clone() for name, tensor in tail.tensors().items()}
    tail.load({"head/bias": torch.ones(3), "elsewhere/weight": torch.ones(1)})
    changed = [name for name, tensor in tail.tensors().items() if not torch.equal(tensor, before[name])]
    assert changed == ["head/bias"]
