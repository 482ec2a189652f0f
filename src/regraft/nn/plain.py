"""Networks with the proportions of AlexNet, VGG-16 and ResNet-18 at any width, and the linear layers on top of the
first two: studies compare GoogLeNet with them.

All have batch norm after every convolution, like our GoogLeNet, so that only the architecture differs. AlexNet's first
convolution is 7x7 with stride 2 instead of 11x11 with stride 4 (our choice: for inputs of 64 pixels the original leaves
a grid of one cell); its pools are 3x3 with stride 2 as in the original.

Letters: n examples, i input channels, o output channels, h and w height and width of the grid. Sources: Krizhevsky
2014, arXiv:1404.5997; Simonyan & Zisserman 2014, arXiv:1409.1556, configuration D; He et al. 2015, arXiv:1512.03385,
table 1 and shortcut B.
"""

from collections.abc import Mapping, Sequence
from math import prod

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regraft.nn.inception import BATCH_NORM_EPS, ConvUnit, scaled
from regraft.nn.initialise import initialise
from regraft.nn.stages import grid_after

DENSE_UNITS = 4096
"""Units of a linear layer at width 1, as in AlexNet and VGG."""
DENSE_DROPOUT = 0.5
"""Their dropout probability, as in AlexNet and VGG."""

CHAINS: Mapping[str, Sequence[Sequence[tuple[int, int, int]]]] = {
    "alexnet": (((64, 7, 2),), ((192, 5, 1),), ((384, 3, 1), (256, 3, 1), (256, 3, 1))),
    "vgg": tuple(((filters, 3, 1),) * count for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))),
}
"""Filters, kernel and stride of every convolution, by stage; a pool that halves the grid ends each stage."""
_WINDOW = {"alexnet": 3, "vgg": 2}
"""Kernel size of these pools."""


def chain(name: str, stem: float, body: float, input_px: int) -> tuple[dict[str, nn.Module], int]:
    """Return the stages of the sequential network with that name, with `fc6` and `fc7` on top, and the number of
    features.

    `stem` scales the filters of the first stage, `body` all others.
    """
    stages: dict[str, nn.Module] = {}
    channels = 3
    for number, layers in enumerate(CHAINS[name], 1):
        units: list[nn.Module] = []
        for filters, kernel, stride in layers:
            count = scaled(filters, stem if number == 1 else body)
            units.append(ConvUnit(channels, count, kernel, stride=stride))
            channels = count
        stages[f"conv{number}"] = nn.Sequential(*units, nn.MaxPool2d(_WINDOW[name], stride=2, ceil_mode=True))
    convolutions = nn.Sequential(*stages.values())
    initialise(convolutions)
    top, width = dense_top(channels, grid_after(convolutions, (input_px, input_px)), body)
    return stages | top, width


def dense_top(channels: int, grid: tuple[int, int], width: float) -> tuple[dict[str, nn.Module], int]:
    """Return stages from a grid to a vector, and its length: two linear layers, or with width 0 the flattened grid.

    The first weights have variance 2 / fan-in, like convolutions.
    """
    inputs = channels * prod(grid)
    if not width:
        return {"flat": nn.Flatten()}, inputs
    units = scaled(DENSE_UNITS, width)
    stages = {
        "fc6": nn.Sequential(nn.Flatten(), nn.Linear(inputs, units), nn.ReLU(inplace=True), nn.Dropout(DENSE_DROPOUT)),
        "fc7": nn.Sequential(nn.Linear(units, units), nn.ReLU(inplace=True), nn.Dropout(DENSE_DROPOUT)),
    }
    for stage in stages.values():
        for layer in stage:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    return dict(stages), units


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, with the input added before the last ReLU, projected if its shape differs."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = ConvUnit(in_channels, out_channels, 3, stride=stride)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS)
        changes = stride != 1 or in_channels != out_channels
        self.around = (
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS),
            )
            if changes
            else nn.Identity()
        )

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        return functional.relu(self.bn(self.conv(self.first(x))) + self.around(x))


def residual_stages(stem: float, body: float) -> tuple[dict[str, nn.Module], int]:
    """Return the stages of the residual network (a stem, four stages of two blocks) and its output channels."""
    channels = scaled(64, stem)
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(ConvUnit(3, channels, 7, stride=2), nn.MaxPool2d(3, stride=2, padding=1))
    }
    for number, filters in enumerate((64, 128, 256, 512), 1):
        count = scaled(filters, body)
        stages[f"layer{number}"] = nn.Sequential(
            ResidualBlock(channels, count, 1 if number == 1 else 2), ResidualBlock(count, count, 1)
        )
        channels = count
    initialise(nn.Sequential(*stages.values()))
    return stages, channels
