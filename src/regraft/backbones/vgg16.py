"""VGG-16, from torchvision: 3x3 convolutions in five blocks, no batch norm.

Source: Simonyan & Zisserman 2014, arXiv:1409.1556, configuration D. Weights: torchvision's
VGG16_Weights.IMAGENET1K_V1.
"""

from functools import partial

from regraft.backbones._dense_top import dense_build, dense_card
from regraft.backbones._imagenet import torchvision_weights
from regraft.contracts.family import Family

ENTRY = Family(
    name="vgg16",
    title="VGG-16: thirteen 3x3 convolutions and two wide dense layers, 138.4 million parameters",
    prefer="to compare with published work on its features; it asks for most memory of all here, and ten times "
    "GoogLeNet's work (15.5 billion multiply-adds), for 72 % on ImageNet",
    source="Simonyan & Zisserman 2014, arXiv:1409.1556",
    revision=1,
    variants=("torchvision",),
    card=partial(dense_card, "vgg16"),
    build=partial(dense_build, conv_ends=(5, 10, 17, 24, 31), dense_ends=(2, 5)),
    classifier="classifier.6.weight",
    smallest_px=32,
    published=torchvision_weights("vgg16-397923af.pth", size_mb=527.8, top1=71.592),
)
