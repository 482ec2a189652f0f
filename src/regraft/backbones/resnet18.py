"""ResNet-18, from torchvision.

Source: He et al. 2015, arXiv:1512.03385. Weights: torchvision's ResNet18_Weights.IMAGENET1K_V1.
"""

from typing import TYPE_CHECKING

from regraft.backbones._card import Card
from regraft.backbones._family import Family, Published
from regraft.backbones._imagenet import LICENCE, MEAN, STD, preparation

if TYPE_CHECKING:
    from regraft.backbones._contract import Built

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")


def card(variant: str) -> Card:
    """The facts of the architecture, without weights."""
    return Card(
        family="resnet18",
        variant=variant,
        weights="",
        preparation=preparation(),
        mean=MEAN,
        std=STD,
        stages=STAGES,
        width=512,
        partial_cut="layer3",
        num_source_classes=1000,
    )


def build(card: Card) -> "Built":
    """torchvision's resnet18 with random weights, as stages."""
    from torch import nn

    from regraft.backbones._contract import Built, Network
    from regraft.backbones._torchvision import torchvision_models
    from regraft.nn.stages import Normalise, OnHidden, grid_views

    net = torchvision_models().resnet18(weights=None, num_classes=card.num_source_classes)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    bodies = (stem, net.layer1, net.layer2, net.layer3, net.layer4)
    network = Network(
        start=Normalise(card.mean, card.std),
        stages={name: OnHidden(body) for name, body in zip(STAGES, bodies, strict=True)},
        views=grid_views,
        source_head=net.fc,
    )
    return Built(network=network, original=net)


FAMILY = Family(
    name="resnet18",
    title="ResNet-18: residual blocks, 11.7 million parameters",
    prefer="to compare with published work, much of which reports it, at about GoogLeNet's cost (1.8 billion "
    "multiply-adds)",
    source="He et al. 2015, arXiv:1512.03385",
    revision=1,
    variants=("torchvision",),
    card=card,
    build=build,
    classifier="fc.weight",
    smallest_px=32,
    published={
        "imagenet": Published(
            url="https://download.pytorch.org/models/resnet18-f37072fd.pth",
            sha256="f37072fd",
            size_mb=44.7,
            variant="torchvision",
            facts={"trained_on": "ImageNet-1k (top-1 69.758 %, torchvision)", "licence": LICENCE},
        )
    },
)
