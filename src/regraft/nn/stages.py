"""Modules that adapt a family's own layers to the stage interface, and the linear head.

Letters: n examples, c channels, h and w height and width in pixels or of the grid, p and q of a pool's output, t tokens
(the class token first), d features, k outputs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from regraft.contracts.backbone import TAP, Network, Readouts, State
from regraft.contracts.family import Card
from regraft.errors import BadRequest

Size = tuple[int, int]
"""Height and width."""


class OnHidden(nn.Module):
    """A stage whose body takes the tensor `hidden` only; the rest of the state is passed through."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**state, "hidden": self.body(state["hidden"])}


class BeforePool(OnHidden):
    """A stage that ends in a pool, and exposes the feature map before the pool as a tap."""

    def __init__(self, body: nn.Module, tap: str) -> None:
        """`body` is a sequence that ends in the pool."""
        super().__init__(body)
        self.tap = tap

    def forward(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        layers = list(self.body.children())
        before = state["hidden"]
        for layer in layers[:-1]:
            before = layer(before)
        return {**state, TAP + self.tap: before, "hidden": layers[-1](before)}


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


def staged(
    card: Card,
    bodies: Iterable[nn.Module],
    *,
    readouts: Callable[[State], Readouts],
    source_head: nn.Module | None = None,
    **others: Any,
) -> Network:
    """Return a network of `bodies`, one per stage of the card from the input upwards, each a function of `hidden` only.

    `others` are the network's other fields.
    """
    return Network(
        start=Normalise(card.mean, card.std),
        stages={name: OnHidden(body) for name, body in zip(card.stages, bodies, strict=True)},
        readouts=readouts,
        source_head=source_head,
        **others,
    )


def slices(chain: nn.Sequential, ends: Sequence[int]) -> list[nn.Module]:
    """Split the chain into pieces that end before the layers `ends`; layers beyond the last of them are dropped."""
    return [chain[first:end] for first, end in zip((0, *ends[:-1]), ends, strict=True)]


def grid_readouts(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the readouts of a convolutional network: `grid` (n c h w) unchanged, `pooled` (n c) its global average."""
    grid = state["hidden"]
    return {"pooled": functional.adaptive_avg_pool2d(grid, 1).flatten(1), "grid": grid}


def vector_readouts(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the readout of a network whose last stage ends in a linear layer: `pooled` (n d), its output unchanged."""
    return {"pooled": state["hidden"]}


def class_token_readouts(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the readouts of a transformer encoder: `tokens` (n t d) unchanged, `pooled` (n d) the first of them."""
    tokens = state["hidden"]
    return {"pooled": tokens[:, 0], "tokens": tokens}


class Embeddings(nn.Module):
    """The first stage of a vision transformer: patch embedding, class token, position embedding.

    Holds the original's own tensors. Source: Dosovitskiy et al. 2020, arXiv:2010.11929, equation 1.
    """

    def __init__(
        self, patches: nn.Conv2d, class_token: Float[nn.Parameter, "1 1 d"], positions: Float[nn.Parameter, "1 t d"]
    ) -> None:
        super().__init__()
        self.patches = patches
        self.class_token = class_token
        self.positions = positions

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t d"]:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], dim=1) + self.positions


class FixedAveragePool(nn.Module):
    """`nn.AdaptiveAvgPool2d(output)` for one fixed grid size, in operations that every exporter supports.

    torch's adaptive pool chooses its windows at run time. A traced export cannot express that unless the output is one
    cell or divides the grid; with a fixed input size the windows are fixed too, and can be written out.

    A window's mean is the mean of its rows' means, so height and width are pooled in sequence. A grid smaller than the
    output is stretched, as in torch.
    """

    def __init__(self, grid: Size, output: Size) -> None:
        super().__init__()
        self.grid, self.output = grid, output

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c p q"]:
        """Raises: BadRequest: the grid does not have the fixed size."""
        if not torch.onnx.is_in_onnx_export() and tuple(x.shape[2:]) != self.grid:
            raise BadRequest(
                f"This pooling layer is fixed to a {self.grid[0]} x {self.grid[1]} grid; got {x.shape[2]} x "
                f"{x.shape[3]}.",
                fix="open the backbone with input_px set to the size of its inputs.",
            )
        for axis, cells, wanted in zip((2, 3), self.grid, self.output, strict=True):
            if cells != wanted:
                means = [x.narrow(axis, first, end - first).mean(axis, True) for first, end in _windows(cells, wanted)]
                x = torch.cat(means, axis)
        return x


def _windows(cells: int, wanted: int) -> list[tuple[int, int]]:
    """Return the first cell, and the one after the last, of each of `wanted` windows over `cells` cells.

    Source: torch.nn.AdaptiveAvgPool2d: window i of p over h cells spans floor(i h / p) to ceil((i + 1) h / p).
    """
    return [(i * cells // wanted, -(-(i + 1) * cells // wanted)) for i in range(wanted)]


def grid_after(layers: nn.Module, input_px: Size) -> Size:
    """Return the output grid of a chain of convolutions, max pools and pointwise layers for an input of that size.

    Uses arithmetic only: nothing is run, so a network can be built for an input size without computing anything.
    """
    grid = input_px
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            grid = (_after(layer, grid[0], 0), _after(layer, grid[1], 1))
    return grid


def _after(layer: nn.Conv2d | nn.MaxPool2d, cells: int, axis: int) -> int:
    """Source: torch.nn.Conv2d and MaxPool2d, the formula of the output's height and width."""
    kernel, stride, padding, dilation = (
        value if isinstance(value, int) else int(value[axis])
        for value in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    room = cells + 2 * padding - dilation * (kernel - 1) - 1
    if not getattr(layer, "ceil_mode", False):
        return room // stride + 1
    windows_begun = -(-room // stride) + 1
    return windows_begun - ((windows_begun - 1) * stride >= cells + padding)  # no window begins beyond the grid


class PooledHead(nn.Module):
    """Pooled features -> outputs: `dropout(x) @ weight.T + bias`.

    Initialised to zero (our choice), so that an untrained head gives all classes the same probability and two heads of
    the same shape start equal.
    """

    weight: Float[nn.Parameter, "k d"]
    bias: Float[nn.Parameter, "k"]

    def __init__(self, width: int, num_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_outputs, width))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        self.dropout = nn.Dropout(dropout)

    def forward(self, pooled: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        return functional.linear(self.dropout(pooled), self.weight, self.bias)
