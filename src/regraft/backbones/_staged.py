"""The modules of a network, one for each stage of its card, as the contract's network."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn

from regraft.contracts.backbone import Network, State, Views
from regraft.contracts.card import Card
from regraft.nn.stages import Normalise, OnHidden


def staged(
    card: Card, bodies: Iterable[nn.Module], *, views: Callable[[State], Views], source_head: nn.Module, **others: Any
) -> Network:
    """`bodies` in the order of the card's stages, each a function of the hidden tensor; `others` are the network's
    other fields."""
    return Network(
        start=Normalise(card.mean, card.std),
        stages={name: OnHidden(body) for name, body in zip(card.stages, bodies, strict=True)},
        views=views,
        source_head=source_head,
        **others,
    )


def slices(chain: nn.Sequential, ends: Sequence[int]) -> list[nn.Module]:
    """The chain in pieces that end before the layers `ends`; what lies beyond the last of them is left out."""
    return [chain[first:end] for first, end in zip((0, *ends[:-1]), ends, strict=True)]
