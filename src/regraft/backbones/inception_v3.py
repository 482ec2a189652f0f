"""Inception v3, from torchvision.

Source: Szegedy et al. 2015, arXiv:1512.00567. Weights: torchvision's Inception_V3_Weights.IMAGENET1K_V1, ported from
TensorFlow: they see inputs in [-1, 1], and torchvision maps its ImageNet-normalised input back inside the network; the
card says mean 0.5 and standard deviation 0.5 instead (see googlenet.py). Weight of the side head: PyTorch's tutorial
on fine-tuning torchvision's models; the paper gives none.
"""

from typing import TYPE_CHECKING

from regraft.backbones._imagenet import imagenet_card, preparation, torchvision_weights
from regraft.contracts.card import Card
from regraft.contracts.family import Family

if TYPE_CHECKING:
    from regraft.contracts.backbone import Built

BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
SIDE_HEADS = {"6e": 0.4}
SIDE_CHANNELS = 768


def card(variant: str) -> Card:
    """The facts of the architecture, without weights."""
    return imagenet_card(
        "inception_v3",
        variant,
        preparation=preparation(299, 342),
        stages=("stem", *BLOCKS),
        width=2048,
        partial_cut="7a",
        side_heads=SIDE_HEADS,
    )


def build(card: Card) -> "Built":
    """torchvision's inception_v3 with random weights and without its auxiliary head, as stages."""
    from functools import partial

    from torch import nn

    from regraft.backbones._staged import staged
    from regraft.backbones._torchvision import drawn_model
    from regraft.contracts.backbone import Built, SideHead
    from regraft.nn.side_heads import InceptionV3SideHead
    from regraft.nn.stages import grid_views

    net = drawn_model("inception_v3", num_classes=card.num_source_classes, aux_logits=False, init_weights=False)
    first = (net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3, net.maxpool1)
    stem = nn.Sequential(*first, net.Conv2d_3b_1x1, net.Conv2d_4a_3x3, net.maxpool2)
    network = staged(
        card,
        (stem, *(net.get_submodule(f"Mixed_{name}") for name in BLOCKS)),
        views=grid_views,
        source_head=net.fc,
        side_heads={
            stage: SideHead(weight=weight, build=partial(InceptionV3SideHead, SIDE_CHANNELS))
            for stage, weight in SIDE_HEADS.items()
        },
    )
    return Built(network=network, original=net)


ENTRY = Family(
    name="inception_v3",
    title="Inception v3: GoogLeNet's successor, its kernels factorised, 23.8 million parameters",
    prefer="for fine detail, which its inputs of 299 pixels keep: 77 % on ImageNet for 5.7 billion multiply-adds",
    source="Szegedy et al. 2015, arXiv:1512.00567",
    revision=1,
    variants=("torchvision",),
    card=card,
    build=build,
    classifier="fc.weight",
    smallest_px=75,
    untrained=("AuxLogits.",),
    published=torchvision_weights(
        "inception_v3_google-0cc3c7bd.pth",
        size_mb=103.9,
        top1=77.294,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        notes=("The auxiliary head in this file is left out: side heads start anew.",),
    ),
)
