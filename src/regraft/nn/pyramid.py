"""A feature pyramid with a head for boxes, and its loss; sources are in `tasks/detection.py`.

Letters: b rows, k cells of all maps, c classes, m boxes of a row.
"""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from regraft.nn.boxes import suppressed
from regraft.nn.torchvision import torchvision_models

GROUPS = 16
"""Groups of the group norms."""
LARGEST = 4.0
"""Distances from a cell's centre to the sides of its box range from exp(-4) to exp(4) times two cells."""
PRIOR = 0.01
"""Initial score of all cells (Lin et al. 2017)."""
NEAR = 1.5
"""Maximum distance from an object's centre to a cell that predicts it, in cells (FCOS's centre sampling)."""


class PyramidHead(nn.Module):
    """Feature maps by name -> for each cell `scores` (b k c), `centre` (b k 1), `boxes` (b k 4) and `cells` (b k 3)."""

    def __init__(
        self, taps: Mapping[str, int], strides: Sequence[int], width: int, num_classes: int, dropout: float = 0.0
    ) -> None:
        """`taps` are numbers of channels by name, the finest map first; `strides` are their strides."""
        super().__init__()
        torchvision_models()  # declares operators needed by the next import
        from torchvision.ops import FeaturePyramidNetwork

        self.names, self.strides = tuple(taps), tuple(strides)
        self.pyramid = FeaturePyramidNetwork(list(taps.values()), width)
        self.dropout = nn.Dropout2d(dropout)
        self.tower = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(GROUPS, width), nn.ReLU())
        self.scores, self.sides = nn.Conv2d(width, num_classes, 1), nn.Conv2d(width, 5, 1)
        for layer, first in ((self.scores, log(PRIOR / (1 - PRIOR))), (self.sides, 0.0)):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None  # for the type checker
            nn.init.constant_(layer.bias, first)

    def forward(self, read: Mapping[str, Tensor]) -> dict[str, Tensor]:
        maps = self.pyramid({name: read[name] for name in self.names})
        finest = maps[self.names[0]]
        height, width = (cells * self.strides[0] for cells in finest.shape[2:])
        found: dict[str, list[Tensor]] = {"scores": [], "centre": [], "boxes": [], "cells": []}
        for name, stride in zip(self.names, self.strides, strict=True):
            grid = self.tower(self.dropout(maps[name]))
            rows, columns = (torch.arange(cells, device=grid.device) for cells in grid.shape[2:])
            y, x = torch.meshgrid((rows + 0.5) * stride / height, (columns + 0.5) * stride / width, indexing="ij")
            cells = torch.stack([x, y, torch.full_like(x, stride / max(height, width))], 2).flatten(0, 1)
            made = self.sides(grid).flatten(2).transpose(1, 2)
            away = 2 * stride * made[..., :4].clamp(-LARGEST, LARGEST).exp()
            away = away / torch.tensor([width, height, width, height], device=grid.device)
            middle = cells[:, [0, 1, 0, 1]]
            found["boxes"].append(middle + away * torch.tensor([-1.0, -1.0, 1.0, 1.0], device=grid.device))
            found["centre"].append(made[..., 4:])
            found["scores"].append(self.scores(grid).flatten(2).transpose(1, 2))
            found["cells"].append(cells.expand(grid.shape[0], -1, -1))
        return {name: torch.cat(parts, 1) for name, parts in found.items()}


def suppressed_in_graph(
    boxes: Float[Tensor, "b k 4"],
    certain: Float[Tensor, "b k c"],
    placed: Float[Tensor, "b 4"],
    lowest: float,
    candidates: int,
    overlap: float,
    most: int,
) -> dict[str, Tensor]:
    """Return a detector's final boxes from its boxes, as fractions of the canvas's sides, and their scores, for the
    graph of an export: `found` (b k 4), boxes in the units of the example, clipped to its borders, where `placed` is
    the canvas; `certain` (b k c), scores; and `kept` (p 3), row, class and cell, from the standard operator for
    non-maximum suppression."""
    low, high = placed[:, None, :2], placed[:, None, 2:]
    edges = boxes * (high - low).repeat(1, 1, 2) + low.repeat(1, 1, 2)
    found = torch.minimum(edges.clamp(min=0), (low + high).repeat(1, 1, 2))
    sides = found[..., 2:] - found[..., :2]
    flat = certain.flatten(1)
    weakest = flat.topk(min(candidates, int(flat.shape[1]))).values[:, -1:, None].clamp(min=lowest)
    counts = (certain >= weakest) & (sides[..., :1] * sides[..., 1:] > 0)
    scores = (certain * counts).transpose(1, 2)  # zeros_like would be traced with a fixed number of rows
    return {"found": found, "certain": certain, "kept": Suppressed.apply(found, scores, overlap, most)}  # type: ignore[no-untyped-call]


