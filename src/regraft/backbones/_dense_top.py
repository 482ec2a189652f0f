"""Networks whose convolutions end in two wide dense layers, from torchvision: what AlexNet and VGG-16 share.

The dense layers `fc6` and `fc7` are pretrained, so they are stages; the third, which tells the source's classes apart,
is the source classifier. In training a dropout before `fc6` or `fc7` belongs to that stage, as in the original; one
before the classifier belongs to the head, whose own option it is. The pool between convolutions and `fc6`, adaptive in
the original, is fixed at the grid that the card's input size leaves.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from regraft.backbones._imagenet import imagenet_card
from regraft.contracts.card import Card

if TYPE_CHECKING:
    from regraft.contracts.backbone import Built

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")


def dense_card(name: str, variant: str) -> Card:
    """The facts of the architecture, without weights.

    Partial fine-tuning trains `fc7` (our choice): 17 million parameters, about what the other backbones train, where
    `fc6` alone would add 38 (AlexNet) or 103 million (VGG-16).
    """
    return imagenet_card(name, variant, stages=STAGES, width=4096, partial_cut="fc6")


def dense_build(card: Card, *, conv_ends: Sequence[int], dense_ends: Sequence[int]) -> "Built":
    """torchvision's model of the card's name with random weights, as stages.

    `conv_ends` and `dense_ends` are the positions in the original's `features` and `classifier` at which stages end.
    """
    from torch import nn

    from regraft.backbones._staged import slices, staged
    from regraft.backbones._torchvision import drawn_model
    from regraft.contracts.backbone import Built
    from regraft.nn.fixed_pool import FixedAveragePool, grid_after
    from regraft.nn.stages import vector_views

    net = drawn_model(card.family, num_classes=card.num_source_classes)
    pool = FixedAveragePool(grid_after(net.features, card.preparation.input_px), net.avgpool.output_size)
    fc6, fc7 = slices(net.classifier, dense_ends)
    bodies = (*slices(net.features, conv_ends), nn.Sequential(pool, nn.Flatten(), fc6), fc7)
    network = staged(card, bodies, views=vector_views, source_head=net.classifier[-1])
    return Built(network=network, original=net)
