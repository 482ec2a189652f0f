"""Networks for rows of numbers: the standardised columns themselves, and a multilayer perceptron.

`columns` has no weights: a probe on it is a logistic regression (or ridge regression) on the columns, with the penalty
chosen by cross-validation. `columns_mlp` has three linear layers, each followed by layer norm and GELU, with a cut
after each. Both are initialised for the columns of the first data they see (`@random`) and keep these. The sizes are
our choice. Imports no torch until a network is built.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regraft.contracts.family import Card, Family
from regraft.modalities.table.prepare import Preparation

if TYPE_CHECKING:
    from regraft.contracts.family import Built

NAMES = ("columns", "columns_mlp")

WIDTHS = {"columns": (), "columns_mlp": (256, 256, 128)}
"""Output sizes of the linear layers."""


def _card(family: str, variant: str) -> Card:
    """Return the card of the architecture; a width of 0 stands for the number of columns of the data."""
    widths = WIDTHS[family]
    return Card(
        family=family, variant=variant, weights="", modality="table", preparation=Preparation(),
        stages=tuple(f"dense.{at}" for at in range(len(widths))) or ("columns",),
        width=widths[-1] if widths else 0, partial_cut="dense.0" if widths else "",
    )  # fmt: skip


def build(card: Card) -> "Built":
    """Build the network with random weights for the card's columns (one, if these are not known yet)."""
    from torch import nn

    from regraft.contracts.backbone import Network
    from regraft.contracts.family import Built
    from regraft.nn.stages import OnHidden, vector_readouts

    class Start(nn.Module):
        """Prepared `values` (n d) -> `hidden`."""

        def forward(self, state: Mapping[str, Any]) -> dict[str, Any]:
            return {"hidden": state["values"]}

    before, bodies = max(1, len(card.preparation.columns)), list[nn.Module]()
    for width in WIDTHS[card.family]:
        bodies.append(nn.Sequential(nn.Linear(before, width), nn.LayerNorm(width), nn.GELU()))
        before = width
    original = nn.Sequential(*bodies) if bodies else nn.Sequential(nn.Identity())
    stages = {name: OnHidden(body) for name, body in zip(card.stages, original, strict=True)}
    return Built(network=Network(start=Start(), stages=stages, readouts=vector_readouts), original=original)


def _family(name: str, title: str, prefer: str) -> Family:
    from functools import partial

    return Family(
        name=name, title=title, prefer=prefer, source="Gorishniy et al. 2021, arXiv:2106.11959", revision=1,
        variants=("dense",) if WIDTHS[name] else ("plain",), card=partial(_card, name), build=build, classifier="",
        smallest_px=1,
    )  # fmt: skip


ENTRIES = {
    "columns": _family("columns", "The standardised columns of a table, without a network",
                       "by default for numeric tables: with few rows, a linear model is hard to beat"),
    "columns_mlp": _family("columns_mlp", "Three dense layers on the columns of a table",
                           "for many rows, or after pretraining; can be cut after any layer"),
}  # fmt: skip
