"""What every backbone on the shelf promises, in every variant."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from networks import FAMILIES, VARIANTS, card_of, family_of, trained_like
from problems import opened
from regraft.backbones.backbone import Backbone
from regraft.contracts.backbone import Network
from regraft.contracts.family import Built, Card
from regraft.errors import BadRequest, UnknownCut, UnknownName


@pytest.fixture(scope="module", params=VARIANTS)
def spec(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn: what several tests ask of one is made once."""
    return str(request.param)


@pytest.fixture(scope="module")
def made(spec: str) -> Built:
    """It and its original, for its smallest input, as if trained."""
    return trained_like(spec, family_of(spec).smallest_px)


def through_arrays(network: Network, inputs: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Each cut, and the logits of the state there once it has been taken out as arrays and put back."""
    at, state = "input", inputs
    for cut in ("input", *list(network.stages)[:-1], "output"):
        stored = {name: tensor.numpy().copy() for name, tensor in network.run(state, after=at, upto=cut).items()}
        at, state = cut, {name: torch.from_numpy(array) for name, array in stored.items()}
        assert network.source_head is not None
        yield cut, network.source_head(network.readouts(network.run(dict(state), after=cut))["pooled"])


def test_the_composed_stages_equal_the_original_at_every_cut(spec: str, made: Built) -> None:
    """In double precision to 1e-9; in single precision, rounding in another order of memory makes 1e-6 to 1e-4."""
    px, random = family_of(spec).smallest_px, np.random.default_rng(0)
    pixels = torch.from_numpy(random.integers(0, 256, (3, px, px, 3), dtype=np.uint8))
    with torch.no_grad():
        expected = made.original(made.network.start({"pixels": pixels})["hidden"])
        assert expected.shape == (3, card_of(spec).num_source_classes)
        assert expected.std(0).mean() > 0.01 * expected.std(), "all inputs look alike to this network"
        found = dict(through_arrays(made.network, {"pixels": pixels}))
    assert tuple(found) == card_of(spec).cuts
    for logits in found.values():
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


def test_a_card_agrees_with_its_network(spec: str, made: Built) -> None:
    family, network = family_of(spec), made.network
    card = card_of(spec, family.smallest_px)
    assert (f"{card.family}:{card.variant}", card.weights) == (spec, "")
    assert Card.from_json(card.to_json()) == card
    assert len(card.mean) == len(card.std) == 3
    assert card.partial_cut in card.cuts[1:-1]
    with torch.no_grad():
        states, inputs = {}, {"pixels": torch.zeros((2, family.smallest_px, family.smallest_px, 3), dtype=torch.uint8)}
        for before, cut in zip(card.cuts, card.cuts[1:], strict=False):
            inputs = states[cut] = dict(network.run(inputs, after=before, upto=cut))
        assert network.readouts(states["output"])["pooled"].shape == (2, card.width)
        assert tuple(network.stages) == card.stages
        assert {stage: tap.weight for stage, tap in network.side_heads.items()} == dict(card.side_heads)
        for stage, tap in network.side_heads.items():
            assert tap.build(5)(states[stage]["hidden"].float()).shape == (2, 5)


def test_first_weights_follow_from_torchs_generator_alone(spec: str, made: Built) -> None:
    """By sums over every 97th number, so that a large network is in memory no more often than it must."""

    def sums(network: Network) -> dict[str, float]:
        return {name: float(tensor.detach().ravel()[::97].double().sum()) for name, tensor in network.tensors().items()}

    family, card, found = family_of(spec), card_of(spec, family_of(spec).smallest_px), []
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            torch.manual_seed(1)
            found.append(sums(family.build(card).network))
    assert found[0] == found[1]
    of_another_seed, weights = sums(made.network), {n for n, t in made.network.tensors().items() if t.ndim == 4}
    assert all(of_another_seed[name] != found[0][name] for name in weights)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_entry_says_what_it_is_when_to_prefer_it_and_where_it_can_be_cut(name: str) -> None:
    family = FAMILIES[name]
    assert family.name == name
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|https://", family.source)
    assert "\n" not in family.title + family.prefer
    assert family.title[0].isupper()
    assert re.match(r"for |to |on |first|where |by default|only for ", family.prefer), (
        "it continues the words: prefer it"
    )
    assert len(set(family.variants)) == len(family.variants) > 0
    if family.narrowed is None:  # an open family's variants are the library's
        for card in map(family.card, family.variants):
            assert len(set(card.stages)) == len(card.stages) > 1
            assert card.cuts == ("input", *card.stages[:-1], "output")
            assert not {"input", "output", "start", "source"} & set(card.stages)


def test_listing_the_shelf_and_reading_its_cards_loads_no_torch(child_env: dict[str, str]) -> None:
    code = """
import sys
from regraft.backbones.backbone import BACKBONES
families = [BACKBONES.get(name) for name in BACKBONES]
assert all(family.card(family.variants[0]).stages for family in families if family.narrowed is None)
assert not {"torch", "torchvision", "timm"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], env=child_env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FAMILIES)
def test_published_weights_name_a_variant_and_fields_of_a_card(name: str) -> None:
    for published in FAMILIES[name].published.values():
        assert published.variant in FAMILIES[name].variants
        in_name = published.file_name.rpartition("-")[2].partition(".")[0]
        assert published.sha256.startswith(in_name)
        card = replace(FAMILIES[name].card(published.variant), **published.facts)
        assert card.licence != "not stated"
        assert "ImageNet" in card.trained_on


@pytest.mark.slow
@pytest.mark.parametrize("spec", VARIANTS)
def test_the_same_seed_gives_the_same_weights(spec: str) -> None:
    px = family_of(spec).smallest_px
    backbone = opened(f"{spec}@random", px)
    other = opened(f"{spec}@random", px, seed=1)
    assert other.digest() != backbone.digest()
    torch.manual_seed(99)
    (backbone.tensors_path.parent / "facts.json").unlink()
    again = opened(f"{spec}@random", px)
    assert again.digest() == backbone.digest()
    assert again.card.name == f"{spec}@random"
    for path in {backbone.tensors_path, other.tensors_path}:
        path.unlink()


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
    with pytest.raises(BadRequest, match=f"{FAMILIES[name].smallest_px} pixels"):
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
        ("", BadRequest, "does not name a backbone"),
        ("@random", BadRequest, "does not name a backbone"),
        ("googlenet@", BadRequest, "does not name a backbone"),
        ("googlenet@https://example.org/net.pth", BadRequest, "weights of the unknown kind 'https'"),
    ],
)
def test_a_name_that_means_nothing_is_refused(spec: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        opened(spec, 64)
