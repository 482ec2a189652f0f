"""Residual networks, from torchvision: what ResNet-18 and ResNet-50 share.

Source: He et al. 2015, arXiv:1512.03385. In ResNet-50 torchvision strides in the 3x3 convolution of a block, not in
its first 1x1 as the paper does ("v1.5").
"""

from typing import TYPE_CHECKING, Any

from regraft.backbones._imagenet import imagenet_card
from regraft.contracts.card import Card
from regraft.contracts.family import Family

if TYPE_CHECKING:
    from regraft.contracts.backbone import Built

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")


def resnet(name: str, *, width: int, **facts: Any) -> Family:
    """The family of torchvision's model `name`, whose top has `width` channels; `facts` are its own fields."""

    def card(variant: str) -> Card:
        return imagenet_card(name, variant, stages=STAGES, width=width, partial_cut="layer3")

    return Family(
        name=name,
        source="He et al. 2015, arXiv:1512.03385",
        revision=1,
        variants=("torchvision",),
        card=card,
        build=build,
        classifier="fc.weight",
        smallest_px=32,
        **facts,
    )


def build(card: Card) -> "Built":
    """torchvision's network of that name with random weights, as stages."""
    from torch import nn

    from regraft.backbones._staged import staged
    from regraft.backbones._torchvision import torchvision_models
    from regraft.contracts.backbone import Built
    from regraft.nn.stages import grid_views

    net = torchvision_models().get_model(card.family, weights=None, num_classes=card.num_source_classes)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    bodies = (stem, net.layer1, net.layer2, net.layer3, net.layer4)
    return Built(network=staged(card, bodies, views=grid_views, source_head=net.fc), original=net)
