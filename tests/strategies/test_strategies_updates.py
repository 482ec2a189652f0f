"""Low-rank updates: what they compute, which layers have them, what merging adds."""

import numpy as np
import pytest
import torch
from torch import nn

from problems import problem
from regraft.backbones.backbone import Backbone
from regraft.nn.stages import PooledHead
from regraft.strategies._updates import Updates, layers_of, mergeable
from regraft.strategies.tail import Tail


def tail_at(backbone: Backbone, cut: str) -> Tail:
    return Tail(backbone.fresh_network(), cut, PooledHead(backbone.card.width, 3), "pooled", batch_norm="frozen").eval()


def put_in(tail: Tail, *, rank: int = 3, alpha: float = 5.0) -> Updates:
    """Updates in every layer that may have one, each far from zero."""
    layers = {name: layer for name, layer in layers_of(tail, "all").items() if mergeable(layer)}
    updates = Updates(tail, layers, rank=rank, alpha=alpha, dropout=0.0)
    with torch.no_grad():
        for name, parameter in tail.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    return updates


def test_new_updates_change_nothing_and_only_they_and_the_head_are_trained(tiny: Backbone) -> None:
    asked, tail = problem(tiny, "4e", examples=6), tail_at(tiny, "4e")
    state = {name: torch.from_numpy(array) for name, array in asked.states.batch(asked.train, 0 * asked.train).items()}
    with torch.no_grad():
        before = tail.features(state)
        Updates(tail, layers_of(tail, "all"), rank=2, alpha=1.0, dropout=0.0)
        torch.testing.assert_close(tail.features(state), before, rtol=0, atol=0)
    trained = {name for name, parameter in tail.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_A" in name or "lora_B" in name or name.startswith("head.") for name in trained)
    assert {"head.weight", "head.bias"} <= trained


def test_merging_adds_the_scaled_product_of_the_two_factors(tiny: Backbone) -> None:
    tail, before = tail_at(tiny, "4e"), tiny.tensors()
    updates = put_in(tail, rank=3, alpha=5.0)
    factors = {name: parameter.detach().double().numpy() for name, parameter in tail.named_parameters()}
    updates.merge()
    after = tail.tensors()
    assert after.keys() == {name for name in before if name.startswith(("5a/", "5b/"))} | {"head/weight", "head/bias"}
    for stage, index in (("5a", 0), ("5b", 1)):
        for name in [name for name in updates.changed if name.startswith(f"{stage}/")]:
            layer = f"stages.{index}.{name.partition('/')[2].removesuffix('.weight')}"
            a, b = (factors[f"{layer}.lora_{which}.default.weight"] for which in "AB")
            expected = before[name] + 5 / 3 * np.einsum("or,rihw->oihw", b[:, :, 0, 0], a)
            np.testing.assert_allclose(after[name].detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    for name in before.keys() & after.keys() - updates.changed:
        np.testing.assert_array_equal(after[name].detach().numpy(), before[name])
    assert len(updates.changed) == sum(name.endswith("conv.weight") for name in after) == 12


def test_layers_are_chosen_by_kind_and_an_attention_is_one_linear_layer() -> None:
    tail = nn.Module()
    tail.stages = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2))])
    tail.head = nn.Linear(4, 2)
    named = {kinds: list(layers_of(tail, kinds)) for kinds in ("all", "linear", "convolutions")}
    assert named == {
        "all": ["stages.0", "stages.1.0", "stages.1.1"],
        "linear": ["stages.1.0", "stages.1.1"],
        "convolutions": ["stages.0"],
    }


@pytest.mark.parametrize(
    ("layer", "fine"),
    [
        (nn.Conv2d(4, 4, 3, stride=2, padding=1), True),
        (nn.Conv1d(4, 4, 3), True),
        (nn.Linear(4, 4), True),
        (nn.MultiheadAttention(4, 2), True),
        (nn.Conv2d(4, 4, 3, groups=2), False),
        (nn.Conv2d(4, 4, 3, dilation=2), False),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), False),
        (nn.MultiheadAttention(4, 2, kdim=6), False),
    ],
)
def test_what_cannot_be_merged_is_known(layer: nn.Module, fine: bool) -> None:
    assert mergeable(layer) == fine
