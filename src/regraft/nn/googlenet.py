"""GoogLeNet (Inception v1) in its variants.

    name          batch norm  "5x5" branch  reductions  parameters (1000 classes, no side heads)
    paper         no (biases) 5x5           yes         6,998,552
    bn            yes         5x5           yes         7,005,832
    torchvision   yes         3x3           yes         6,624,904
    naive         yes         5x5           no          97,531,080

`paper` also has the stem's local response normalisation and, in the side heads, the paper's pool. `torchvision` fits
torchvision's published weights, with torchvision's parameter names; TensorFlow's network, from which they were ported,
has 3x3 kernels in the "5x5" branch and a 2x2 window in the pool after 4e, where the paper has 3x3.

Letters: n examples, c channels, h and w height and width of the input, k classes. Source: Szegedy et al. 2014,
arXiv:1409.4842, table 1 and figure 3.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regraft.errors import BadRequest, UnknownName
from regraft.nn.inception import ConvUnit, Filters, Inception, ResponseNorm, SideHead, Variant, scaled
from regraft.nn.initialise import initialise

VARIANTS: Mapping[str, Variant] = {
    "paper": Variant(batch_norm=False, response_norm=True, side_window=True),
    "bn": Variant(),
    "torchvision": Variant(wide_kernel=3, last_pool=2),
    "naive": Variant(reductions=False),
}

FILTERS: Mapping[str, Filters] = {
    "3a": Filters(one=64, three_in=96, three=128, five_in=16, five=32, pool=32),
    "3b": Filters(one=128, three_in=128, three=192, five_in=32, five=96, pool=64),
    "4a": Filters(one=192, three_in=96, three=208, five_in=16, five=48, pool=64),
    "4b": Filters(one=160, three_in=112, three=224, five_in=24, five=64, pool=64),
    "4c": Filters(one=128, three_in=128, three=256, five_in=24, five=64, pool=64),
    "4d": Filters(one=112, three_in=144, three=288, five_in=32, five=64, pool=64),
    "4e": Filters(one=256, three_in=160, three=320, five_in=32, five=128, pool=128),
    "5a": Filters(one=256, three_in=160, three=320, five_in=32, five=128, pool=128),
    "5b": Filters(one=384, three_in=192, three=384, five_in=48, five=128, pool=128),
}

SIDE_STAGES = ("4a", "4d")
"""Stages with an auxiliary classifier: `aux1` and `aux2`."""

_REMAP = ((0.229, 0.485), (0.224, 0.456), (0.225, 0.406))
"""Standard deviation and mean of each ImageNet channel, used by torchvision's normalisation."""