class Suppressed(torch.autograd.Function):
    """Non-maximum suppression of boxes (b k 4) by their scores above 0 for each class (b c k), at most `most` of each
    class -> row, class and cell of those kept (p 3). In an export it is ONNX's operator."""

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, scores: Tensor, overlap: float, most: int) -> Tensor:
        places, kept = boxes.detach().cpu().numpy(), list[tuple[int, int, int]]()
        for row, classes in enumerate(scores.detach().cpu().numpy()):
            for label, values in enumerate(classes):
                some = np.flatnonzero(values > 0)
                best = some[suppressed(places[row, some], values[some], overlap)[:most]]
                kept += [(row, label, cell) for cell in best.tolist()]
        return torch.tensor(kept, dtype=torch.int64, device=boxes.device).reshape(-1, 3)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, overlap: float, most: int) -> Any:
        limits = torch.tensor([most]), torch.tensor([overlap]), torch.tensor([0.0])
        return g.op("NonMaxSuppression", boxes, scores, *(g.op("Constant", value_t=one) for one in limits))


def owners(
    cells: Float[Tensor, "b k 3"], boxes: Float[Tensor, "b m 4"], labels: Int[Tensor, "b m"]
) -> tuple[Int[Tensor, "b k"], Float[Tensor, "b k m 4"]]:
    """Return the index of the box assigned to every cell, -1 for none, and the distances from the cell's centre to the
    sides of every box.

    A map of stride s is assigned the boxes whose farthest side is between 2 s and 4 s away, the finest map also smaller
    ones, the coarsest also larger ones; of several boxes, the smallest.
    """
    x, y, size = (part[..., None] for part in cells.unbind(-1))
    left, top, right, bottom = boxes[:, None].unbind(-1)
    away = torch.stack([x - left, y - top, right - x, bottom - y], -1)
    off = torch.maximum((x - (left + right) / 2).abs(), (y - (top + bottom) / 2).abs())
    farthest = away.amax(-1)
    low = torch.where(size <= cells[..., 2].min(), 0.0, 2 * size)
    high = torch.where(size >= cells[..., 2].max(), torch.inf, 4 * size)
    fits = (away.amin(-1) > 0) & (off < NEAR * size) & (farthest > low) & (farthest <= high) & (labels >= 0)[:, None]
    areas = torch.where(fits, ((right - left) * (bottom - top)).expand_as(farthest), torch.inf)
    smallest, owner = areas.min(2)
    return torch.where(smallest < torch.inf, owner, -1), away


def pyramid_loss(output: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> Tensor:
    """Return the loss of a batch, divided by the number of cells with an assigned box."""
    torchvision_models()
    from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

    owner, away = owners(output["cells"], encoded["boxes"], encoded["labels"])
    rows, cells = torch.nonzero(owner >= 0, as_tuple=True)
    boxes = owner[rows, cells]
    wanted = torch.zeros_like(output["scores"])
    wanted[rows, cells, encoded["labels"][rows, boxes]] = 1.0
    what = sigmoid_focal_loss(output["scores"], wanted, reduction="sum")
    where = generalized_box_iou_loss(output["boxes"][rows, cells], encoded["boxes"][rows, boxes], reduction="sum")
    left, top, right, bottom = away[rows, cells, boxes].unbind(-1)
    nearness = (
        torch.minimum(left, right) / torch.maximum(left, right)
        * torch.minimum(top, bottom) / torch.maximum(top, bottom)
    ).sqrt()  # fmt: skip
    middle = functional.binary_cross_entropy_with_logits(output["centre"][rows, cells, 0], nearness, reduction="sum")
    return (what + where + middle) / max(1, len(rows))
