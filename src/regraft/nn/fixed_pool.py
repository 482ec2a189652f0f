"""Adaptive average pooling for a grid whose size is known beforehand, in steps that every exporter knows.

torch's adaptive pool leaves the choice of windows to the moment it runs. A traced export cannot say that, save where
the output is one cell or divides the grid; where the size of the input is fixed, so are the windows, and they can be
written out.

Letters: n examples, c channels, h and w height and width of the grid, p and q of the output.
Source: torch/nn AdaptiveAvgPool2d: window i of p over h cells reaches from floor(i h / p) to ceil((i + 1) h / p).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regraft.errors import BadRequest

Size = tuple[int, int]
"""Height and width."""


class FixedAveragePool(nn.Module):
    """`nn.AdaptiveAvgPool2d(output)` on grids of the size `grid` alone.

    A window's mean is the mean of the means of its rows, so height and width are pooled one after the other. A grid
    smaller than the output is spread over it, as torch does.
    """

    def __init__(self, grid: Size, output: Size) -> None:
        super().__init__()
        self.grid, self.output = grid, output

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c p q"]:
        """Raises: BadRequest: the grid is not of the size that was fixed."""
        if not torch.onnx.is_in_onnx_export() and tuple(x.shape[2:]) != self.grid:
            raise BadRequest(
                f"A pool fixed for a grid of {self.grid[0]} x {self.grid[1]} was given {x.shape[2]} x {x.shape[3]}.",
                fix="open the backbone with the input_px of the inputs it is given.",
            )
        for axis, cells, wanted in zip((2, 3), self.grid, self.output, strict=True):
            if cells != wanted:
                means = [x.narrow(axis, first, end - first).mean(axis, True) for first, end in windows(cells, wanted)]
                x = torch.cat(means, axis)
        return x


def windows(cells: int, wanted: int) -> list[tuple[int, int]]:
    """First cell, and the one after the last, of each of `wanted` windows over `cells` cells."""
    return [(i * cells // wanted, -(-(i + 1) * cells // wanted)) for i in range(wanted)]


def grid_after(layers: nn.Module, input_px: Size) -> Size:
    """The grid that a chain of convolutions, max pools and layers on single cells leaves of an input of that size.

    By arithmetic alone: nothing is run, so a network can be built for an input size without computing anything.
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
    return windows_begun - ((windows_begun - 1) * stride >= cells + padding)  # none begins beyond the grid
