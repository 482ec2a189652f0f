"""A decoder that predicts masks from a backbone's feature maps, and its loss; sources are in `tasks/segmentation.py`.

Letters: b rows, c classes, h and w cells of the finest map, s side of a training mask.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from regraft.nn.torchvision import torchvision_models

GROUPS = 16
"""Groups of the group norm."""
FINER = 2
"""Upsampling factor from the finest map to the output, along each side."""


class MaskHead(nn.Module):
    """Feature maps by name -> logits for each class (b c 2h 2w)."""

    def __init__(self, taps: Mapping[str, int], width: int, num_classes: int, dropout: float = 0.0) -> None:
        """`taps` are numbers of channels by name, the finest map first."""
        super().__init__()
        torchvision_models()  # declares operators needed by the next import
        from torchvision.ops import FeaturePyramidNetwork

        self.names = tuple(taps)
        self.pyramid = FeaturePyramidNetwork(list(taps.values()), width)
        self.dropout = nn.Dropout2d(dropout)
        self.tower = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(GROUPS, width), nn.ReLU())
        self.values = nn.Conv2d(width, num_classes * FINER**2, 1)

    def forward(self, read: Mapping[str, Tensor]) -> Float[Tensor, "b c p q"]:
        maps = list(self.pyramid({name: read[name] for name in self.names}).values())
        size = [int(side) for side in maps[0].shape[2:]]
        coarser = [functional.interpolate(one, size=size, mode="nearest") for one in maps[1:]]
        grid = self.tower(self.dropout(sum(coarser, start=maps[0])))
        return functional.pixel_shuffle(self.values(grid), FINER)


def mask_loss(ignored: int, output: Float[Tensor, "b c p q"], encoded: Int[Tensor, "b s s"]) -> Tensor:
    """Return a batch's mean cross entropy per pixel, plus the Dice loss averaged over the classes in the batch; pixels
    of class `ignored` are excluded from both.

    Source: Milletari et al. 2016, arXiv:1606.04797 (V-Net), here with sums in place of squares.
    """
    values = functional.interpolate(output, size=list(encoded.shape[1:]), mode="bilinear", align_corners=False)
    known = encoded != ignored
    classes = torch.where(known, encoded, torch.zeros_like(encoded))
    each = functional.cross_entropy(values, classes, reduction="none") * known
    truth = functional.one_hot(classes, values.shape[1]).movedim(3, 1) * known[:, None]
    said = values.softmax(1) * known[:, None]
    shared, there = (said * truth).sum((0, 2, 3)), truth.sum((0, 2, 3))
    lacking = 1 - 2 * shared / (said.sum((0, 2, 3)) + there).clamp(min=1)
    some = there > 0
    return each.sum() / known.sum().clamp(min=1) + (lacking * some).sum() / some.sum().clamp(min=1)
