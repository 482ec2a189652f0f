"""Resemblyzer: a speaker encoder, with weights from a Python package.

    resemblyzer@package     embeddings of length 1, alike for one voice

Three LSTM layers over the power in 40 mel bands, then a linear layer and ReLU of the last frame. It hears 1.6 seconds;
longer recordings are heard in pieces, about every 0.77 seconds, whose embeddings are averaged. Quiet voices are
amplified as in the package; unlike there, pauses are not cut out, and loudness is that of the piece.

The package requires a compiler and old libraries, none of which is needed here: `pip install --no-deps`. Source: Wan et
al. 2018, arXiv:1710.10467; https://github.com/resemble-ai/Resemblyzer. Imports no torch until a network is built.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regraft.backbones.packages import PACKAGED
from regraft.contracts.family import Card, Family
from regraft.modalities.sound.prepare import Preparation

if TYPE_CHECKING:
    from regraft.contracts.family import Built

LAYERS, BANDS, WIDTH = 3, 40, 256


def card(variant: str) -> Card:
    """Return the card of the architecture, without weights."""
    return Card(
        family="resemblyzer", variant=variant, weights="", modality="sound",
        preparation=Preparation(form="power", seconds=1.6, step_seconds=0.77, num_bands=BANDS),
        stages=(*(f"lstm.{at}" for at in range(LAYERS)), "embedding"), width=WIDTH, partial_cut="lstm.1",
    )  # fmt: skip


def build(card: Card) -> "Built":
    """Build the network with random weights, as stages."""
    import torch
    from torch import Tensor, nn

    from regraft.contracts.backbone import Network
    from regraft.contracts.family import Built
    from regraft.nn.stages import OnHidden

    class Start(nn.Module):
        """Prepared `power` (n t m) -> `hidden`."""

        def forward(self, state: Mapping[str, Any]) -> dict[str, Any]:
            return {"hidden": state["power"]}

    class Layer(nn.Module):
        """One LSTM layer, with the names of torch's own, whose weak references keep weights from being filled in
        place: x (n t d) -> its hidden states (n t d)."""

        def __init__(self, width: int) -> None:
            super().__init__()
            for name, shape in (("weight_ih", (4 * WIDTH, width)), ("weight_hh", (4 * WIDTH, WIDTH)),
                                ("bias_ih", (4 * WIDTH,)), ("bias_hh", (4 * WIDTH,))):  # fmt: skip
                weight = nn.init.uniform_(torch.empty(shape), -(WIDTH**-0.5), WIDTH**-0.5)
                self.register_parameter(f"{name}_l0", nn.Parameter(weight))

        def forward(self, x: Tensor) -> Tensor:
            state, weights = x.new_zeros(1, x.shape[0], WIDTH), list[Tensor](self.parameters())
            found: Tensor = torch.lstm(x, (state, state), weights, True, 1, 0.0, self.training, False, True)[0]
            return found

    def readouts(state: Mapping[str, Any]) -> dict[str, Any]:
        hidden = state["hidden"]
        return {"pooled": nn.functional.normalize(hidden[:, -1], dim=1), "tokens": hidden}

    layers = [Layer(WIDTH if at else BANDS) for at in range(LAYERS)]
    original = nn.ModuleDict({"lstm": nn.ModuleList(layers), "linear": nn.Linear(WIDTH, WIDTH)})
    bodies = {f"lstm.{at}": layer for at, layer in enumerate(layers)}
    stages = {**bodies, "embedding": nn.Sequential(original["linear"], nn.ReLU())}
    return Built(
        network=Network(start=Start(), stages={name: OnHidden(one) for name, one in stages.items()}, readouts=readouts),
        original=original,
    )


ENTRY = Family(
    name="resemblyzer",
    title="Resemblyzer: a speaker encoder of three LSTM layers, 1.4 million parameters",
    prefer="to verify speakers (--task verification): its embeddings tell voices apart without training",
    source="Wan et al. 2018, arXiv:1710.10467",
    revision=1,
    variants=("ge2e",),
    card=card,
    build=build,
    classifier="",
    smallest_px=1,
    published={"package": PACKAGED["resemblyzer"]},
)
