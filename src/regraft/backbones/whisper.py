"""Whisper with weights from a Python package (extra `whisper`): its encoder alone, and with its decoder.

    whisper_tiny_en@package               the encoder; the readout is the mean over time
    whisper_tiny_en_transcriber@package   the whole network, which writes what is said; also needs the extra `text`

Stages of the encoder are the convolutions and the layers; those of the whole network are `seq2seq.py`'s. Both take
three seconds of a recording by default (`prepare.seconds`, at most thirty). Source: Radford et al. 2022,
arXiv:2212.04356. Imports no torch until a network is built.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regraft.backbones import seq2seq
from regraft.backbones.packages import PACKAGED, asset
from regraft.contracts.family import Card, Family
from regraft.modalities.sound.prepare import Preparation

if TYPE_CHECKING:
    from regraft.contracts.family import Built

NAMES = ("whisper_tiny_en", "whisper_tiny_en_transcriber")

LAYERS, WIDTH = 4, 384
TINY_EN = {
    "model_type": "whisper", "vocab_size": 51864, "d_model": 384, "encoder_layers": 4, "decoder_layers": 4,
    "encoder_attention_heads": 6, "decoder_attention_heads": 6, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536,
    "num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 448, "pad_token_id": 50256,
    "bos_token_id": 50257, "eos_token_id": 50256, "decoder_start_token_id": 50257,
}  # fmt: skip
"""config.json of openai/whisper-tiny.en."""


def card(variant: str) -> Card:
    """Return the card of the architecture, without weights."""
    stages = ("conv", *(f"layer.{at}" for at in range(LAYERS)))
    return Card(
        family="whisper_tiny_en", variant=variant, weights="", modality="sound", preparation=Preparation(seconds=3.0),
        stages=stages, width=WIDTH, partial_cut="layer.1",
    )  # fmt: skip


def transcriber(variant: str) -> Card:
    """Return the card of the whole network, without weights; its tokenizer comes with them."""
    made = seq2seq.card_of(variant, TINY_EN, asset("whisper_tiny_en", "tokenizer.json"))
    return replace(made, family="whisper_tiny_en_transcriber")


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
    ),
    "whisper_tiny_en_transcriber": replace(
        seq2seq.ENTRY,
        name="whisper_tiny_en_transcriber",
        title="Whisper tiny.en with its decoder, which writes English speech down, 37.8 million parameters",
        prefer="to transcribe English recordings (--task transcription), and to adapt that to an accent or to terms",
        source="Radford et al. 2022, arXiv:2212.04356",
        variants=("transcriber",),
        card=transcriber,
        classifier=seq2seq.OUTPUT,
        published={"package": PACKAGED["whisper_tiny_en_transcriber"]},
        narrowed=None,
    ),
}
