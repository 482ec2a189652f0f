"""Networks for other numbers of channels than they were made for. Letters: n, c, h, w as everywhere."""

import numpy as np
import pytest
import torch
from torch import nn

from problems import opened
from regraft.backbones.backbone import BACKBONES
from regraft.backbones.channels import (
    adapt,
    adapted_card,
    weights_are_used_as_they_are,
    with_channels,
)
from regraft.backbones.opening import open_for_channels
from regraft.contracts.family import Card, Family, built, first_convolution
from regraft.errors import BadRequest
from regraft.nn.initialise import Undrawn
from regraft.nn.stages import Normalise
from regraft.values import Notice

FAMILIES: dict[str, Family] = {name: family for name in BACKBONES if (family := BACKBONES.get(name)).smallest_px > 1}
every_variant = pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name, family in FAMILIES.items() for variant in family.variants]
)


def first_layer(family: Family, card: Card) -> nn.Conv2d:
    """The convolution that takes the input, with drawn weights; the rest of the network is not drawn."""
    with Undrawn():
        conv = first_convolution(built(family, card).network, 3)
    assert conv is not None
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(3)
        conv.weight.normal_()
        if conv.bias is not None:
            conv.bias.normal_()
    return conv.requires_grad_(False)


def seen(conv: nn.Conv2d, card: Card, pixels: np.ndarray) -> torch.Tensor:
    """What the layer makes of pixels (n h w c)."""
    start = Normalise(card.mean, card.std)
    activations: torch.Tensor = conv(start({"pixels": torch.from_numpy(pixels)})["hidden"])
    return activations


def inner(activations: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    """Without the places where the filter hangs over the edge."""
    padding = conv.padding[0]
    assert isinstance(padding, int)
    edge = -(-padding // conv.stride[0])
    return activations[..., edge : activations.shape[-2] - edge, edge : activations.shape[-1] - edge]


@every_variant
def test_a_grey_picture_in_one_channel_gives_what_it_gave_in_three(name: str, variant: str) -> None:
    family = FAMILIES[name]
    card = family.card(variant)
    conv = first_layer(family, card)
    grey = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1), dtype=np.uint8)
    expected = inner(seen(conv, card, np.repeat(grey, 3, axis=3)), conv)
    one = adapted_card(card, 1)
    adapt(conv, card, one)
    found = inner(seen(conv, one, grey), conv)
    assert found.shape[-1] > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_where_all_means_are_equal_the_edges_agree_too() -> None:
    card = FAMILIES["googlenet"].card("torchvision")
    card = Card(**{**card.__dict__, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.4, 0.3)})
    conv = nn.Conv2d(3, 8, 7, padding=3, bias=False).requires_grad_(False)
    grey = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 1), dtype=np.uint8)
    expected = seen(conv, card, np.repeat(grey, 3, axis=3))
    one = adapted_card(card, 1)
    adapt(conv, card, one)
    torch.testing.assert_close(seen(conv, one, grey), expected, rtol=1e-4, atol=1e-5)


@every_variant
def test_six_channels_that_repeat_the_three_give_what_the_three_gave(name: str, variant: str) -> None:
    """Filters repeated in a cycle and scaled by 3/6: each colour comes twice, with half the weight."""
    family = FAMILIES[name]
    card = family.card(variant)
    conv = first_layer(family, card)
    colour = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    expected = seen(conv, card, colour)
    six = adapted_card(card, 6)
    adapt(conv, card, six)
    found = seen(conv, six, np.concatenate([colour, colour], axis=3))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@every_variant
def test_filters_for_four_channels_are_timms(name: str, variant: str) -> None:
    manipulate = pytest.importorskip("timm.models", reason="the extra `timm` is not installed")
    family = FAMILIES[name]
    card = family.card(variant)
    conv = first_layer(family, card)
    for channels in (4, 7):
        expected = manipulate.adapt_input_conv(channels, conv.weight)
        again = first_layer(family, card)
        adapt(again, card, adapted_card(card, channels))
        torch.testing.assert_close(again.weight.data, expected.data)


@every_variant
def test_a_network_is_built_for_the_cards_channels(name: str, variant: str) -> None:
    family = FAMILIES[name]
    for channels in (1, 4):
        card = adapted_card(family.card(variant), channels).with_input(family.smallest_px)
        with Undrawn():
            made = built(family, card)
        conv = first_convolution(made.network, channels)
        assert conv is not None
        assert conv.weight.shape[1] == conv.in_channels == channels
        assert any(conv is part for part in made.original.modules()), "original and network share it"
        pixels = torch.zeros((1, *card.preparation.input_px, channels), dtype=torch.uint8)
        with torch.no_grad():
            state = made.network.eval().run({"pixels": pixels})
        assert made.network.readouts(state)["pooled"].shape == (1, card.width)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_opening_for_other_channels_says_so_and_names_other_weights(channels: int) -> None:
    plain = opened("googlenet:tiny@random", 32)
    events = list(iter_events(channels))
    assert f"adapted from 3 channels to {channels}" in events[-1].text
    adapted = with_channels(plain, channels)
    assert adapted.card.channels == len(adapted.card.std) == channels
    assert adapted.card.notes[-1] == events[-1].text
    assert adapted.digest("stem") != plain.digest("stem")
    others = plain.card.stages[1:]
    assert [adapted.stage_digests[one] for one in others] == [plain.stage_digests[one] for one in others]
    assert set(adapted.tensors()) - set(plain.tensors()) == {
        f"{name.removesuffix('weight')}bias" for name in _changed(plain.tensors(), adapted.tensors())
    }


def iter_events(channels: int) -> list[Notice]:
    opening = open_for_channels("googlenet:tiny@random", channels=channels, input_px=32, seed=0)
    return [event for event in opening if isinstance(event, Notice)]


def _changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> list[str]:
    return [name for name in before if before[name].shape != after[name].shape]


def test_an_adapted_network_is_not_adapted_again() -> None:
    one = with_channels(opened("googlenet:tiny@random", 32), 1)
    with pytest.raises(BadRequest, match="takes 1 channel, adapted from 3; 4 were requested"):
        with_channels(one, 4)


def test_asking_for_the_channels_that_are_there_changes_nothing() -> None:
    assert iter_events(0) == iter_events(3) == []


def test_a_layer_that_standardises_its_weights_is_told_from_one_that_uses_them() -> None:
    layers = pytest.importorskip("timm.layers", reason="timm is not installed")
    assert not weights_are_used_as_they_are(layers.ScaledStdConv2d(3, 8, 3))
    assert not weights_are_used_as_they_are(layers.StdConv2d(3, 8, 3))
    assert weights_are_used_as_they_are(layers.Conv2dSame(3, 8, 3, stride=2))
    assert weights_are_used_as_they_are(nn.Conv2d(3, 8, 3, stride=2, padding=1))