class GoogLeNetOutputs(NamedTuple):
    """Logits (n k) in training mode with side heads, in torchvision's order."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


def variant_named(name: str) -> Variant:
    """Return the variant called `name`.

    Raises:
        UnknownName: there is no such variant.
    """
    if name not in VARIANTS:
        raise UnknownName("GoogLeNet variant", name, VARIANTS)
    return VARIANTS[name]


class Remap(nn.Module):
    """Map ImageNet-normalised input to [-1, 1], the range on which the network ported from TensorFlow was trained."""

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        channels = [x[:, i : i + 1] * (std / 0.5) + (mean - 0.5) / 0.5 for i, (std, mean) in enumerate(_REMAP)]
        return torch.cat(channels, dim=1)


class GoogLeNet(nn.Module):
    """GoogLeNet: a stem, nine Inception modules, global average pooling and one linear layer.

    `dropout` is applied before the classifier: 0.2 in torchvision, 0.4 in the paper. `width` scales all numbers of
    filters, for tests and studies; `stem_width`, if given, those of the stem. `transform_input` is for torchvision's
    weights on ImageNet-normalised input. The minimum input size is 31 x 31 (15 x 15 for variant `torchvision`).

    New parameters are drawn from torch's global generator; see `initialise`.

    Raises:
        BadRequest: `transform_input` without 3 input channels.
    """

    def __init__(
        self,
        *,
        variant: Variant,
        num_classes: int = 1000,
        side_heads: bool = False,
        transform_input: bool = False,
        dropout: float = 0.2,
        width: float = 1.0,
        stem_width: float | None = None,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if transform_input and in_channels != len(_REMAP):
            raise BadRequest(
                f"transform_input applies to {len(_REMAP)} channels, but in_channels is {in_channels}.",
                fix="turn transform_input off, and set the mean and standard deviation of your channels.",
            )
        self.variant, self.width = variant, width
        stem_width = width if stem_width is None else stem_width
        narrow, broad = scaled(64, stem_width), scaled(192, stem_width)
        norm = variant.batch_norm
        self.remap = Remap() if transform_input else None
        self.conv1 = ConvUnit(in_channels, narrow, 7, stride=2, batch_norm=norm)
        self.maxpool1 = _halving(3)
        self.norm1 = ResponseNorm() if variant.response_norm else None
        self.conv2 = ConvUnit(narrow, narrow, 1, batch_norm=norm)
        self.conv3 = ConvUnit(narrow, broad, 3, batch_norm=norm)
        self.norm2 = ResponseNorm() if variant.response_norm else None
        self.maxpool2 = _halving(3)
        channels = {"stem": broad}
        for name, filters in FILTERS.items():
            module = Inception(channels[next(reversed(channels))], filters.scaled(width), variant)
            self.add_module(f"inception{name}", module)
            channels[name] = module.out_channels
        self.maxpool3 = _halving(3)
        self.maxpool4 = _halving(variant.last_pool)
        self.side_channels = {stage: channels[stage] for stage in SIDE_STAGES}
        self.aux1 = self.new_side_head("4a", num_classes) if side_heads else None
        self.aux2 = self.new_side_head("4d", num_classes) if side_heads else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels["5b"], num_classes)
        initialise(self)

    def new_side_head(self, stage: str, num_outputs: int) -> SideHead:
        """Return a new auxiliary classifier for the output of `stage`.

        Raises:
            UnknownName: no auxiliary classifier belongs there.
        """
        if stage not in SIDE_STAGES:
            raise UnknownName("stage with a side head", stage, SIDE_STAGES)
        return SideHead(self.side_channels[stage], num_outputs, variant=self.variant, width=self.width)

    def stages(self) -> dict[str, nn.Module]:
        """Return the network below its classifier as stages, from the input upwards: `stem`, `3a` … `5b`.

        The stages share this network's modules; each maps n c h w to n c h w, and in sequence they compute what
        `forward` does before global average pooling. A pool belongs to the stage before it.
        """
        return {
            name: modules[0] if len(modules) == 1 else nn.Sequential(*modules)
            for name, modules in self._modules_by_stage().items()
        }

    def side_heads_by_stage(self) -> dict[str, nn.Module]:
        """Return the network's auxiliary classifiers by the stage whose output they take."""
        heads = {"4a": self.aux1, "4d": self.aux2}
        return {stage: head for stage, head in heads.items() if head is not None}

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"] | GoogLeNetOutputs:
        heads = self.side_heads_by_stage() if self.training else {}
        side: dict[str, Tensor] = {}
        for name, modules in self._modules_by_stage().items():
            for module in modules:
                x = module(x)
            if name in heads:
                side[name] = heads[name](x)
        logits: Tensor = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return GoogLeNetOutputs(logits, side["4d"], side["4a"]) if side else logits

    def _modules_by_stage(self) -> dict[str, list[nn.Module]]:
        below = (self.remap, self.conv1, self.maxpool1, self.norm1)
        above = (self.conv2, self.conv3, self.norm2, self.maxpool2)
        stem: list[nn.Module] = [module for module in (*below, *above) if module is not None]
        stages = {"stem": stem}
        for name in FILTERS:
            stages[name] = [self.get_submodule(f"inception{name}")]
        stages["3b"].append(self.maxpool3)
        stages["4e"].append(self.maxpool4)
        return stages


def _halving(window: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(window, stride=2, ceil_mode=True)
