"""What an arm costs, counted on a forward pass without values, and the width at which it costs as much as another."""

from dataclasses import dataclass
from functools import cache
from math import log

from regraft.contracts.study import Arm, Study
from regraft.lab._designs import Design, Widths
from regraft.lab._family import family_of
from regraft.lab._setting import Setting

CLOSE = 0.001
"""Costs that differ by less than this share are equal (our choice: what the rounding of filters leaves)."""
TRIES = 10
"""So many widths are tried at most."""


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

    from regraft.backbones.undrawn import Undrawn
    from regraft.contracts.family import built
    from regraft.nn.accounting import account
    from regraft.nn.heads import PooledHead
    from regraft.strategies.tail import Tail

    family = family_of(design, widths, input_px)
    card = family.card(family.variants[0])
    with torch.device("meta"), Undrawn():
        network = built(family, card).network
        sides = num_classes if network.side_heads else 0
        head = PooledHead(card.width, num_classes)
        tail = Tail(network, "input", head, "pooled", batch_norm="train", side_outputs=sides)
        found = account(tail, {"pixels": torch.empty((1, input_px, input_px, card.channels), dtype=torch.uint8)})
    beside = found.part("side_heads").parameters
    return Cost(
        widths=widths,
        parameters=found.parameters - beside,
        side_parameters=beside,
        multiply_adds=found.multiply_adds,
    )
