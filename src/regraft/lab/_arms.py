"""An arm of a study: as a backbone, so that the product's own strategies can train it, and what it costs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.backbone import Backbone
from regraft.backbones.convert import drawn_in
from regraft.backbones.googlenet import MEAN, STD
from regraft.contracts.family import Card, Family
from regraft.contracts.study import Arm, Study
from regraft.lab.designs import SIDE_WEIGHT, Design, Widths
from regraft.lab.setting import Setting
from regraft.modalities.image.prepare import Preparation

if TYPE_CHECKING:
    from torch import Tensor, nn

    from regraft.contracts.backbone import Network
    from regraft.contracts.family import Built
    from regraft.strategies.tail import Tail

SMALLEST_PX = 32
"""Side of the smallest input that every design takes."""
CLOSE = 0.001
"""Costs that differ by less than this share are equal (our choice: what the rounding of filters leaves)."""
TRIES = 10
"""The most widths that are tried."""


@dataclass
class Gradients:
    """The size of the gradient in every stage at every step, as it was before clipping."""

    squares: "dict[str, list[Tensor]]" = field(default_factory=dict)
    """By stage: sums of squares over its parameters, by step."""
    counts: dict[str, int] = field(default_factory=dict)
    """By stage: how many parameters these are."""

    def watch(self, network: "Network") -> None:
        """Note every gradient that reaches a parameter of the network's stages."""
        for name, stage in network.stages.items():
            if count := sum(one.numel() for one in stage.parameters()):
                self.squares[name], self.counts[name] = [], count
                self._watch_from_first_step(name, stage)

    def sizes(self) -> dict[str, list[float]]:
        """Root mean square over the parameters of every stage, by step."""
        return {name: [(float(one) / self.counts[name]) ** 0.5 for one in sums] for name, sums in self.squares.items()}

    def _watch_from_first_step(self, name: str, stage: "nn.Module") -> None:
        """Parameters are swapped for those of a file after a network is built, so hooks wait for the first step."""
        import torch

        def begin(*_: Any) -> None:
            if torch.is_grad_enabled():
                handle.remove()
                for parameter in stage.parameters():
                    parameter.register_hook(self._noting(name))  # type: ignore[no-untyped-call]

        handle = stage.register_forward_pre_hook(begin)

    def _noting(self, stage: str) -> "Callable[[Tensor], None]":
        seen = 0

        def note(gradient: "Tensor") -> None:
            nonlocal seen
            square, sums = gradient.detach().float().square().sum(), self.squares[stage]
            if seen == len(sums):
                sums.append(square)
            else:
                sums[seen] = sums[seen] + square
            seen += 1

        return note


def family_of(design: Design, widths: Widths, input_px: int, gradients: Gradients | None = None) -> Family:
    """The design at these widths as a family of backbones; every network that is built of it tells `gradients`."""
    stages, width, sides = _outline(design, widths, input_px)

    def card(variant: str) -> Card:
        return Card(
            family=f"lab-{design.name}",
            variant=variant,
            weights="random",
            preparation=Preparation(input_px=(input_px, input_px), resize_px=input_px),
            mean=MEAN,
            std=STD,
            stages=stages,
            width=width,
            partial_cut=stages[-2],
            side_heads=dict.fromkeys(sides, SIDE_WEIGHT),
        )

    def build(card: Card) -> "Built":
        from torch import nn

        from regraft.contracts.family import Built, SideHead
        from regraft.nn.stages import grid_views, staged, vector_views

        body = design.build(widths, input_px)
        network = staged(
            card,
            body.stages.values(),
            views=vector_views if body.vector else grid_views,
            side_heads={name: SideHead(weight=SIDE_WEIGHT, build=make) for name, make in body.side_heads.items()},
        )
        if gradients is not None:
            gradients.watch(network)
        return Built(network=network, original=nn.ModuleList(network.modules()))

    return Family(
        name=f"lab-{design.name}",
        title=design.name,
        prefer="in studies",
        source=design.source,
        revision=1,
        variants=(f"{widths.stem:g}-{widths.body:g}",),
        card=card,
        build=build,
        classifier="",
        smallest_px=SMALLEST_PX,
    )


