"""What every backbone on the shelf promises, in every variant."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from problems import opened
from regraft.backbones._backbone import BACKBONES, Backbone
from regraft.backbones._card import Card
from regraft.backbones._contract import Built
from regraft.backbones._family import Family
from regraft.backbones._torchvision import torchvision_models
from regraft.errors import BadRequest, UnknownCut, UnknownName
from regraft.nn.accounting import account

FAMILIES: dict[str, Family] = {name: BACKBONES.get(name).FAMILY for name in BACKBONES}
LARGE = {"vit_b_16:torchvision", "googlenet:naive"}
"""Hundreds of megabytes of weights: opened in the slow tier only, save where a test says otherwise."""

VARIANTS = [f"{name}:{variant}" for name, family in FAMILIES.items() for variant in family.variants]
every_variant = pytest.mark.parametrize(
    "spec", [pytest.param(spec, marks=pytest.mark.slow) if spec in LARGE else spec for spec in VARIANTS]
)


@lru_cache(maxsize=2)
def smallest(spec: str) -> Backbone:
    """The variant with random weights at its smallest input."""
    return opened(f"{spec}@random", FAMILIES[spec.partition(":")[0]].smallest_px)


def example(backbone: Backbone, rows: int = 2) -> dict[str, torch.Tensor]:
    height, width = backbone.card.preparation.input_px
    pixels = np.random.default_rng(0).integers(0, 256, (rows, height, width, 3), dtype=np.uint8)
    return {"pixels": torch.from_numpy(pixels)}


def built(backbone: Backbone) -> Built:
    """The original and its stages, with the backbone's weights, in evaluation mode."""
    made: Built = backbone.family.build(backbone.card.buildable)
    stored = backbone.tensors()
    with torch.no_grad():
        for name, tensor in made.network.tensors().items():
            tensor.copy_(torch.from_numpy(stored[name]))
    made.original.eval()
    made.network.eval()
    return made


def check_cuts(spec: str, cuts: list[str] | None = None) -> None:
    """Stage by stage, through arrays at the cut, the logits are those of the original's own forward."""
    backbone = smallest(spec)
    made, inputs = built(backbone), example(backbone)
    with torch.no_grad():
        expected = made.original(made.network.start(inputs)["hidden"])
        assert expected.shape == (2, backbone.card.num_source_classes)
        for cut in cuts or backbone.cuts:
            below = backbone.network.run(inputs, upto=cut)
            state = {name: torch.from_numpy(tensor.numpy().copy()) for name, tensor in below.items()}
            top = backbone.network.run(state, after=cut)
            found = backbone.network.source_head(backbone.network.views(top)["pooled"])
            largest = max(1.0, float(expected.abs().max()))  # wide networks' random weights give logits of tens
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * largest)


@every_variant
def test_the_composed_stages_equal_the_original_at_every_cut(spec: str) -> None:
    check_cuts(spec)


def test_the_vision_transformer_does_at_some_cuts() -> None:
    check_cuts("vit_b_16:torchvision", ["input", "embeddings", "layer.8", "output"])


@pytest.mark.parametrize("spec", VARIANTS)
def test_a_card_agrees_with_its_network(spec: str) -> None:
    name, _, variant = spec.partition(":")
    family = FAMILIES[name]
    card = family.card(variant).with_input(family.smallest_px)
    assert (card.family, card.variant, card.weights) == (name, variant, "")
    assert Card.from_json(card.to_json()) == card
    assert len(card.mean) == len(card.std) == 3
    assert card.partial_cut in card.cuts[1:-1]
    assert family.title
    assert family.source
    with torch.device("meta"):
        network = family.build(card).network.eval()
        pixels = torch.empty((2, family.smallest_px, family.smallest_px, 3), dtype=torch.uint8)
        views = network.views(network.run({"pixels": pixels}))
    assert tuple(network.stages) == card.stages
    assert views["pooled"].shape == (2, card.width)
    assert {stage: tap.weight for stage, tap in network.side_heads.items()} == dict(card.side_heads)
    assert set(card.side_heads) <= set(card.stages)


