"""What networks trained on ImageNet have in common: normalisation, preparation, card, and torchvision's files."""

from collections.abc import Mapping
from typing import Any

from regraft.contracts.card import Card
from regraft.contracts.family import Published
from regraft.modalities.image.prepare import Preparation

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose images are for non-commercial research"


def preparation(input_px: int = 224, resize_px: int = 256, interpolation: str = "bilinear") -> Preparation:
    """Shorter side to `resize_px`, antialiased, then the centre `input_px` square."""
    return Preparation(input_px=(input_px, input_px), resize_px=resize_px, interpolation=interpolation)


def imagenet_card(family: str, variant: str, **facts: Any) -> Card:
    """The card, without weights, of an architecture for ImageNet's thousand classes; `facts` are its other fields."""
    common: dict[str, Any] = {"preparation": preparation(), "mean": MEAN, "std": STD, "num_source_classes": 1000}
    return Card(family=family, variant=variant, weights="", **common | facts)


def torchvision_weights(file: str, *, size_mb: float, top1: float, **facts: Any) -> Mapping[str, Published]:
    """torchvision's ImageNet weights `IMAGENET1K_V1`, whose file name ends in the first digits of its digest.

    `size_mb` in MiB; `top1` the accuracy on ImageNet's validation split that torchvision publishes, in percent; `facts`
    are fields of the card in which these weights differ from the architecture's own.
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
