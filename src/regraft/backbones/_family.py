"""One family of backbones: what a file on the shelf declares. Imports no torch until a network is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from regraft.backbones._card import Card
from regraft.errors import BadRequest


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights that somebody published for a family."""

    url: str
    """Where the file lies."""
    sha256: str
    """SHA-256 of the file in hex, or its first digits, as torchvision puts them in the file's name."""
    size_mb: float
    """About how large the file is, in MiB; for the plan only."""
    variant: str
    """Which of the family's architectures it holds."""
    facts: Mapping[str, Any]
    """Fields of the card that differ from the architecture's own: terms, normalisation, classes."""


def unchanged(tensors: Mapping[str, Any], card: Card) -> Mapping[str, Any]:
    """Most weights fit whatever the input size."""
    return tensors


@dataclass(frozen=True, kw_only=True)
class Family:
    """One file on the shelf of backbones defines one family, as `FAMILY`."""

    name: str
    """The file's name."""
    title: str
    """One line for people."""
    prefer: str
    """When to prefer it, as it continues "prefer it": a few words with the numbers they rest on."""
    source: str
    """The paper."""
    revision: int
    """Raised whenever the same tensors give other numbers than before, so that stored activations are made again."""
    variants: tuple[str, ...]
    """Names of the architectures, the default first."""
    card: Callable[[str], Card]
    """variant -> the facts of that architecture, with no weights yet."""
    build: Callable[[Card], Any]
    """card -> a `Built` with random weights; imports torch."""
    classifier: str
    """Name of the source classifier's weight (classes, features) in the original's state dict."""
    smallest_px: int
    """Side of the smallest square input that the network takes."""
    multiple_px: int = 1
    """What the side of an input must be a multiple of."""
    adapt: Callable[[Mapping[str, Any], Card], Mapping[str, Any]] = unchanged
    """(original state dict, card) -> the state dict that fits the card's input size."""
    untrained: tuple[str, ...] = ()
    """Prefixes of names in foreign files that are left out: auxiliary heads, most of which were never trained."""
    published: Mapping[str, Published] = field(default_factory=dict)
    """Weights by the name after `@`."""


def sized(family: Family, card: Card, input_px: int | None) -> Card:
    """The card for square inputs of `input_px` pixels; the card itself when None.

    Raises:
        BadRequest: the network takes no inputs as small as that.
    """
    if input_px is None:
        return card
    if input_px < family.smallest_px or input_px % family.multiple_px:
        rule = f", in steps of {family.multiple_px}" if family.multiple_px > 1 else ""
        near = max(family.smallest_px, input_px // family.multiple_px * family.multiple_px)
        raise BadRequest(
            f"{family.name} takes square inputs of {family.smallest_px} pixels or more{rule}; "
            f"{input_px} were asked for.",
            fix=f"set input_px to {near}, for instance.",
        )
    return card.with_input(input_px)