@pytest.mark.parametrize("name", FAMILIES)
def test_published_weights_name_a_variant_and_fields_of_a_card(name: str) -> None:
    for published in FAMILIES[name].published.values():
        assert published.variant in FAMILIES[name].variants
        assert published.url.rpartition("-")[2].partition(".")[0] == published.sha256
        card = Card.from_json({**FAMILIES[name].card(published.variant).to_json(), **published.facts})
        assert card.licence != "not stated"
        assert "ImageNet" in card.trained_on


@pytest.mark.parametrize(("name", "model"), [("googlenet", "GoogLeNet"), ("resnet18", "ResNet18"),
                                             ("vit_b_16", "ViT_B_16")])  # fmt: skip
def test_parameters_and_multiply_adds_are_those_that_torchvision_publishes(name: str, model: str) -> None:
    meta = getattr(torchvision_models(), f"{model}_Weights").IMAGENET1K_V1.meta
    family = FAMILIES[name]
    card = family.card(family.published["imagenet"].variant)
    with torch.device("meta"):
        made = family.build(card)
        costs = account(Whole(made), {"pixels": torch.empty((1, 224, 224, 3), dtype=torch.uint8)})
    parameters = sum(p.numel() for module in made.network.modules() for p in module.parameters())
    assert parameters == meta["num_params"]
    assert costs.parameters == meta["num_params"]
    assert round(costs.multiply_adds / 1e9, 3) == meta["_ops"]


class Whole(nn.Module):
    """A network's stages and source classifier as one module, to be counted."""

    def __init__(self, made: Built) -> None:
        super().__init__()
        self.network, self.parts = made.network, nn.ModuleList(made.network.modules())

    def forward(self, inputs: Any) -> torch.Tensor:
        return self.network(inputs)


@every_variant
def test_the_same_seed_gives_the_same_weights(spec: str) -> None:
    backbone = smallest(spec)
    px = backbone.card.preparation.input_px[0]
    other = opened(f"{spec}@random", px, seed=1)
    assert other.digest() != backbone.digest()
    torch.manual_seed(99)
    (backbone.tensors_path.parent / "facts.json").unlink()
    again = opened(f"{spec}@random", px)
    assert again.digest() == backbone.digest()
    assert again.card.name == f"{spec}@random"


def test_drawing_weights_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    opened("googlenet:tiny@random", 32, seed=123)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_last_stages_name_is_the_cut_output_and_another_is_refused(name: str) -> None:
    family = FAMILIES[name]
    backbone = Backbone(card=family.card(family.variants[0]), family=family, tensors_path=Path(), stage_digests={})
    assert backbone.cut(backbone.card.stages[-1]) == "output"
    assert [backbone.cut(cut) for cut in backbone.cuts] == list(backbone.cuts)
    wrong = backbone.card.partial_cut + "x"
    with pytest.raises(UnknownCut, match=name) as raised:
        backbone.cut(wrong)
    assert backbone.card.partial_cut in raised.value.fix


@pytest.mark.parametrize("name", FAMILIES)
def test_an_input_smaller_than_the_network_takes_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match=f"{FAMILIES[name].smallest_px} pixels or more"):
        opened(f"{name}@random", FAMILIES[name].smallest_px - 1)


def test_an_input_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(BadRequest, match="in steps of 16") as raised:
        opened("vit_b_16@random", 100)
    assert "96" in raised.value.fix


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("gogglenet@random", UnknownName, "backbone"),
        ("googlenet:torchvison@random", UnknownName, "variant of googlenet"),
        ("googlenet@imagnet", UnknownName, "set of weights of googlenet"),
        ("", BadRequest, "names no backbone"),
        ("@random", BadRequest, "names no backbone"),
        ("googlenet@", BadRequest, "names no backbone"),
        ("googlenet@https://example.org/net.pth", BadRequest, "weights of kind 'https'"),
    ],
)
def test_a_name_that_means_nothing_is_refused(spec: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        opened(spec, 64)
