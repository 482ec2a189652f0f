"""GoogLeNet (Inception v1): the paper's network, the batch-norm network, and torchvision's.

Source: Szegedy et al. 2014, arXiv:1409.4842. `googlenet@imagenet` is torchvision's GoogLeNet_Weights.IMAGENET1K_V1,
ported from TensorFlow: it has 3x3 kernels in the "5x5" branch and takes inputs in [-1, 1]. torchvision takes
ImageNet-normalised input and maps it back inside the network; since `((x - m) / s) * (s / 0.5) + (m - 0.5) / 0.5 = (x -
0.5) / 0.5`, the card has mean 0.5 and standard deviation 0.5. A `.caffemodel` contains the paper's network as trained
by BVLC with Caffe (`_googlenet_caffe.py`).

This module also holds what other networks trained on ImageNet share: normalisation, preparation, card, torchvision's
files.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from regraft.contracts.family import Card, Family, Format, Published
from regraft.modalities.image.prepare import Preparation

if TYPE_CHECKING:
    from regraft.contracts.family import Built
    from regraft.nn.stated import StatedCost

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose images are for non-commercial research"
WIDTHS = {"tiny": 0.25, "half": 0.5}
"""Variants of the batch-norm network with fewer filters, for tests, demonstrations and studies."""
STAGES = ("stem", "3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
TAPS = {"3b": (8, 480), "4e": (16, 832), "5b": (32, 1024)}
"""The last feature map at each resolution, before the next pool: stride, and number of channels at full width."""
SIDE_HEADS = {"4a": 0.3, "4d": 0.3}
CAFFE_MEAN = (123.0, 117.0, 104.0)
"""Means of red, green and blue, in [0, 255]."""
CAFFE_NOTE = (
    "Read as BVLC's GoogLeNet: bytes minus the mean (123, 117, 104 for red, green, blue); the first layer's "
    "channels are reversed; the auxiliary heads (loss1, loss2) are left out."
)


def preparation(input_px: int = 224, resize_px: int = 256, interpolation: str = "bilinear") -> Preparation:
    """Return the preparation: resize the shorter side to `resize_px` (antialiased), then crop the central `input_px`
    square."""
    return Preparation(input_px=(input_px, input_px), resize_px=resize_px, interpolation=interpolation)


def imagenet_card(family: str, variant: str, **facts: Any) -> Card:
    """Return the card, without weights, of an architecture for the 1000 ImageNet classes; `facts` are its other
    fields."""
    common: dict[str, Any] = {"preparation": preparation(), "mean": MEAN, "std": STD, "num_source_classes": 1000}
    return Card(family=family, variant=variant, weights="", **common | facts)


def torchvision_weights(file: str, *, size_mb: float, top1: float, **facts: Any) -> Mapping[str, Published]:
    """Return torchvision's ImageNet weights `IMAGENET1K_V1`, whose file name ends in the first digits of its digest.

    `size_mb` is in MiB; `top1` is the accuracy on ImageNet's validation split published by torchvision, in percent;
    `facts` sets the fields of the card in which these weights differ from the architecture.
    """
    return {
        "imagenet": Published(
            url=f"https://download.pytorch.org/models/{file}",
            sha256=file.rpartition("-")[2].removesuffix(".pth"),
            size_mb=size_mb,
            variant="torchvision",
            facts={"trained_on": f"ImageNet-1k (top-1 {top1:.3f} %, torchvision)", "licence": LICENCE, **facts},
            top1_percent=top1,
            top1_source="torchvision",
        )
    }


def card(variant: str) -> Card:
    """Return the card of the architecture, without weights."""
    share = WIDTHS.get(variant, 1.0)
    width = 4944 if variant == "naive" else round(1024 * share)
    taps = {} if variant == "naive" else {name: (stride, round(wide * share)) for name, (stride, wide) in TAPS.items()}
    return imagenet_card(
        "googlenet", variant, stages=STAGES, width=width, taps=taps, partial_cut="4e", side_heads=SIDE_HEADS
    )


def build(card: Card) -> "Built":
    """Build the variant's network with random weights, as stages."""
    from regraft.contracts.family import Built, SideHead
    from regraft.nn.googlenet import GoogLeNet, variant_named
    from regraft.nn.stages import BeforePool, grid_readouts, staged

    shrunk = card.variant in WIDTHS
    variant = variant_named("bn" if shrunk else card.variant)
    net = GoogLeNet(num_classes=card.num_source_classes, variant=variant, width=WIDTHS.get(card.variant, 1.0))
    side_heads = {
        stage: SideHead(weight=weight, build=partial(net.new_side_head, stage)) for stage, weight in SIDE_HEADS.items()
    }
    bodies = net.stages()
    network = staged(card, bodies.values(), readouts=grid_readouts, source_head=net.fc, side_heads=side_heads)
    pooled = {name: BeforePool(bodies[name], name) for name in ("3b", "4e")}
    return Built(network=replace(network, stages={**network.stages, **pooled}), original=net)


def stated(card: Card) -> "tuple[StatedCost, ...]":
    """Return the costs in table 1 of the paper, for variants with its filters, at its input size."""
    if card.variant in (*WIDTHS, "naive") or card.preparation.input_px != (224, 224) or card.channels != 3:
        return ()
    from regraft.nn.stated import googlenet_table

    return googlenet_table()


def _from_caffe(blobs: Mapping[str, Any]) -> dict[str, Any]:
    from regraft.backbones._googlenet_caffe import translate

    return translate(blobs)


ENTRY = Family(
    name="googlenet",
    title="GoogLeNet (Inception v1): parallel 1x1, 3x3, 5x5 and pool branches, 7.0 million parameters",
    prefer="by default: fine-tuning defaults were measured on it; ten cuts, side heads; 70 % on ImageNet "
    "for 1.5 billion multiply-adds at 224 pixels",
    source="Szegedy et al. 2014, arXiv:1409.4842",
    revision=1,
    variants=("bn", "torchvision", "paper", "naive", "half", "tiny"),
    card=card,
    build=build,
    classifier="fc.weight",
    smallest_px=32,
    untrained=("aux1.", "aux2."),
    formats={
        ".caffemodel": Format(
            variant="paper",
            translate=_from_caffe,
            facts={"mean": tuple(value / 255 for value in CAFFE_MEAN), "std": (1 / 255,) * 3, "notes": (CAFFE_NOTE,)},
        )
    },
    published=torchvision_weights(
        "googlenet-1378be20.pth",
        size_mb=49.7,
        top1=69.778,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        notes=("The auxiliary heads in this file are untrained and are left out.",),
    ),
    stated=stated,
)
