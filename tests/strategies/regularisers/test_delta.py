"""DELTA: its term against numpy, its attention against removing channels little by little."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from problems import batch_of, drained, fitted, problem, ways
from regraft.activations.states import States
from regraft.backbones.backbone import Backbone
from regraft.contracts.backbone import Network, State
from regraft.contracts.strategy import Fitted, Problem
from regraft.nn.stages import PooledHead
from regraft.strategies import finetune, probe
from regraft.strategies.regularisers.delta import attention, by_channel, compared, loss_rises
from regraft.strategies.regularisers.regulariser import build
from regraft.strategies.tail import Tail

FINETUNE = next(way for way in ways() if way.name == "finetune")


def tail_of(backbone: Backbone, cut: str) -> Tail:
    return Tail(backbone.fresh_network(), cut, PooledHead(256, 3), "pooled", batch_norm="frozen")


def plain(asked: Problem) -> dict[str, torch.Tensor]:
    """The states of the training examples in their plain view."""
    arrays = asked.states.batch(asked.train, np.zeros_like(asked.train))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def maps_of(backbone: Backbone, tensors: dict[str, torch.Tensor], asked: Problem, stages: list[str]) -> dict:
    """Feature maps (b c p) after some stages of the network with `tensors`, by the network's own way."""
    network = backbone.fresh_network().eval()
    with torch.no_grad():
        for name, tensor in network.tensors().items():
            if name in tensors:
                tensor.copy_(tensors[name])
        found = {stage: network.run(plain(asked), after=asked.cut, upto=stage)["hidden"].numpy() for stage in stages}
    return {stage: array.reshape(*array.shape[:2], -1).astype(np.float64) for stage, array in found.items()}


def test_it_is_the_weighted_distance_between_feature_maps(tiny: Backbone) -> None:
    asked, tail, random = problem(tiny, "4e", examples=6), tail_of(tiny, "4e"), torch.Generator().manual_seed(0)
    held = build("delta", asked, tail, 0.3)
    with torch.no_grad():
        for parameter in tail.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=random))
    found = held(tail, batch_of(tail.eval(), plain(asked), asked))

    shares = [buffer.numpy().astype(np.float64) for buffer in held.buffers()]
    before = maps_of(tiny, {}, asked, ["5a", "output"])
    after = maps_of(tiny, tail.tensors(), asked, ["5a", "output"])
    expected = 0.0
    for stage, share in zip(("5a", "output"), shares, strict=True):
        for row in range(6):
            for channel, weight in enumerate(share):
                gap = after[stage][row, channel] - before[stage][row, channel]
                expected += 0.3 * 0.5 * len(share) / len(gap) * weight * (gap @ gap) / 6
    head = np.concatenate([p.detach().numpy().ravel() for p in tail.head.parameters()]).astype(np.float64)
    assert found.item() == pytest.approx(expected + 0.5 * 0.01 * head @ head, rel=1e-4)


def test_a_channels_rise_is_the_slope_of_the_loss_as_it_is_turned_down(tiny: Backbone) -> None:
    asked = problem(tiny, "4e", examples=6)
    original = tail_of(tiny, "4e").double().eval()
    _, solved = drained(probe.fit(asked, probe.Options()))
    original.load({name: torch.from_numpy(array) for name, array in solved.tensors.items()})
    rises = loss_rises(original, replace(asked, states=InFloat64(asked.states)), ["5a", "5b"])

    network = tiny.fresh_network().eval()
    for module in network.modules():
        module.double()
    state = {name: tensor.double() for name, tensor in plain(asked).items()}
    for stage, after in (("5a", "5a"), ("5b", "output")):
        top = dict(network.run(state, after="4e", upto=after))
        busy = torch.argsort(-top["hidden"].abs().sum(dim=(0, 2, 3)))[[0, 5, 20]].tolist()
        for channel in busy:
            changed = top["hidden"].clone()
            changed[:, channel] *= 1 - 1e-5
            slope = (mean_loss(network, solved, asked, {"hidden": changed}, after)
                     - mean_loss(network, solved, asked, top, after)) / 1e-5  # fmt: skip
            assert float(rises[stage][channel]) == pytest.approx(slope, rel=1e-3, abs=1e-9)


@dataclass(frozen=True)
class InFloat64(States):
    """The same states in float64."""

    inner: States

    @property
    def num_views(self) -> int | None:
        return self.inner.num_views

    def batch(self, examples: np.ndarray, views: np.ndarray, pieces: np.ndarray | None = None) -> dict[str, np.ndarray]:
        return {name: array.astype(np.float64) for name, array in self.inner.batch(examples, views).items()}


def mean_loss(network: Network, solved: Fitted, asked: Problem, state: State, after: str) -> float:
    """Mean log loss of the probe's head on what the network makes of the state after a stage."""
    with torch.no_grad():
        pooled = network.readouts(network.run(state, after=after))["pooled"].numpy()
    logits = pooled @ solved.tensors["head/weight"].T.astype(np.float64) + solved.tensors["head/bias"]
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(logits)), asked.targets]
    return float(losses.mean())


def test_attention_is_the_softmax_of_standardised_rises_over_five() -> None:
    rises = np.array([0.3, -0.2, 0.0, 1.1])
    standard = (rises - rises.mean()) / rises.std()
    expected = np.exp(standard / 5) / np.exp(standard / 5).sum()
    np.testing.assert_allclose(attention(torch.from_numpy(rises)).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(attention(torch.ones(4)).numpy(), [0.25] * 4)


def test_four_stages_at_most_are_compared_and_the_last_always() -> None:
    assert compared(["5a", "5b"]) == ["5a", "5b"]
    found = compared(["stem", "3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"])
    assert len(found) == 4
    assert found[-1] == "5b"


def test_channels_are_found_in_grids_sequences_and_vectors() -> None:
    assert by_channel(torch.zeros(2, 3, 4, 5)).shape == (2, 3, 20)
    assert by_channel(torch.zeros(2, 7, 3)).shape == (2, 3, 7)
    assert by_channel(torch.zeros(2, 3)).shape == (2, 3, 1)


def test_before_the_first_step_there_is_no_distance(tiny: Backbone) -> None:
    asked, tail = problem(tiny, "4e", examples=6), tail_of(tiny, "4e")
    held = build("delta", asked, tail, 1.0)
    found = held(tail, batch_of(tail.train(), plain(asked), asked))
    assert found.item() == pytest.approx(0.0, abs=1e-9)


def test_a_heavy_weight_keeps_the_feature_maps(tiny: Backbone) -> None:
    asked = problem(tiny, "4e", examples=18)
    before = maps_of(tiny, {}, asked, ["output"])["output"]

    def distance(weight: float) -> float:
        options = finetune.Options(
            epochs=4, min_steps=0, lr=1e-3, clip_norm=0.0, regulariser="delta", regulariser_weight=weight
        )
        tensors = {name: torch.from_numpy(array) for name, array in fitted(FINETUNE, asked, options).tensors.items()}
        return float(np.sum((maps_of(tiny, tensors, asked, ["output"])["output"] - before) ** 2))

    assert distance(10.0) < 0.5 * distance(1e-6)
