"""An arm of a study as a backbone, so that the product's own strategies can train it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.backbone import Backbone
from regraft.backbones.convert import drawn_in
from regraft.backbones.imagenet import MEAN, STD
from regraft.contracts.card import Card
from regraft.contracts.family import Family
from regraft.lab._designs import SIDE_WEIGHT, Body, Design, Widths
from regraft.modalities.image.prepare import Preparation

if TYPE_CHECKING:
    from torch import Tensor, nn

    from regraft.contracts.backbone import Built, Network


SMALLEST_PX = 32
"""Side of the smallest input that every design takes."""


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
            parameters = list(stage.parameters())
            if parameters:
                self.squares[name], self.counts[name] = [], sum(one.numel() for one in parameters)
                stage.register_forward_pre_hook(self._attaching(name))

    def _attaching(self, name: str) -> "Callable[[nn.Module, Any], None]":
        """Hooks on the parameters when the stage first trains: those of a network just built are still swapped."""
        attached = False

        def attach(stage: "nn.Module", inputs: Any) -> None:
            nonlocal attached
            if not attached and stage.training:
                attached = True
                for parameter in stage.parameters():
                    parameter.register_hook(self._noting(name))  # type: ignore[no-untyped-call]

        return attach

    def sizes(self) -> dict[str, list[float]]:
        """Root mean square over the parameters of every stage, by step."""
        return {name: [(float(one) / self.counts[name]) ** 0.5 for one in sums] for name, sums in self.squares.items()}

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

        from regraft.contracts.backbone import Built

        network = network_of(design.build(widths, input_px), card)
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


def network_of(body: Body, card: Card) -> "Network":
    """The body as stages of the contract, without a source classifier."""
    from regraft.contracts.backbone import Network, SideHead
    from regraft.nn.stages import Normalise, OnHidden, grid_views, vector_views

    return Network(
        start=Normalise(card.mean, card.std),
        stages={name: OnHidden(stage) for name, stage in body.stages.items()},
        views=vector_views if body.vector else grid_views,
        side_heads={name: SideHead(weight=SIDE_WEIGHT, build=build) for name, build in body.side_heads.items()},
    )


def backbone_in(folder: Path, family: Family, seed: int) -> Backbone:
    """The family with weights that follow from `seed`, which are written to the folder."""
    return drawn_in(folder, family, family.card(family.variants[0]), seed)


@cache
def _outline(design: Design, widths: Widths, input_px: int) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
    """Names of the stages, length of the feature vector, stages with a side head; of a network without values."""
    import torch

    from regraft.backbones.undrawn import Undrawn

    with torch.device("meta"), Undrawn():
        body = design.build(widths, input_px)
    return tuple(body.stages), body.width, tuple(body.side_heads)
