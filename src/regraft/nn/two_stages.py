"""Faster R-CNN's two stages on a feature pyramid, and their loss; sources are in `tasks/detection.py`.

Boxes are left, top, right, bottom as fractions of the canvas's sides. Letters: b rows, a anchors of all maps, p
proposals of a row, c classes, m boxes of a row.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from regraft.nn.pyramid import GROUPS, Suppressed
from regraft.nn.torchvision import torchvision_models

SCALES, ASPECTS = (4.0, 5.7), (0.5, 1.0, 2.0)
"""Sides of a map's anchors, as multiples of its stride, and their ratios of height to width."""
PER_MAP, OVERLAP = 200, 0.7
"""Highest-scoring anchors of each map that become candidates, and IoU threshold of suppression among these."""
PROPOSALS, SAMPLED = 100, 64
"""Maximum number of proposals of a row, and of those sampled in training, a quarter of them on objects."""
CELLS, POINTS = 7, 2
"""Cells that a proposal's features are pooled to, along each side, and points in each of them."""
WIDTH = 256
"""Features of a proposal."""


class TwoStageHead(nn.Module):
    """Feature maps by name -> for each anchor `objectness` (b a 1), `deltas` (b a 4) and `anchors` (b a 4), and for
    each proposal `proposals` (b p 4), `classes` (b p c+1) with the background first, `moves` (b p 4) and `boxes` (b p
    4). Rows with fewer proposals are padded with empty ones."""

    def __init__(
        self, taps: Mapping[str, int], strides: Sequence[int], width: int, num_classes: int, dropout: float = 0.0
    ) -> None:
        """`taps` are numbers of channels by name, the finest map first; `strides` are their strides."""
        super().__init__()
        torchvision_models()  # declares operators needed by the next imports
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.faster_rcnn import TwoMLPHead
        from torchvision.models.detection.rpn import RPNHead
        from torchvision.ops import FeaturePyramidNetwork

        self.names, self.stride = tuple(taps), strides[0]
        # Without norms the maps have the scale of the backbone's features, which differs between networks by orders of
        # magnitude, and the proposals' scores with it.
        self.pyramid = FeaturePyramidNetwork(list(taps.values()), width, norm_layer=partial(nn.GroupNorm, GROUPS))
        sizes = tuple(tuple(scale * stride for scale in SCALES) for stride in strides)
        self.grid = AnchorGenerator(sizes, (ASPECTS,) * len(sizes))
        self.first = RPNHead(width, len(SCALES) * len(ASPECTS))
        self.dropout = nn.Dropout(dropout)
        self.second = TwoMLPHead(width * CELLS**2, WIDTH)
        self.classes, self.moves = nn.Linear(WIDTH, num_classes + 1), nn.Linear(WIDTH, 4)

    def forward(self, read: Mapping[str, Tensor], targets: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """With `targets` (as in `two_stage_loss`), proposals are sampled around their boxes, drawn from torch's
        generator."""
        from torchvision.models.detection.image_list import ImageList
        from torchvision.models.detection.rpn import concat_box_prediction_layers

        maps = list(self.pyramid({name: read[name] for name in self.names}).values())
        height, width = (int(cells) * self.stride for cells in maps[0].shape[2:])
        canvas = maps[0].new_tensor([width, height, width, height])
        (anchors,) = self.grid(ImageList(maps[0].new_zeros(1, 1, height, width), [(height, width)]), maps)
        objectness, deltas = self.first(maps)
        counts = [one[0].numel() for one in objectness]
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        found = {
            name: one.reshape(-1, len(anchors), one.shape[1])
            for name, one in (("objectness", objectness), ("deltas", deltas))
        }
        found["anchors"] = torch.zeros_like(found["deltas"]) + anchors / canvas
        with torch.no_grad():
            placed = moved(found["deltas"], found["anchors"], 1.0).clamp(0, 1)
            proposals = proposed(placed, found["objectness"][..., 0], counts)
            if targets is not None:
                proposals = sampled(proposals, targets)
        features = self.second(self.dropout(pooled(maps[0], proposals)).flatten(0, 1))
        for name, layer in (("classes", self.classes), ("moves", self.moves)):
            found[name] = layer(features).unflatten(0, (-1, proposals.shape[1]))
        boxes = moved(found["moves"], proposals, 10.0).clamp(0, 1)
        return found | {"proposals": proposals, "boxes": boxes}


def proposed(boxes: Float[Tensor, "b a 4"], objectness: Float[Tensor, "b a"], counts: Sequence[int]) -> Tensor:
    """Return the boxes (b p 4) with the highest objectness after non-maximum suppression, map by map, highest first;
    `counts` are the numbers of anchors of the maps."""
    places, scores = list[Tensor](), list[Tensor]()
    parts = [torch.split(one, list(counts), 1) for one in (boxes, objectness)]
    for every, values in zip(*parts, strict=True):
        best, order = values.topk(min(PER_MAP, values.shape[1]))
        near = every.gather(1, order[..., None].expand(-1, -1, 4))
        best = best.sigmoid() * ((near[..., 2] > near[..., 0]) & (near[..., 3] > near[..., 1]))
        kept = Suppressed.apply(near, best[:, None], OVERLAP, PER_MAP)  # type: ignore[no-untyped-call]
        chosen = torch.zeros_like(best).index_put((kept[:, 0], kept[:, 2]), torch.ones_like(kept[:, 0]).to(best))
        places.append(near)
        scores.append(best * chosen)
    value = torch.cat(scores, 1)
    best, order = value.topk(min(PROPOSALS, value.shape[1]))
    return torch.cat(places, 1).gather(1, order[..., None].expand(-1, -1, 4)) * (best > 0)[..., None]


def sampled(proposals: Float[Tensor, "b p 4"], targets: Mapping[str, Tensor]) -> Float[Tensor, "b q 4"]:
    """Return at most `SAMPLED` of each row's proposals and target boxes, a quarter of them on objects if there are as
    many."""
    boxes, labels = _by_row(targets)
    proposed = [torch.cat([one[_size(one) > 0], own]) for one, own in zip(proposals, boxes, strict=True)]
    roi = _roi_heads()
    chosen = roi.subsample(roi.assign_targets_to_proposals(proposed, boxes, labels)[1])
    return pad_sequence([one[rows] for one, rows in zip(proposed, chosen, strict=True)], batch_first=True)


def pooled(grid: Float[Tensor, "b d h w"], boxes: Float[Tensor, "b p 4"]) -> Tensor:
    """Return the features of every box (b p d*49): means of bilinear samples, as RoIAlign's with half-pixel centres."""
    steps = (torch.arange(CELLS * POINTS, device=grid.device) + 0.5) / (CELLS * POINTS)
    x, y = (boxes[..., at, None] + (boxes[..., at + 2] - boxes[..., at])[..., None] * steps for at in (0, 1))
    across, down = x[:, :, None].expand(-1, -1, len(steps), -1), y[..., None].expand(-1, -1, -1, len(steps))
    points = torch.stack([across, down], -1).flatten(1, 2) * 2 - 1
    values = functional.grid_sample(grid, points.to(grid), padding_mode="border", align_corners=False)
    cells = functional.avg_pool2d(values, POINTS).unflatten(2, (-1, CELLS))  # type: ignore[no-untyped-call]
    return cells.permute(0, 2, 1, 3, 4).flatten(2)


def moved(deltas: Float[Tensor, "b p 4"], boxes: Float[Tensor, "b p 4"], weight: float) -> Float[Tensor, "b p 4"]:
    """Return the boxes moved and resized by the deltas of torchvision's `BoxCoder`."""
    return _coder(weight).decode_single(deltas.flatten(0, 1), boxes.flatten(0, 1)).view_as(boxes)


def two_stage_loss(output: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of both stages' cross entropies and smooth L1 losses of boxes: of sampled anchors, and of all
    proposals. Without gradients (validation) anchors are sampled in the same way each time."""
    torchvision_models()
    from torchvision.models.detection.rpn import RegionProposalNetwork

    first, second = RegionProposalNetwork(None, None, 0.7, 0.3, 128, 0.5, {}, {}, OVERLAP), _roi_heads()
    boxes, labels = _by_row(encoded)
    anchors = list(output["anchors"].unbind())
    there, places = first.assign_targets_to_anchors(anchors, [{"boxes": one} for one in boxes])
    with torch.random.fork_rng([], enabled=not torch.is_grad_enabled()):
        if not torch.is_grad_enabled():
            torch.manual_seed(0)
        wanted = first.box_coder.encode(places, anchors)
        losses = first.compute_loss(output["objectness"], output["deltas"].flatten(0, 1), there, wanted)
    proposals = output["proposals"]
    owners, classes = map(torch.stack, second.assign_targets_to_proposals(list(proposals.unbind()), boxes, labels))
    known = _size(proposals) > 0
    classes = classes.where(known, -1)
    found = classes > 0
    own = encoded["boxes"].gather(1, owners[..., None].expand(-1, -1, 4))[found]
    steps = _coder(10.0).encode_single(own, proposals[found])
    what = functional.cross_entropy(output["classes"].flatten(0, 1), classes.flatten(), ignore_index=-1)
    where = functional.smooth_l1_loss(output["moves"][found], steps, beta=1 / 9, reduction="sum")
    return sum(losses, start=what + where / known.sum().clamp(min=1))


def _by_row(encoded: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the boxes and the classes, counted from 1, of every row, without padding."""
    there = encoded["labels"] >= 0
    pairs = zip(encoded["boxes"], encoded["labels"] + 1, there, strict=True)
    boxes, labels = zip(*((box[one], label[one]) for box, label, one in pairs), strict=True)
    return list(boxes), list(labels)


def _size(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _coder(weight: float) -> Any:
    from torchvision.models.detection._utils import BoxCoder

    return BoxCoder((weight, weight, weight / 2, weight / 2) if weight != 1 else (1.0,) * 4)


def _roi_heads() -> Any:
    """torchvision's second stage, for its assignment of proposals to objects, and its sampling."""
    torchvision_models()
    from torchvision.models.detection.roi_heads import RoIHeads

    return RoIHeads(None, None, None, 0.5, 0.5, SAMPLED, 0.25, None, 0.0, 0.0, 0)
