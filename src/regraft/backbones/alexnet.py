"""AlexNet, from torchvision: the single-column network of "One weird trick".

Source: Krizhevsky 2014, arXiv:1404.5997, after Krizhevsky et al. 2012. Weights: torchvision's
AlexNet_Weights.IMAGENET1K_V1.
"""

from functools import partial

from regraft.backbones._dense_top import dense_build, dense_card
from regraft.backbones._imagenet import torchvision_weights
from regraft.contracts.family import Family

ENTRY = Family(
    name="alexnet",
    title="AlexNet: five convolutions and two wide dense layers, 61.1 million parameters",
    prefer="to compare with the first work on transfer, which reports its fc6 and fc7; else others give more for less "
    "than its 57 % on ImageNet for 0.7 billion multiply-adds",
    source="Krizhevsky 2014, arXiv:1404.5997",
    revision=1,
    variants=("torchvision",),
    card=partial(dense_card, "alexnet"),
    build=partial(dense_build, conv_ends=(3, 6, 8, 10, 13), dense_ends=(3, 6)),
    classifier="classifier.6.weight",
    smallest_px=63,
    published=torchvision_weights("alexnet-owt-7be5be79.pth", size_mb=233.1, top1=56.522),
)