def backbone_in(folder: Path, family: Family, seed: int) -> Backbone:
    """The family with weights that follow from `seed`, which are written to the folder."""
    return drawn_in(folder, family, family.card(family.variants[0]), seed)


@cache
def _outline(design: Design, widths: Widths, input_px: int) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
    """Names of the stages, length of the feature vector, stages with a side head; of a network without values."""
    import torch

    from regraft.nn.initialise import Undrawn

    with torch.device("meta"), Undrawn():
        body = design.build(widths, input_px)
    return tuple(body.stages), body.width, tuple(body.side_heads)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one network costs."""

    widths: Widths
    """Its widths."""
    parameters: int
    """Numbers in the parameters of stages and head: what a finished model holds."""
    side_parameters: int
    """Those of the auxiliary classifiers, which exist in training alone."""
    multiply_adds: int
    """Of a forward pass of one example, auxiliary classifiers left out."""


def costs_of(study: Study, setting: Setting, num_classes: int) -> dict[str, Cost]:
    """The cost of every arm by name, each at the width that the study gives it."""
    whole = Widths(stem=setting.width, body=setting.width)
    first = counted(study.arms[0].design, whole, setting.input_px, num_classes)
    return {arm.name: _cost(arm, first, setting, num_classes) for arm in study.arms}


def _cost(arm: Arm, first: Cost, setting: Setting, num_classes: int) -> Cost:
    if arm.same == "width":
        return counted(arm.design, first.widths, setting.input_px, num_classes)
    return as_costly(arm.design, first, setting.input_px, num_classes)


def as_costly(design: Design, wanted: Cost, input_px: int, num_classes: int) -> Cost:
    """The design at the width at which its multiply-adds come nearest; a shared stem stays as wide as that of `wanted`.

    Cost is taken for a power of the width, whose exponent the last two tries tell. Filters are whole numbers, so costs
    do not come out quite equal.
    """
    found = tried = counted(design, wanted.widths, input_px, num_classes)
    exponent = 2.0
    for _ in range(TRIES):
        width = tried.widths.body * (wanted.multiply_adds / tried.multiply_adds) ** (1 / exponent)
        stem = wanted.widths.stem if design.shared_stem else width
        before, tried = tried, counted(design, Widths(stem=stem, body=width), input_px, num_classes)
        if abs(tried.multiply_adds - wanted.multiply_adds) < abs(found.multiply_adds - wanted.multiply_adds):
            found = tried
        if abs(found.multiply_adds / wanted.multiply_adds - 1) < CLOSE:
            break
        grown, widened = tried.multiply_adds / before.multiply_adds, width / before.widths.body
        if grown != 1 and widened != 1:
            exponent = min(max(log(grown) / log(widened), 1.0), 3.0)
    return found


@cache
def counted(design: Design, widths: Widths, input_px: int, num_classes: int) -> Cost:
    """The cost of the design at these widths, with a linear head for so many classes on top."""
    import torch

    from regraft.nn.accounting import account
    from regraft.nn.initialise import Undrawn

    with torch.device("meta"), Undrawn():
        tail = tail_of(design, widths, input_px, num_classes)
        found = account(tail, {"pixels": torch.empty((1, input_px, input_px, 3), dtype=torch.uint8)})
    beside = found.part("side_heads").parameters
    return Cost(
        widths=widths,
        parameters=found.parameters - beside,
        side_parameters=beside,
        multiply_adds=found.multiply_adds,
    )


def tail_of(design: Design, widths: Widths, input_px: int, num_classes: int, *, sided: bool = True) -> "Tail":
    """The design with random weights below a linear head, as it is trained; `sided`: with its auxiliary classifiers."""
    from regraft.contracts.family import built
    from regraft.nn.stages import PooledHead
    from regraft.strategies.tail import Tail

    family = family_of(design, widths, input_px)
    card = family.card(family.variants[0])
    network = built(family, card).network
    sides = num_classes if sided and network.side_heads else 0
    head = PooledHead(card.width, num_classes)
    return Tail(network, "input", head, "pooled", batch_norm="train", side_outputs=sides)
