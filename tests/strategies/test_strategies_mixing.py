"""Mixing of examples: against the same computed in numpy, and refused where it has no meaning."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from problems import drained, fitted, painted, problem, ways
from regraft.activations.states import States
from regraft.backbones.backbone import Backbone
from regraft.contracts.backbone import Network
from regraft.errors import BadRecipe, BadRequest
from regraft.nn.stages import PooledHead
from regraft.strategies import finetune, probe
from regraft.strategies._mixing import Mix, Mixing, mixing_of
from regraft.strategies._steps import Schedule
from regraft.strategies.loop import _step
from regraft.strategies.tail import Tail
from toys import ToyEncoder, toy_network

WAY = next(way for way in ways() if way.name == "finetune")
STILL = finetune.Options(init="probe", lr=1e-30, weight_decay=0.0, epochs=1, min_steps=0, batch=64)
"""One step that changes nothing, so that the curve tells the first loss."""


def tail_of(backbone: Backbone, cut: str, sides: int = 0) -> Tail:
    network = backbone.fresh_network()
    return Tail(network, cut, PooledHead(256, 3), "pooled", batch_norm="frozen", side_outputs=sides)


def mixing(mixup: float = 0.0, cutmix: float = 0.0, grid: tuple[int, int] = (32, 24)) -> Mixing:
    return Mixing(mixup=mixup, cutmix=cutmix, grid=grid, shared=frozenset())


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_probabilities[np.arange(len(targets)), targets].mean())


def test_the_loss_at_the_top_is_the_mixed_cross_entropy_of_mixed_features(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=24)
    asked = replace(asked, states=asked.top)
    _, probed = drained(probe.fit(asked, probe.Options()))
    model = fitted(WAY, asked, replace(STILL, mixup=0.7))
    mix = mixing(mixup=0.7).draw(asked.seed, 0, 24)
    batches = [examples for examples, _ in asked.top.asked if sorted(examples) == list(range(24))]
    order = next(examples for examples in batches if not (examples == np.arange(24)).all())
    features = asked.top.batch(order, 0 * order)["pooled"].astype(np.float64)
    mixed = mix.share * features + (1 - mix.share) * features[mix.partner]
    logits = mixed @ probed.tensors["head/weight"].T + probed.tensors["head/bias"]
    targets = asked.targets[order]
    expected = mix.share * cross_entropy(logits, targets) + (1 - mix.share) * cross_entropy(
        logits, targets[mix.partner]
    )
    assert 0.02 < mix.share < 0.98
    assert model.curve[0]["loss"] == pytest.approx(expected, rel=1e-4)


def test_inputs_are_mixed_as_floating_numbers_after_the_networks_start(tiny: Backbone) -> None:
    asked, tail = problem(tiny, "input", examples=6), tail_of(tiny, "input").eval()
    pixels = asked.states.batch(np.arange(6), np.zeros(6, dtype=np.int64))["pixels"]
    assert pixels.dtype == np.uint8
    mix = mixing(mixup=0.4).draw(3, 5, 6)
    between = mix.share * pixels.astype(np.float64) + (1 - mix.share) * pixels[mix.partner]
    card = tiny.card
    hidden = (between / 255 - np.array(card.mean)) / np.array(card.std)
    seen: list[torch.Tensor] = []
    tail.passed({"pixels": torch.from_numpy(pixels)}, lambda state: seen.append(mix.state(state)["hidden"]) or state)
    np.testing.assert_allclose(seen[0].numpy(), hidden.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-5)


def test_a_mixed_pass_is_the_pass_of_the_mixed_state(tiny: Backbone) -> None:
    asked, tail = problem(tiny, "4e", examples=6), tail_of(tiny, "4e").eval()
    torch.nn.init.normal_(tail.head.weight)
    hidden = asked.states.batch(np.arange(6), np.zeros(6, dtype=np.int64))["hidden"]
    mix = mixing(mixup=0.4).draw(1, 2, 6)
    mixed = (mix.share * hidden + (1 - mix.share) * hidden[mix.partner]).astype(np.float32)
    with torch.no_grad():
        expected = tail({"hidden": torch.from_numpy(mixed)})
        found = tail.passed({"hidden": torch.from_numpy(hidden)}, mix.state).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("option", ["mixup", "cutmix"])
def test_the_steps_loss_is_the_mixed_one_of_the_head_and_of_every_side_head(tiny: Backbone, option: str) -> None:
    tail, targets = tail_of(tiny, "input", sides=3).train(), np.arange(8) % 3
    torch.nn.init.normal_(tail.head.weight)
    state = {"pixels": torch.from_numpy(painted(targets, 32))}
    mix = mixing(**{option: 1.0}, grid=(32, 32)).draw(0, 0, 8)
    options, schedule = finetune.Options(clip_norm=0.0), Schedule(epochs=1)
    still = torch.optim.SGD(tail.parameters(), lr=0.0)
    torch.manual_seed(0)
    loss = mix.loss(torch.nn.functional.cross_entropy)
    found = _step(tail, still, loss, state, torch.from_numpy(targets), mix.state, options, schedule)["loss"]
    torch.manual_seed(0)
    with torch.no_grad():
        passed = tail.passed(state, mix.state)
        head, sides = passed.logits, passed.sides
    assert sides.keys() == tail.side_weights.keys() == {"4a", "4d"}
    expected = 0.0
    for logits, weight in [(head, 1.0), *((sides[name], tail.side_weights[name]) for name in sides)]:
        own, other = (cross_entropy(logits.numpy().astype(np.float64), t) for t in (targets, targets[mix.partner]))
        expected += weight * (mix.share * own + (1 - mix.share) * other)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_cutmix_takes_whole_cells_of_one_area_from_the_partner_and_counts_them() -> None:
    values = torch.arange(5 * 2 * 32 * 24, dtype=torch.float32).reshape(5, 2, 32, 24)
    heights = set()
    for step in range(200):
        mix = mixing(cutmix=1.0).draw(0, step, 5)
        found = mix.state({"hidden": values})["hidden"].numpy()
        if (mix.partner == np.arange(5)).all():
            continue
        row = int(np.flatnonzero(mix.partner != np.arange(5))[0])
        other = found[row] == values[mix.partner[row]].numpy()
        np.testing.assert_array_equal(other[0], other[1], err_msg="every channel has the same area")
        own = found[row] == values[row].numpy()
        np.testing.assert_array_equal(own, ~other)
        assert mix.share == pytest.approx(1 - other[0].mean())
        rows, columns = other[0].any(axis=1), other[0].any(axis=0)
        np.testing.assert_array_equal(other[0], rows[:, None] & columns[None, :])
        heights.add(int(rows.sum()))
    assert len(heights) > 10


def test_the_area_has_the_grids_proportions_and_a_centre_anywhere() -> None:
    inner = []
    touched = np.zeros((32, 24))
    for step in range(2000):
        area = mixing(cutmix=1.0).draw(1, step, 4).area
        assert area is not None
        touched[area] += 1
        rows, columns = area[0].stop - area[0].start, area[1].stop - area[1].start
        if area[0].start > 0 and area[0].stop < 32 and area[1].start > 0 and area[1].stop < 24:
            inner.append((rows, columns))
    np.testing.assert_allclose([rows * 0.75 - columns for rows, columns in inner], 0, atol=2.1)
    assert touched.min() > 0.1 * touched.max()


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    shares = [mixing(mixup=alpha).draw(0, step, 4).share for step in range(4000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_with_both_each_step_draws_one_of_them() -> None:
    cut = [mixing(mixup=1.0, cutmix=1.0).draw(0, step, 4).area is not None for step in range(400)]
    assert 0.4 < np.mean(cut) < 0.6


def test_a_draw_follows_from_seed_and_step() -> None:
    def drawn(seed: int, step: int) -> tuple[float, list[int]]:
        mix = mixing(mixup=0.5).draw(seed, step, 16)
        assert sorted(mix.partner) == list(range(16))
        return mix.share, mix.partner.tolist()

    assert drawn(1, 2) == drawn(1, 2)
    assert drawn(1, 2) != drawn(1, 3)
    assert drawn(1, 2) != drawn(2, 2)


def test_shared_tensors_stay_as_they_are() -> None:
    mix = Mix(partner=np.array([1, 0]), share=0.25, area=None, shared=frozenset({"position_bias"}))
    bias = torch.randn(1, 2, 3, 3)
    found = mix.state({"hidden": torch.tensor([[1.0], [5.0]]), "position_bias": bias})
    torch.testing.assert_close(found["hidden"], torch.tensor([[4.0], [2.0]]))
    assert found["position_bias"] is bias


@pytest.mark.parametrize("cut", ["5a", "output"])
def test_cutmix_above_the_input_is_refused_with_the_reason(cut: str, tiny: Backbone) -> None:
    with pytest.raises(BadRequest, match=r"the cut is .*depends on its surroundings.*\n.*--cut input.*mixup"):
        fitted(WAY, problem(tiny, cut, examples=6), finetune.Options(cutmix=1.0))


class Words(States):
    """States of the toy encoder at one of its cuts, with a mask beside them."""

    def __init__(self, network: Network, cut: str) -> None:
        state = {"ids": torch.zeros(4, 12, dtype=torch.int64), "mask": torch.ones(4, 12, dtype=torch.bool)}
        with torch.no_grad():
            self.state = {name: value.numpy() for name, value in network.run(state, upto=cut).items()}

    @property
    def num_views(self) -> int:
        return 1

    def batch(self, examples: np.ndarray, views: np.ndarray, pieces: np.ndarray | None = None) -> dict[str, np.ndarray]:
        own = {name: array[examples] for name, array in self.state.items() if name != "position_bias"}
        return {**self.state, **own}


@pytest.mark.parametrize(("cut", "named"), [("input", "'ids', of dtype int64"), ("layer.0", "'mask', of dtype bool")])
def test_a_state_that_has_no_mean_is_refused_by_name(cut: str, named: str, tiny: Backbone) -> None:
    network = toy_network(ToyEncoder())
    tail = Tail(network, cut, PooledHead(16, 3), "pooled", batch_norm="frozen")
    asked = replace(problem(tiny, "output", examples=4), cut=cut, states=Words(network, cut))
    with pytest.raises(BadRequest, match=f"contains {named}, which cannot be averaged"):
        mixing_of(tail, asked, mixup=0.2, cutmix=0.0)


def test_cutmix_of_inputs_without_a_grid_is_refused(tiny: Backbone) -> None:
    network = replace(toy_network(ToyEncoder()), start=torch.nn.Identity())
    tail = Tail(network, "input", PooledHead(16, 3), "pooled", batch_norm="frozen")
    asked = problem(tiny, "output", examples=4)
    with pytest.raises(BadRequest, match=r"not grids: 'pooled' has 2 axes"):
        mixing_of(tail, replace(asked, cut="input", states=asked.top), mixup=0.0, cutmix=1.0)


@pytest.mark.parametrize("field", ["mixup", "cutmix"])
def test_a_negative_alpha_is_refused(field: str, tiny: Backbone) -> None:
    with pytest.raises(BadRecipe, match=rf"options\.{field} is -1\.0; it must be 0 or more"):
        fitted(WAY, problem(tiny, "input", examples=6), finetune.Options(**{field: -1.0}))
