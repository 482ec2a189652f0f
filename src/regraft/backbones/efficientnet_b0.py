"""EfficientNet-B0, from torchvision.

Stages are the paper's (table 1): `stem`, the seven groups of blocks, and `top`, the last 1x1 convolution. Dropping of
whole blocks in training ("stochastic depth") lies inside the blocks and stays, as in the original; the dropout before
the classifier belongs to the head, whose own option it is.

Source: Tan & Le 2019, arXiv:1905.11946. Weights: torchvision's EfficientNet_B0_Weights.IMAGENET1K_V1, ported from
timm; their preparation is bicubic.
"""

from typing import TYPE_CHECKING

from regraft.backbones._imagenet import imagenet_card, preparation, torchvision_weights
from regraft.contracts.card import Card
from regraft.contracts.family import Family

if TYPE_CHECKING:
    from regraft.contracts.backbone import Built

STAGES = ("stem", *(f"block{i}" for i in range(1, 8)), "top")


def card(variant: str) -> Card:
    """The facts of the architecture, without weights."""
    return imagenet_card(
        "efficientnet_b0",
        variant,
        preparation=preparation(interpolation="bicubic"),
        stages=STAGES,
        width=1280,
        partial_cut="block5",
    )


def build(card: Card) -> "Built":
    """torchvision's efficientnet_b0 with random weights, as stages."""
    from regraft.backbones._staged import staged
    from regraft.backbones._torchvision import drawn_model
    from regraft.contracts.backbone import Built
    from regraft.nn.stages import grid_views

    net = drawn_model("efficientnet_b0", num_classes=card.num_source_classes)
    return Built(network=staged(card, net.features, views=grid_views, source_head=net.classifier[-1]), original=net)


ENTRY = Family(
    name="efficientnet_b0",
    title="EfficientNet-B0: depthwise convolutions and channel gates, 5.3 million parameters",
    prefer="for accuracy at little work: 78 % on ImageNet, which only ViT-B/16 betters here, for 0.4 billion "
    "multiply-adds",
    source="Tan & Le 2019, arXiv:1905.11946",
    revision=1,
    variants=("torchvision",),
    card=card,
    build=build,
    classifier="classifier.1.weight",
    smallest_px=32,
    published=torchvision_weights("efficientnet_b0_rwightman-7f5810bc.pth", size_mb=20.5, top1=77.692),
)
