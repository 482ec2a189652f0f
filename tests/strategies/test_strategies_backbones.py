"""One step of a probe and of fine-tuning, and updates of low rank, on every backbone at its smallest input."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from problems import drained, opened, problem
from regraft.backbones._backbone import BACKBONES, Backbone
from regraft.nn.heads import PooledHead
from regraft.strategies import finetune, probe
from regraft.strategies._seeded import seeded
from regraft.strategies._tail import Tail
from regraft.strategies._updates import Updates, layers_of, mergeable


@pytest.fixture(scope="module", params=list(BACKBONES))
def smallest(request: pytest.FixtureRequest) -> Iterator[Backbone]:
    """The default variant with random weights, for the smallest input it takes."""
    family = BACKBONES.get(request.param).FAMILY
    backbone = opened(f"{family.name}@random", family.smallest_px)
    yield backbone
    backbone.tensors_path.unlink()


def test_a_probe_is_solved_and_a_middle_cut_takes_a_step(smallest: Backbone) -> None:
    cut = smallest.cuts[len(smallest.cuts) // 2]
    asked = problem(smallest, cut, examples=6)
    _, probed = drained(probe.fit(replace(asked, cut="output", states=asked.top), probe.Options(c=0.01, folds=2)))
    assert probed.logits(asked, asked.train).shape == (6, 3)
    assert probed.tensors["head/weight"].shape == (3, smallest.card.width)

    _, tuned = drained(finetune.fit(asked, finetune.Options(epochs=1, min_steps=0, batch=6, patience=0)))
    logits = tuned.logits(asked, asked.train)
    assert logits.shape == (6, 3)
    assert np.isfinite(logits).all()
    assert {name.partition("/")[0] for name in tuned.tensors} == {
        "head", *smallest.card.stages[smallest.card.stages.index(cut) + 1 :],
    }  # fmt: skip
    before = smallest.network.tensors()
    for name in tuned.frozen:
        np.testing.assert_array_equal(tuned.tensors[name], before[name].numpy())
    assert not np.array_equal(tuned.tensors["head/weight"], np.zeros((3, smallest.card.width)))


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
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in added.values())
    updates.merge()
    with torch.no_grad():
        merged = tail.features(state)
    assert float((merged - unmerged).abs().max()) <= 1e-5 * float(merged.abs().max())
    assert updates.changed <= tail.tensors().keys() <= smallest.tensors().keys() | {"head/weight", "head/bias"}
    for name in tail.tensors().keys() & untouched.keys():
        np.testing.assert_array_equal(tail.tensors()[name].detach().numpy(), untouched[name])
