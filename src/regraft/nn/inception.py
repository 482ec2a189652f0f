"""The Inception module with and without its 1x1 reductions, the options in which GoogLeNets differ, and the auxiliary
classifiers of GoogLeNet and Inception v3, which are trained alongside the network and discarded afterwards.

Letters: n examples, i input channels, o output channels, h and w height and width of the grid, k outputs. Source:
Szegedy et al. 2014, arXiv:1409.4842, figures 2a (naive) and 2b (with reductions). Batch norm, its epsilon and layer
names: torchvision's port of TensorFlow's network. Auxiliary classifiers: section 5 of the same paper, and Szegedy et
al. 2015, arXiv:1512.00567, figure 8; names, adaptive pooling and Inception v3's sizes: torchvision.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regraft.nn.initialise import initialise

BATCH_NORM_EPS = 0.001
BRANCHES = ("one", "three", "five", "pool")
"""Branches of a module, in the order of their outputs; named as in `Filters`."""
GRID = 4
"""Output size of the pool in GoogLeNet's auxiliary classifier: 14 x 14 becomes 4 x 4."""
V3_GRID = 5
"""The same for Inception v3: 17 x 17 becomes 5 x 5."""
LEAST_FILTERS = 4
"""Minimum number of filters of a layer after scaling (our choice)."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Options in which GoogLeNets differ."""

    batch_norm: bool = True
    """Whether each convolution is followed by batch norm and has no bias; otherwise convolutions have biases."""
    response_norm: bool = False
    """Whether the stem has its two local response normalisations."""
    wide_kernel: int = 5
    """Kernel size of the "5x5" branch; odd."""
    reductions: bool = True
    """Whether modules have 1x1 convolutions before the 3x3 and the "5x5" and after the pool; naive modules do not."""
    last_pool: int = 3
    """Kernel size of the pool after 4e; its stride is 2."""
    branches: tuple[str, ...] = BRANCHES
    """Branches that each module has, at least one; studies leave some out."""
    side_window: bool = False
    """Whether auxiliary heads pool with the paper's 5x5 window of stride 3 if its output is 4x4; else adaptively to
    4x4."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Number of filters in each layer of one Inception module: a row of table 1 in the paper."""

    one: int
    """1x1 branch."""
    three_in: int
    """1x1 reduction before the 3x3; unused in the naive module."""
    three: int
    """3x3 branch."""
    five_in: int
    """1x1 reduction before the "5x5"; unused in the naive module."""
    five: int
    """"5x5" branch."""
    pool: int
    """1x1 projection after the pool; unused in the naive module."""

    def scaled(self, width: float) -> "Filters":
        """Return every count multiplied by `width`."""
        return Filters(**{name: scaled(count, width) for name, count in vars(self).items()})


def scaled(count: int, width: float) -> int:
    """Return `count` times `width`, rounded, and at least `LEAST_FILTERS`."""
    return max(LEAST_FILTERS, round(count * width))


class ConvUnit(nn.Module):
    """Convolution, batch norm or bias, and ReLU. Keeps height and width unless strided or not `padded`.

    The ReLU works in place, which saves 6 to 9 % of the time of a forward pass on one core.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        batch_norm: bool = True,
        padded: bool = True,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padded else 0
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS) if batch_norm else None

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        x = self.conv(x)
        return functional.relu(x if self.bn is None else self.bn(x), inplace=True)


class ResponseNorm(nn.Module):
    """Local response normalisation: `x / (1 + 1e-4 * m) ** 0.75`, with m the mean square of the five channels around
    it.

    Channels are zero-padded, and the zeros count in the mean. The constants are those of BVLC's GoogLeNet for Caffe,
    since the paper does not give them. Equal to nn.LocalResponseNorm, which cannot be traced without a warning.
    """

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n i h w"]:
        squares = functional.avg_pool3d(x.square().unsqueeze(1), (5, 1, 1), stride=1, padding=(2, 0, 0)).squeeze(1)
        return x / (1.0 + 1e-4 * squares).pow(0.75)


class Inception(nn.Module):
    """Four parallel branches, concatenated along the channels: 1x1, 3x3, "5x5", pool; or the branches of the variant.

    In the naive module the pool branch outputs all the input's channels, so the width grows from module to module.
    """

    def __init__(self, in_channels: int, filters: Filters, variant: Variant) -> None:
        super().__init__()
        self.filters, self.variant = filters, variant

        def conv(inputs: int, outputs: int, kernel: int) -> ConvUnit:
            return ConvUnit(inputs, outputs, kernel, batch_norm=variant.batch_norm)

        def reduced(inner: int, outputs: int, kernel: int) -> nn.Module:
            if not variant.reductions:
                return conv(in_channels, outputs, kernel)
            return nn.Sequential(conv(in_channels, inner, 1), conv(inner, outputs, kernel))

        def pooled() -> nn.Module:
            pool = nn.MaxPool2d(3, stride=1, padding=1)
            return nn.Sequential(pool, conv(in_channels, filters.pool, 1)) if variant.reductions else pool

        branches: dict[str, tuple[str, Callable[[], nn.Module], int]] = {
            "one": ("branch1", lambda: conv(in_channels, filters.one, 1), filters.one),
            "three": ("branch2", lambda: reduced(filters.three_in, filters.three, 3), filters.three),
            "five": ("branch3", lambda: reduced(filters.five_in, filters.five, variant.wide_kernel), filters.five),
            "pool": ("branch4", pooled, filters.pool if variant.reductions else in_channels),
        }
        kept = [branches[name] for name in BRANCHES if name in variant.branches]
        for path, build, _ in kept:
            self.add_module(path, build())
        self.paths = tuple(path for path, _, _ in kept)
        self.out_channels = sum(count for _, _, count in kept)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h w"]:
        return torch.cat([self.get_submodule(path)(x) for path in self.paths], dim=1)


class SideHead(nn.Module):
    """GoogLeNet's auxiliary classifier: pool to 4x4, 1x1 convolution, two linear layers.

    `width` scales its filters and hidden units (128 and 1024 in the paper); `dropout` is applied before the last layer.
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
    """Inception v3's auxiliary classifier: pool to 5x5, 1x1 convolution, convolution over the whole grid, linear
    layer."""

    def __init__(self, in_channels: int, num_outputs: int) -> None:
        super().__init__()
        self.conv0 = ConvUnit(in_channels, 128, 1)
        self.conv1 = ConvUnit(128, 768, V3_GRID, padded=False)
        self.fc = nn.Linear(768, num_outputs)
        initialise(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.fc(self.conv1(self.conv0(_windows(x, V3_GRID))).flatten(1))


def _windows(x: Float[Tensor, "n c h w"], grid: int) -> Float[Tensor, "n c p p"]:
    """Average 5x5 windows with stride 3 if that gives `grid` by `grid`, otherwise pool adaptively."""
    fits = all((side - 5) // 3 + 1 == grid for side in x.shape[2:])
    return functional.avg_pool2d(x, 5, 3) if fits else functional.adaptive_avg_pool2d(x, grid)
