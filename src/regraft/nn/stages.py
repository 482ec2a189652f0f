"""The modules that stand between a family's own layers and the contract of stages.

Letters: n examples, c channels, h and w height and width in pixels.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional


class OnHidden(nn.Module):
    """A stage whose body needs the tensor `hidden` alone; the rest of the record passes through."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**state, "hidden": self.body(state["hidden"])}


class Normalise(nn.Module):
    """Prepared inputs `pixels` (n h w c, 0 to 255) -> `hidden` (n c h w): `(pixels / 255 - mean) / std`."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, state: Mapping[str, Shaped[Tensor, "n h w c"]]) -> dict[str, Float[Tensor, "n c h w"]]:
        hidden = state["pixels"].permute(0, 3, 1, 2).to(torch.float32) / 255.0
        return {"hidden": (hidden - self.mean) / self.std}


def grid_views(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Views of a convolutional top state: `grid` (n c h w) as it is, `pooled` (n c) its global average."""
    grid = state["hidden"]
    return {"pooled": functional.adaptive_avg_pool2d(grid, 1).flatten(1), "grid": grid}


def vector_views(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The one view of a network whose last stage ends in a dense layer: `pooled` (n d), its output as it is."""
    return {"pooled": state["hidden"]}


def class_token_views(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Views of an encoder's top state: `tokens` (n t d) as they are, `pooled` (n d) the first of them."""
    tokens = state["hidden"]
    return {"pooled": tokens[:, 0], "tokens": tokens}
