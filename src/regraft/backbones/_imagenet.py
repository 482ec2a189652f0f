"""What torchvision's ImageNet weights have in common: preparation, normalisation, terms."""

from regraft.data.prepare import Preparation

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose pictures are for non-commercial research"


def preparation(input_px: int = 224, resize_px: int = 256) -> Preparation:
    """Shorter side to `resize_px`, antialiased bilinear, then the centre `input_px` square."""
    return Preparation(input_px=(input_px, input_px), resize_px=resize_px, interpolation="bilinear")
