"""Networks of the shelf for tests: built once, filled with numbers as if they had been trained."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from regraft.backbones.backbone import BACKBONES
from regraft.backbones.costs import Whole
from regraft.contracts.family import Built, Card, Family
from regraft.nn.accounting import Account, account
from regraft.nn.initialise import Undrawn

FAMILIES: dict[str, Family] = {name: family for name in BACKBONES if (family := BACKBONES.get(name)).smallest_px > 1}
"""Those of images; networks of texts have contract tests of their own (tests/text)."""
VARIANTS = [f"{name}:{variant}" for name, family in FAMILIES.items() for variant in family.variants]


LARGE_MB = 300
"""Published weights of more MiB: what has to write such weights, read them again and train them is for the slow tier.
The default tier still holds the network to all that can be asked of one that was just built."""


def large_ones_are_slow() -> list[Any]:
    """The name of every family, as parameters of a test or a fixture."""
    return [
        pytest.param(name, marks=[pytest.mark.slow] if any(p.size_mb > LARGE_MB for p in f.published.values()) else [])
        for name, f in FAMILIES.items()
    ]


def family_of(spec: str) -> Family:
    """The family of `NAME:VARIANT`."""
    return FAMILIES[spec.partition(":")[0]]


def card_of(spec: str, input_px: int | None = None) -> Card:
    """The card of `NAME:VARIANT`, for inputs of `input_px` or else of its own size."""
    card = family_of(spec).card(spec.partition(":")[2])
    return card if input_px is None else card.with_input(input_px)


def trained_like(spec: str, input_px: int, seed: int = 0) -> Built:
    """The variant in evaluation mode, with no number at the value it starts from: every scale, shift and bias is
    drawn, and batch norm's statistics are measured on tinted noise.

    In double precision: a deep network of drawn numbers blows rounding errors up, the more the less its inputs differ,
    and what is asked of it is whether two ways through it are one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: Built = family_of(spec).build(card_of(spec, input_px))
        for name, parameter in made.original.named_parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.2)
            elif not parameter.any():
                nn.init.normal_(parameter, std=0.02)
        norms = [module for module in made.original.double().eval().modules() if isinstance(module, nn.BatchNorm2d)]
        hooks = [norm.register_forward_pre_hook(_measure) for norm in norms]
        with torch.no_grad():
            made.original(torch.randn(4, 3, 1, 1).double() + torch.randn(4, 3, input_px, input_px).double())
        for hook in hooks:
            hook.remove()
    made.network.start.double()
    made.network.eval()
    return made


def _measure(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance + mean.square())  # the latter, lest little be made much of


@cache
def costs_of(spec: str) -> Account:
    """What one example costs the variant at its own input size; counted on tensors without values."""
    card = card_of(spec)
    with torch.device("meta"), Undrawn():
        made = family_of(spec).build(card)
        return account(
            Whole(made.network), {"pixels": torch.empty((1, *card.preparation.input_px, 3), dtype=torch.uint8)}
        )
