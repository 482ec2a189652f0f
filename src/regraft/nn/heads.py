"""The heads that are trained from random weights: a linear layer on the pooled features, and the auxiliary
classifiers of GoogLeNet and of Inception v3, which are trained beside it and thrown away.

Letters: n examples, d features, c channels, h and w height and width of the grid, k outputs.
Sources: Szegedy et al. 2014, arXiv:1409.4842, section 5; Szegedy et al. 2015, arXiv:1512.00567, figure 8. Names of
GoogLeNet's layers, its adaptive pool, and the sizes of Inception v3's: torchvision.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regraft.nn.inception import ConvUnit, Variant, scaled
from regraft.nn.initialise import initialise

GRID = 4
"""Rows and columns that the pool of GoogLeNet's auxiliary classifier leaves: 14 x 14 becomes 4 x 4."""
V3_GRID = 5
"""The same for Inception v3: 17 x 17 becomes 5 x 5."""


class PooledHead(nn.Module):
    """Pooled features -> outputs: `dropout(x) @ weight.T + bias`.

    Starts at zero (our choice), so that an untrained head gives every class the same probability and two heads of
    one shape start alike.
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


class SideHead(nn.Module):
    """GoogLeNet's: pool to 4x4, 1x1 convolution, two dense layers.

    `width` scales its filters and its hidden units, of which the paper has 128 and 1024; `dropout` lies before the
    last layer.
    """

    def __init__(
        self, in_channels: int, num_outputs: int, *, variant: Variant, width: float = 1.0, dropout: float = 0.7
    ) -> None:
        super().__init__()
        filters, hidden = scaled(128, width), scaled(1024, width)
        self.window = variant.side_window
        self.conv = ConvUnit(in_channels, filters, 1, batch_norm=variant.batch_norm)
        self.fc1 = nn.Linear(filters * GRID * GRID, hidden)
        self.fc2 = nn.Linear(hidden, num_outputs)
        self.dropout = nn.Dropout(dropout)
        initialise(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        pooled = _windows(x, GRID) if self.window else functional.adaptive_avg_pool2d(x, GRID)
        hidden = functional.relu(self.fc1(self.conv(pooled).flatten(1)))
        return self.fc2(self.dropout(hidden))


class InceptionV3SideHead(nn.Module):
    """Inception v3's: pool to 5x5, 1x1 convolution, a convolution over all that is left, one dense layer."""

    def __init__(self, in_channels: int, num_outputs: int) -> None:
        super().__init__()
        self.conv0 = ConvUnit(in_channels, 128, 1)
        self.conv1 = ConvUnit(128, 768, V3_GRID, padded=False)
        self.fc = nn.Linear(768, num_outputs)
        initialise(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.fc(self.conv1(self.conv0(_windows(x, V3_GRID))).flatten(1))


def _windows(x: Float[Tensor, "n c h w"], grid: int) -> Float[Tensor, "n c p p"]:
    """Averages of 5x5 windows of stride 3 where those are `grid` by `grid`, else of adaptive ones."""
    fits = all((side - 5) // 3 + 1 == grid for side in x.shape[2:])
    return functional.avg_pool2d(x, 5, 3) if fits else functional.adaptive_avg_pool2d(x, grid)
