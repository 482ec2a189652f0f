"""What is said of torchvision's networks and weights is what torchvision publishes and what their layers cost."""

import re
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from networks import FAMILIES, VARIANTS, card_of, costs_of
from regraft.backbones.convert import faults_of, num_classes
from regraft.contracts.family import Published
from regraft.nn.initialise import Undrawn
from regraft.nn.torchvision import torchvision_models

PUBLISHED = [
    (name, weights)
    for name, family in FAMILIES.items()
    for weights, published in family.published.items()
    if published.url.startswith("https://download.pytorch.org/models/")
]
of_torchvision = pytest.mark.parametrize(("name", "weights"), PUBLISHED)

COUNTED_ALONG = {"inception_v3": (768 * 128 + 256) + (128 * 768 * 25 + 1536) + (768 * 1000 + 1000)}
"""Parameters of an auxiliary head that torchvision's number includes: two convolutions with batch norm and a dense
layer. We leave the head out, and so does torchvision's number for GoogLeNet."""


@cache
def members() -> dict[str, Any]:
    """torchvision's published weights of classifiers, by address."""
    models = torchvision_models()
    return {member.url: member for name in models.list_models(models) for member in models.get_model_weights(name)}


def published_as(name: str, weights: str) -> tuple[Published, Any]:
    """Our record of the weights, and torchvision's."""
    published = FAMILIES[name].published[weights]
    return published, members()[published.url]


def test_every_backbone_that_builds_on_torchvision_has_its_weights() -> None:
    assert {name for name, _ in PUBLISHED} == {spec.partition(":")[0] for spec in VARIANTS if "torchvision" in spec}


@of_torchvision
def test_parameters_and_multiply_adds_are_those_that_torchvision_publishes(name: str, weights: str) -> None:
    published, theirs = published_as(name, weights)
    costs = costs_of(f"{name}:{published.variant}")
    assert costs.parameters + COUNTED_ALONG.get(name, 0) == theirs.meta["num_params"]
    assert round(costs.multiply_adds / 1e9, 3) == theirs.meta["_ops"]


@of_torchvision
def test_what_is_said_of_each_rests_on_numbers(name: str, weights: str) -> None:
    family = FAMILIES[name]
    assert "million parameters" in family.title
    assert "billion multiply-adds" in family.prefer


@of_torchvision
def test_accuracy_size_and_preparation_are_those_that_torchvision_publishes(name: str, weights: str) -> None:
    published, theirs = published_as(name, weights)
    assert f"top-1 {theirs.meta['_metrics']['ImageNet-1K']['acc@1']:.3f} %" in published.facts["trained_on"]
    assert published.top1_percent == theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert published.size_mb == pytest.approx(theirs.meta["_file_size"], abs=0.05)
    ours, rule = replace(card_of(f"{name}:{published.variant}"), **published.facts).preparation, theirs.transforms()
    assert list(ours.input_px) == rule.crop_size * 2
    assert [ours.resize_px] == rule.resize_size
    assert ours.interpolation == rule.interpolation.value


@of_torchvision
def test_the_network_sees_what_torchvisions_sees(name: str, weights: str) -> None:
    """torchvision normalises by ImageNet's mean; where the network maps that back inside, the card says so at once."""
    published, theirs = published_as(name, weights)
    pixels = torch.randint(0, 256, (1, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rule, card = theirs.transforms(), replace(card_of(f"{name}:{published.variant}"), **published.facts)
    mean, std = torch.tensor(rule.mean), torch.tensor(rule.std)
    expected = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    module = sys.modules[torchvision_models().get_model_builder(name).__module__]
    if remapping := vars(module).get("GoogLeNet") or vars(module).get("Inception3"):
        with torch.device("meta"):
            original = remapping(transform_input=True, init_weights=False)
        expected = original._transform_input(expected)
    found = (pixels / 255 - torch.tensor(card.mean)) / torch.tensor(card.std)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected, rtol=0, atol=1e-5)


@of_torchvision
def test_torchvisions_own_tensors_fit_auxiliary_heads_left_out(name: str, weights: str) -> None:
    published, family = FAMILIES[name].published[weights], FAMILIES[name]
    options = {"init_weights": False} if family.untrained else {}
    with torch.device("meta"), Undrawn():
        tensors = torchvision_models().get_model(name, weights=None, **options).state_dict()
    assert faults_of(family, card_of(f"{name}:{published.variant}"), tensors) == []
    assert any(key.startswith(family.untrained) for key in tensors) == bool(family.untrained)
    assert num_classes(family, tensors) == 1000


@pytest.mark.parametrize("name", FAMILIES)
def test_the_numbers_in_what_is_said_of_a_backbone_are_counted_ones(name: str) -> None:
    family = FAMILIES[name]
    said = f"{family.title}; {family.prefer}"
    costs = [costs_of(f"{name}:{variant}") for variant in family.variants]
    for parameters in re.findall(r"([\d.]+) million parameters", said):
        assert parameters in {f"{cost.parameters / 1e6:.1f}" for cost in costs}
    for work in re.findall(r"([\d.]+) billion multiply-adds", said):
        decimals = len(work.partition(".")[2])
        assert work in {f"{cost.multiply_adds / 1e9:.{decimals}f}" for cost in costs}
    reached = {re.search(r"top-1 ([\d.]+) %", one.facts["trained_on"]) for one in family.published.values()}
    for percent in re.findall(r"(\d+) %", said):
        assert percent in {f"{float(match[1]):.0f}" for match in reached if match}


def test_superlatives_hold() -> None:
    costs = {name: costs_of(f"{name}:{FAMILIES[name].variants[0]}") for name, _ in PUBLISHED}
    work = {name: cost.multiply_adds for name, cost in costs.items()}
    top1 = {}
    for name, weights in PUBLISHED:
        top1[name] = published_as(name, weights)[1].meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert "the cheapest here" in FAMILIES[min(work, key=lambda name: work[name])].prefer
    assert (
        "the most accurate here (81 % on ImageNet) and the costliest"
        in FAMILIES[max(work, key=lambda name: work[name])].prefer
    )
    assert max(top1, key=lambda name: top1[name]) == max(work, key=lambda name: work[name])
    assert "the most memory here" in FAMILIES[max(costs, key=lambda name: costs[name].parameters)].prefer
    assert "exceeded only by ViT-B/16" in FAMILIES[sorted(top1, key=lambda name: top1[name])[-2]].prefer
    assert top1["mobilenet_v3_large"] > top1["googlenet"]
    googlenet = costs_of("googlenet:torchvision").multiply_adds
    times = {name: round(max(cost, googlenet) / min(cost, googlenet)) for name, cost in work.items()}
    assert (times["mobilenet_v3_large"], times["vit_b_16"], times["vgg16"]) == (7, 12, 10)
