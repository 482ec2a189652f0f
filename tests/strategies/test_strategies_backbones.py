"""One step of a probe and of fine-tuning, and updates of low rank, on every backbone at its smallest input."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from networks import large_ones_are_slow
from problems import drained, opened, problem
from regraft.backbones.backbone import BACKBONES, Backbone
from regraft.contracts.strategy import Fitted
from regraft.nn.stages import PooledHead
from regraft.strategies import finetune, probe
from regraft.strategies._steps import seeded
from regraft.strategies._updates import Updates, layers_of, mergeable
from regraft.strategies.tail import Tail


@pytest.fixture(scope="module", params=large_ones_are_slow())
def smallest(request: pytest.FixtureRequest) -> Iterator[Backbone]:
    """The default variant with random weights, for the smallest input it takes."""
    family = BACKBONES.get(request.param)
    backbone = opened(f"{family.name}@random", family.smallest_px)
    yield backbone
    backbone.tensors_path.unlink()


def one_step(backbone: Backbone, cut: str, **options: Any) -> Fitted:
    """Six examples, one step; what is promised of the tensors above the cut holds."""
    asked = problem(backbone, cut, examples=6)
    settings = finetune.Options(epochs=1, min_steps=0, batch=6, patience=0, **options)
    _, tuned = drained(finetune.fit(asked, settings))
    logits = tuned.logits(asked, asked.train)
    assert logits.shape == (6, 3)
    assert np.isfinite(logits).all()
    assert {name.partition("/")[0] for name in tuned.tensors} == {
        "head", *backbone.card.stages[backbone.cuts.index(cut) :],
    }  # fmt: skip
    before = backbone.network.tensors()
    for name in tuned.frozen:
        np.testing.assert_array_equal(tuned.tensors[name], before[name].numpy())
    assert not np.array_equal(tuned.tensors["head/weight"], np.zeros((3, backbone.card.width)))
    return tuned


def test_a_probe_is_solved(smallest: Backbone) -> None:
    asked = problem(smallest, "output", examples=6)
    _, probed = drained(probe.fit(asked, probe.Options(c=0.01, folds=2)))
    assert probed.logits(asked, asked.train).shape == (6, 3)
    assert probed.tensors["head/weight"].shape == (3, smallest.card.width)


def test_the_cut_of_partial_fine_tuning_takes_a_step(smallest: Backbone) -> None:
    one_step(smallest, smallest.card.partial_cut)


@pytest.mark.slow
def test_every_cut_takes_a_step(smallest: Backbone) -> None:
    for cut in smallest.cuts[:-1]:
        one_step(smallest, cut)


def with_side_heads() -> list[str]:
    """Names of the backbones whose default variant has any."""
    return [name for name in BACKBONES if (family := BACKBONES.get(name)).card(family.variants[0]).side_heads]


@pytest.mark.parametrize("name", with_side_heads())
def test_side_heads_reach_what_lies_below_them_and_are_thrown_away(name: str) -> None:
    backbone = opened(f"{name}@random", BACKBONES.get(name).smallest_px)
    tap = list(backbone.card.side_heads)[-1]
    below = backbone.cuts[backbone.card.stages.index(tap)]
    along, plain = one_step(backbone, below, side_heads=True), one_step(backbone, below)
    assert along.tensors.keys() == plain.tensors.keys()
    weight = next(name for name in plain.tensors if name.startswith(f"{tap}/") and plain.tensors[name].ndim == 4)
    assert not np.array_equal(along.tensors[weight], plain.tensors[weight])


def test_updates_of_every_layer_are_reached_by_the_gradient_and_merged_to_the_same_function(smallest: Backbone) -> None:
    cut = smallest.cuts[len(smallest.cuts) // 2]
    asked = problem(smallest, cut, examples=4)
    head = PooledHead(smallest.card.width, 3)
    tail = Tail(smallest.fresh_network(), cut, head, "pooled", batch_norm="frozen").eval()
    state = {name: torch.from_numpy(array) for name, array in asked.states.batch(asked.train, 0 * asked.train).items()}
    layers = {name: layer for name, layer in layers_of(tail, "all").items() if mergeable(layer)}
    with seeded(0):
        updates = Updates(tail, layers, rank=2, alpha=2.0, dropout=0.0)
        added = {name: p for name, p in tail.named_parameters() if "lora_B" in name}
        with torch.no_grad():
            for parameter in added.values():
                parameter.normal_(std=0.02)
    untouched = {name: array for name, array in smallest.tensors().items() if name not in updates.changed}
    features = tail.features(state)
    features.square().sum().backward()
    unmerged = features.detach()
    assert len(added) >= len(layers)
    assert all(parameter.grad is not None for parameter in added.values())
    updates.merge()
    with torch.no_grad():
        merged = tail.features(state)
    assert float((merged - unmerged).abs().max()) <= 1e-5 * float(merged.abs().max())
    assert updates.changed <= tail.tensors().keys() <= smallest.tensors().keys() | {"head/weight", "head/bias"}
    for name in tail.tensors().keys() & untouched.keys():
        np.testing.assert_array_equal(tail.tensors()[name].detach().numpy(), untouched[name])
