"""Networks for studies (`regraft lab`), as `lab:NAME@random`: GoogLeNet with one change, and networks for comparison.
The reference in each study is `googlenet:half`.

Widths are chosen so that a network needs as many multiply-adds as `googlenet:half` at 64 pixels, unless its study
requires equal numbers of filters. Some networks accept inputs of that size only.

Sources: Szegedy et al. 2014, arXiv:1409.4842; Krizhevsky 2014, arXiv:1404.5997; Simonyan & Zisserman 2014,
arXiv:1409.1556; He et al. 2015, arXiv:1512.03385. Imports no torch until a network is built.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from regraft.backbones.googlenet import SIDE_HEADS, STAGES, imagenet_card
from regraft.contracts.family import Card, Family
from regraft.errors import UnknownName

if TYPE_CHECKING:
    from regraft.contracts.family import Built

STEM = 0.5
"""Width of the stem, for all networks with GoogLeNet's stem."""
INPUT_PX = 64
"""Side of the inputs for which widths are matched; the only one accepted by networks that end in linear layers."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """A network of a study."""

    body: float
    """Number of filters above the stem, relative to the published numbers."""
    width: int
    """Number of features."""
    kind: Literal["googlenet", "alexnet", "vgg", "resnet"] = "googlenet"
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of GoogLeNet's `Variant`."""
    top: Literal["average", "flat", "dense"] = "average"
    """Layers after GoogLeNet's last module: global average pooling; all cells, flattened; or two linear layers."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, from the input upwards."""
        dense = ("fc6", "fc7")
        if self.kind == "googlenet":
            return STAGES + {"average": (), "flat": ("flat",), "dense": dense}[self.top]
        if self.kind == "resnet":
            return ("stem", *(f"layer{number}" for number in range(1, 5)))
        return (*(f"conv{number}" for number in range(1, 4 if self.kind == "alexnet" else 6)), *dense)

    @property
    def vector(self) -> bool:
        """Whether the last stage outputs a vector, and so fixes the input size; otherwise it outputs a grid."""
        return self.kind in ("alexnet", "vgg") or self.top != "average"


def _branch(name: str, body: float, width: int) -> Design:
    return Design(body=body, width=width, changes={"branches": (name,)})


DESIGNS = {
    "no-pool": Design(body=0.5248869, width=471, changes={"branches": ("one", "three", "five")}),
    "1x1-only": _branch("one", 2.6413098, 1014),
    "3x3-only": _branch("three", 0.6391749, 245),
    "5x5-only": _branch("five", 1.4223946, 182),
    "naive": Design(body=0.5, width=2472, changes={"reductions": False}),
    "naive-narrow": Design(body=0.1233121, width=686, changes={"reductions": False}),
    "bare": Design(body=0.5, width=512, changes={"batch_norm": False}),
    "flat": Design(body=0.5, width=2048, top="flat"),
    "dense": Design(body=0.5, width=2048, top="dense"),
    "alexnet": Design(body=0.3530411, width=1446, kind="alexnet"),
    "vgg": Design(body=0.1630546, width=668, kind="vgg"),
    "resnet": Design(body=0.4649778, width=238, kind="resnet"),
}


def card(variant: str) -> Card:
    """Return the card of the architecture, without weights."""
    design = DESIGNS[variant]
    sides = SIDE_HEADS if design.kind == "googlenet" else {}
    found = imagenet_card("lab", variant, stages=design.stages, width=design.width, side_heads=sides,
                          partial_cut=design.stages[-2])  # fmt: skip
    return replace(found.with_input(INPUT_PX), mean=found.mean, std=found.std)


def build(card: Card) -> "Built":
    """Build the network with random weights, as stages."""
    from torch import nn

    from regraft.contracts.family import Built, SideHead
    from regraft.nn.googlenet import GoogLeNet
    from regraft.nn.inception import Variant
    from regraft.nn.plain import chain, dense_top, residual_stages
    from regraft.nn.stages import grid_after, grid_readouts, staged, vector_readouts

    design, sides = DESIGNS[card.variant], {}
    if design.kind == "resnet":
        stages, _ = residual_stages(design.body, design.body)
    elif design.kind != "googlenet":
        stages, _ = chain(design.kind, design.body, design.body, INPUT_PX)
    else:
        net = GoogLeNet(variant=Variant(**design.changes), num_classes=1, width=design.body, stem_width=STEM, dropout=0)
        stages = dict(net.stages())
        sides = {name: SideHead(weight=weight, build=partial(net.new_side_head, name))
                 for name, weight in SIDE_HEADS.items()}  # fmt: skip
        if design.vector:
            halving = nn.Sequential(net.conv1.conv, net.maxpool1, net.maxpool2, net.maxpool3, net.maxpool4)
            grid = grid_after(halving, (INPUT_PX, INPUT_PX))
            stages |= dense_top(net.fc.in_features, grid, design.body if design.top == "dense" else 0)[0]
    readouts = vector_readouts if design.vector else grid_readouts
    head = nn.Linear(design.width, card.num_source_classes)
    network = staged(card, stages.values(), readouts=readouts, source_head=head, side_heads=sides)
    pooled = {} if design.vector else {"pool": nn.AdaptiveAvgPool2d(1), "vector": nn.Flatten()}
    return Built(network=network, original=nn.Sequential(OrderedDict({**stages, **pooled, "fc": head})))


def of(variant: str) -> Family:
    """Return the family of one network. Raises: UnknownName: there is no network of that name."""
    if variant not in DESIGNS:
        raise UnknownName("network of the lab", variant, DESIGNS)
    one_size = DESIGNS[variant].vector
    return replace(ENTRY, variants=(variant,), smallest_px=INPUT_PX if one_size else 32, narrowed=None)


ENTRY = Family(
    name="lab",
    title="The networks of `regraft lab`: GoogLeNet with a single change; AlexNet, VGG and ResNet at its cost",
    prefer="only for architecture studies: no trained weights exist",
    source="Szegedy et al. 2014, arXiv:1409.4842",
    revision=1,
    variants=("no-pool", "naive-narrow"),
    card=card,
    build=build,
    classifier="fc.weight",
    smallest_px=32,
    narrowed=of,
)
