"""Whisper's encoder, with weights from a Python package: `whisper_tiny_en@package` (extra `whisper`).

Stages are the convolutions and the layers; there is no decoder, so the network does not transcribe. It takes three
seconds of a recording by default (`prepare.seconds`, at most thirty); the readout is the mean over time. Source:
Radford et al. 2022, arXiv:2212.04356. Imports no torch until a network is built.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regraft.backbones.packages import PACKAGED
from regraft.contracts.family import Card, Family
from regraft.modalities.sound.prepare import Preparation

if TYPE_CHECKING:
    from regraft.contracts.family import Built

NAMES = ("whisper_tiny_en",)

LAYERS, WIDTH = 4, 384


def card(variant: str) -> Card:
    """Return the card of the architecture, without weights."""
    stages = ("conv", *(f"layer.{at}" for at in range(LAYERS)))
    return Card(
        family="whisper_tiny_en", variant=variant, weights="", modality="sound", preparation=Preparation(seconds=3.0),
        stages=stages, width=WIDTH, partial_cut="layer.1",
    )  # fmt: skip


def build(card: Card) -> "Built":
    """Build the encoder with random weights, as stages."""
    from torch import nn

    from regraft.contracts.backbone import Network
    from regraft.contracts.family import Built
    from regraft.nn.stages import OnHidden
    from regraft.nn.whisper import WhisperEncoder

    class Start(nn.Module):
        """Prepared `mel` (n m f) -> `hidden`."""

        def forward(self, state: Mapping[str, Any]) -> dict[str, Any]:
            return {"hidden": state["mel"]}

    def readouts(state: Mapping[str, Any]) -> dict[str, Any]:
        return {"pooled": state["hidden"].mean(dim=1), "tokens": state["hidden"]}

    encoder = WhisperEncoder(layers=LAYERS, width=WIDTH)
    stages = {name: OnHidden(body) for name, body in encoder.stages().items()}
    return Built(network=Network(start=Start(), stages=stages, readouts=readouts), original=encoder)


ENTRIES = {
    "whisper_tiny_en": Family(
        name="whisper_tiny_en",
        title="Whisper tiny.en: the encoder of an English speech recogniser, 7.6 million parameters",
        prefer="for speech: a linear probe on it recognises digits of an unseen speaker, where image networks on "
        "spectrograms do not",
        source="Radford et al. 2022, arXiv:2212.04356",
        revision=1,
        variants=("encoder",),
        card=card,
        build=build,
        classifier="",
        smallest_px=1,
        published={"package": PACKAGED["whisper_tiny_en"]},
    )
}
