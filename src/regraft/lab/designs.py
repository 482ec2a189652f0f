"""What can be built for a study: functions from a width to the stages of a network. Imports no torch until it is built.

Every design sees inputs of the same size and ends below the classifier, which is the same linear head for all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

SIDE_WEIGHT = 0.3
"""Of GoogLeNet's auxiliary classifiers. Source: Szegedy et al. 2014, arXiv:1409.4842, section 5."""
Top = Literal["average", "flat", "dense"]


@dataclass(frozen=True, kw_only=True)
class Widths:
    """How many filters a network has, relative to its published counts."""

    stem: float
    """Of the stem, which all arms of a study share."""
    body: float
    """Of everything above the stem."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """A network below its classifier."""

    stages: "Mapping[str, nn.Module]"
    """By name, from the input upwards; each maps the hidden tensor to the hidden tensor."""
    width: int
    """Length of the feature vector."""
    vector: bool = False
    """Whether the last stage leaves a vector; else a grid, whose global average is the feature vector."""
    side_heads: "Mapping[str, Callable[[int], nn.Module]]" = field(default_factory=dict)
    """By stage: number of outputs -> a fresh auxiliary classifier."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """A network as a function of its widths."""

    name: str
    """Two arms with designs of one name start from the same weights."""
    build: Callable[[Widths, int], Body]
    """(widths, side of the input in pixels) -> the network with random weights."""
    source: str
    """The paper."""
    shared_stem: bool = True
    """Whether its stem is that of GoogLeNet, which stays as wide as it is when the cost is matched; else all of the
    network is narrowed or widened."""


def googlenet(name: str = "googlenet", *, top: Top = "average", **changes: Any) -> Design:
    """GoogLeNet with batch norm and true 5x5 branches; `changes` are fields of its `Variant`.

    `top` is what follows the last module: the global average; `flat`, every cell of the grid as a feature; or `dense`,
    two wide dense layers on it, as AlexNet and VGG have.
    """

    def build(widths: Widths, input_px: int) -> Body:
        from torch import nn

        from regraft.nn.googlenet import SIDE_STAGES, GoogLeNet
        from regraft.nn.inception import Variant
        from regraft.nn.plain import dense_top
        from regraft.nn.stages import grid_after

        net = GoogLeNet(variant=Variant(**changes), num_classes=1, width=widths.body, stem_width=widths.stem, dropout=0)
        stages, channels = net.stages(), net.fc.in_features
        sides = {stage: partial(net.new_side_head, stage) for stage in SIDE_STAGES}
        if top == "average":
            return Body(stages=stages, width=channels, side_heads=sides)
        halving = nn.Sequential(net.conv1.conv, net.maxpool1, net.maxpool2, net.maxpool3, net.maxpool4)
        layers, width = dense_top(channels, grid_after(halving, (input_px, input_px)), (top == "dense") * widths.body)
        return Body(stages=stages | layers, width=width, vector=True, side_heads=sides)

    return Design(name=name, build=build, source="Szegedy et al. 2014, arXiv:1409.4842")


def plain(name: Literal["alexnet", "vgg"]) -> Design:
    """A chain of convolutions that ends in two wide dense layers, in the proportions of AlexNet or VGG-16."""

    def build(widths: Widths, input_px: int) -> Body:
        from regraft.nn.plain import chain

        stages, width = chain(name, widths.stem, widths.body, input_px)
        return Body(stages=stages, width=width, vector=True)

    source = {"alexnet": "Krizhevsky 2014, arXiv:1404.5997", "vgg": "Simonyan & Zisserman 2014, arXiv:1409.1556"}
    return Design(name=name, build=build, source=source[name], shared_stem=False)


def residual() -> Design:
    """Blocks of two 3x3 convolutions with a way around them, in the proportions of ResNet-18."""

    def build(widths: Widths, input_px: int) -> Body:
        from regraft.nn.plain import residual_stages

        stages, width = residual_stages(widths.stem, widths.body)
        return Body(stages=stages, width=width)

    return Design(name="resnet", build=build, source="He et al. 2015, arXiv:1512.03385", shared_stem=False)
