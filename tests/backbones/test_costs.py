"""Costs of every variant of every family are those that hooks of the test's own count on the original network."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphs import own_memory, saved_in_graph
from networks import VARIANTS, card_of, family_of
from regraft.backbones.costs import NetworkCosts, Whole, costs_of
from regraft.nn.accounting import account
from regraft.nn.initialise import Undrawn

OTHERS = ("timm:swin_tiny_patch4_window7_224", "timm:convnext_tiny", "timm:efficientnet_b0")
"""Architectures of timm's that the shelf does not name: windows, channels last, gates."""


class Tally:
    """Multiply-adds by the textbook's formulas, of the calls that layers of the original get."""

    def __init__(self, original: nn.Module) -> None:
        self.multiply_adds = 0
        for module in original.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(self.convolution)
            elif isinstance(module, nn.MultiheadAttention):
                module.register_forward_hook(self.attention)
            elif isinstance(module, nn.Linear):
                module.register_forward_hook(self.dense)
            elif hasattr(module, "qkv"):
                module.register_forward_hook(self.products)

    def convolution(self, module: Any, inputs: Any, output: Tensor) -> None:
        """Every output cell and filter: the kernel's cells times the channels of a group."""
        kernel = module.kernel_size[0] * module.kernel_size[1]
        self.multiply_adds += output.numel() * kernel * module.in_channels // module.groups

    def dense(self, module: Any, inputs: Any, output: Tensor) -> None:
        """Every output: as many as there are inputs."""
        self.multiply_adds += output.numel() * module.in_features

    def attention(self, module: Any, inputs: Any, output: Any) -> None:
        """Queries, keys, values and output projected, then the two products; in torch's own layer none is a call."""
        tokens = inputs[0].shape[1]
        self.multiply_adds += 4 * tokens * module.embed_dim**2 + 2 * tokens**2 * module.embed_dim

    def products(self, module: Any, inputs: Any, output: Tensor) -> None:
        """Queries on keys and weights on values, over the tokens of every window."""
        windows, tokens, width = inputs[0].shape
        self.multiply_adds += 2 * windows * tokens**2 * width


def original_of(spec: str, px: int) -> nn.Module:
    """The network as its library builds it, with real tensors and whatever lay in their memory."""
    with Undrawn():
        original: nn.Module = _family(spec).build(_card(spec).with_input(px)).original
    return original.eval()


def _family(spec: str) -> Any:
    family = family_of(spec)
    return family.narrowed(spec.partition(":")[2]) if family.narrowed else family


def _card(spec: str) -> Any:
    family = _family(spec)
    return family.card(family.variants[0]) if family_of(spec).narrowed else card_of(spec)


def real_pass(spec: str, px: int) -> tuple[int, int]:
    """Parameters and multiply-adds of the original, by a pass on real tensors."""
    original = original_of(spec, px)
    tally = Tally(original)
    with torch.inference_mode():
        original(torch.zeros(1, 3, px, px))
    return sum(parameter.numel() for parameter in original.parameters()), tally.multiply_adds


@pytest.mark.parametrize("spec", VARIANTS)
def test_parameters_and_multiply_adds_are_those_of_a_real_forward_pass(spec: str) -> None:
    px = _family(spec).smallest_px
    with torch.device("meta"), Undrawn():
        whole = Whole(_family(spec).build(_card(spec).with_input(px)).network)
        counted = account(whole, {"pixels": torch.empty((1, px, px, 3), dtype=torch.uint8)})
    assert (counted.parameters, counted.multiply_adds) == real_pass(spec, px)


def check(spec: str) -> None:
    """At the network's own size: the sums, and that stages and layers make them up."""
    costs, px = costs_of(_family(spec), _card(spec)), _card(spec).preparation.input_px[0]
    assert (costs.parameters, costs.multiply_adds) == real_pass(spec, px)
    parts = [part for part in (*costs.stages, costs.head) if part is not None]
    assert costs.parameters == sum(part.parameters for part in parts)
    assert costs.multiply_adds == sum(part.multiply_adds for part in parts)
    assert costs.kept_bytes == sum(part.kept_bytes for part in parts)
    assert costs.running_bytes >= max(part.running_bytes for part in parts)


@pytest.mark.parametrize("spec", ["googlenet:paper", "mobilenet_v3_small:torchvision"])
def test_stages_and_layers_make_up_the_sums(spec: str) -> None:
    check(spec)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [*VARIANTS, *OTHERS])
def test_they_do_for_every_network_at_its_own_size(spec: str) -> None:
    check(spec)


@pytest.mark.slow
@pytest.mark.parametrize("spec", VARIANTS)
def test_what_training_keeps_is_what_the_graph_of_a_real_pass_holds(spec: str) -> None:
    """Of each further example: a batch of three beside one of two."""
    px = _family(spec).smallest_px
    with Undrawn():
        whole = Whole(_family(spec).build(_card(spec).with_input(px)).network).train()
    held = []
    for number in (2, 3):
        pixels = torch.zeros((number, px, px, 3), dtype=torch.uint8)
        held.append(saved_in_graph(whole({"pixels": pixels}), own_memory(whole)))
    assert costs_of(_family(spec), _card(spec).with_input(px)).kept_bytes == held[1] - held[0]


@pytest.fixture(scope="module")
def googlenet() -> NetworkCosts:
    return costs_of(_family("googlenet:paper"), card_of("googlenet:paper"))


def test_side_heads_are_counted_apart_and_hold_what_a_fresh_one_holds(googlenet: NetworkCosts) -> None:
    """The paper's: 1x1 convolution to 128, 1024 hidden units on 4 x 4 cells, 1000 classes."""
    found = {part.name: (part.parameters, part.multiply_adds) for part in googlenet.side_heads}
    dense, grid = 128 * 16 * 1024 + 1024 * 1000, 16
    assert found == {
        stage: (channels * 128 + 128 + dense + 1024 + 1000, channels * 128 * grid + dense)
        for stage, channels in (("4a", 512), ("4d", 528))
    }
    assert googlenet.parameters == 6_998_552


def test_stages_give_what_the_papers_table_says(googlenet: NetworkCosts) -> None:
    sides = [28, 28, 14, 14, 14, 14, 14, 7, 7, 7]
    channels = [192, 256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert [stage.output for stage in googlenet.stages] == [(c, s, s) for c, s in zip(channels, sides, strict=True)]
    for stage in googlenet.stages[1:]:
        assert stage.filters is not None
        branches = stage.filters
        assert stage.output is not None
        assert branches.one + branches.three + branches.five + branches.pool == stage.output[0]


def test_a_network_without_classifier_and_for_other_channels_is_counted_as_it_is() -> None:
    """The first convolution alone changes, and has a bias then; the classifier on 256 features is left out."""
    card = card_of("googlenet:tiny", 32)
    other = replace(card, mean=(0.5,) * 5, std=(0.5,) * 5, num_source_classes=0)
    costs = costs_of(_family("googlenet:tiny"), other)
    assert costs.head is None
    assert costs.parameters == 635_296 - (256 * 1000 + 1000) + (2 * 7 * 7 * 16 + 16)
