"""MobileNetV3, from torchvision: what the small and the large network share.

Stages begin where torchvision's own marks C1 to C4 stand, at each halving of the grid; `top` is what the paper calls
the efficient last stage (figure 5): a 1x1 convolution, the global average and a dense layer, pretrained like the rest.
The dropout before the classifier belongs to the head, whose own option it is.

Source: Howard et al. 2019, arXiv:1905.02244, tables 1 and 2.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from regraft.backbones._imagenet import imagenet_card
from regraft.contracts.card import Card
from regraft.contracts.family import Family

if TYPE_CHECKING:
    from regraft.contracts.backbone import Built

STAGES = ("stem", "c1", "c2", "c3", "c4", "top")


def mobilenet_v3(name: str, *, width: int, ends: Sequence[int], **facts: Any) -> Family:
    """The family of torchvision's model `name`.

    `width` is the length of its last dense layer; `ends` are the positions in the original's `features` at which the
    stages below `top` end; `facts` are the family's own fields.
    """

    def card(variant: str) -> Card:
        return imagenet_card(name, variant, stages=STAGES, width=width, partial_cut="c3")

    def build(card: Card) -> "Built":
        from torch import nn

        from regraft.backbones._staged import slices, staged
        from regraft.backbones._torchvision import drawn_model
        from regraft.contracts.backbone import Built
        from regraft.nn.stages import vector_views

        net = drawn_model(name, num_classes=card.num_source_classes)
        dense, rectifier, _, source_head = net.classifier
        top = nn.Sequential(net.features[-1], net.avgpool, nn.Flatten(), dense, rectifier)
        bodies = (*slices(net.features, ends), top)
        return Built(network=staged(card, bodies, views=vector_views, source_head=source_head), original=net)

    return Family(
        name=name,
        source="Howard et al. 2019, arXiv:1905.02244",
        revision=1,
        variants=("torchvision",),
        card=card,
        build=build,
        classifier="classifier.3.weight",
        smallest_px=32,
        **facts,
    )
