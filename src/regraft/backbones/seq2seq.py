"""Encoder-decoder networks from transformers (T5 and similar, Marian), from a folder or the Hugging Face hub.

    seq2seq:FOLDER@pretrained                  config.json, tokenizer.json and model.safetensors in a folder
    seq2seq:OWNER/REPOSITORY@pretrained        the same from the hub
    seq2seq:FOLDER@random                      the architecture described by config.json, with random weights

One tokenizer serves both sides. Stages are `embeddings`, the encoder's layers and the decoder's, numbered
consecutively.

Sources: Raffel et al. 2019, arXiv:1910.10683 (T5); Junczys-Dowmunt et al. 2018, arXiv:1804.00344 (Marian). Imports no
torch until a network is built.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.transformers import MOST_TOKENS, TRAINED_SHARE, in_place, small_files
from regraft.contracts.family import Card, Family
from regraft.errors import BadRequest
from regraft.modalities.text.tokens import Preparation

if TYPE_CHECKING:
    from regraft.contracts.family import Built

KINDS = ("marian", "mt5", "t5")
"""Supported network types, by the `model_type` of their configuration."""
KNOWN = "t5_small"
"""The built-in architecture; its tokenizer comes with its weights."""
T5_SMALL = {
    "model_type": "t5", "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8,
    "dropout_rate": 0.1, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
"""config.json of google-t5/t5-small."""
MOST_TARGETS = 128
"""Maximum number of tokens of a target, unless the recipe sets another. Our choice."""


def build(card: Card) -> "Built":
    """Build the network with random weights, as stages."""
    from regraft.backbones._seq2seq_stages import network_of

    return network_of(card.config)


def narrowed(variant: str) -> Family:
    """Return the family of the network in a folder or a repository of the hub, whose small files are fetched.

    Raises:
        BadRequest: it lacks a configuration or a tokenizer, or its type is not supported.
        RegraftError: the repository cannot be reached.
    """
    if variant == KNOWN:
        return replace(ENTRY, card=lambda _: card_of(KNOWN, T5_SMALL, ""), narrowed=None)
    described, files, url = small_files(variant)
    kind = described.get("model_type")
    if kind not in KINDS:
        raise BadRequest(f"{variant} has the type {kind!r}, which is not a supported encoder-decoder.",
                         fix=f"choose one of: {', '.join(KINDS)}; for others: transformers:{variant}.")  # fmt: skip
    card = card_of(variant, described, files["tokenizer.json"])
    return in_place(ENTRY, variant, card, url, read=read_weights)


def card_of(variant: str, described: Mapping[str, Any], tokenizer: str) -> Card:
    """Return the card of a network with this configuration, without weights."""
    encoder = int(described.get("encoder_layers", described.get("num_layers", 0)))
    decoder = int(described.get("decoder_layers", described.get("num_decoder_layers") or encoder))
    stages = ("embeddings", *(f"layer.{at}" for at in range(encoder + decoder)))
    places, width = int(described.get("max_position_embeddings", 0)), int(described["d_model"])
    preparation = Preparation(
        tokenizer=tokenizer,
        max_tokens=min(MOST_TOKENS, places or MOST_TOKENS),
        positions=places,
        max_target_tokens=min(MOST_TARGETS, places or MOST_TARGETS),
        start=int(described.get("decoder_start_token_id", described.get("pad_token_id", 0))),
        end=int(described.get("eos_token_id", 1)),
        vocabulary=int(described["vocab_size"]),
    )
    return Card(
        family="seq2seq",
        variant=variant,
        weights="",
        modality="text",
        preparation=preparation,
        stages=stages,
        width=width,
        taps={"memory": (1, width), "seen": (1, 1)},
        generates_from=("memory", "seen"),
        partial_cut=stages[-1 - max(1, -(-(encoder + decoder) // TRAINED_SHARE))],
        num_source_classes=int(described["vocab_size"]),
        config={"transformers": dict(described)},
        notes=("The output layer is untied from the token embeddings and trained separately.",),
    )


def read_weights(path: Path, expected: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tensors of a checkpoint, with a shared embedding table under each of its names."""
    from regraft.backbones.convert import read_original

    found = {name: tensor for name, tensor in read_original(path).items() if "embed_positions" not in name}
    words = next((found[name] for name in ("shared.weight", "model.shared.weight") if name in found), None)
    tied = [name for name in expected if name.endswith(("shared.weight", "embed_tokens.weight", "lm_head.weight"))]
    return {**({} if words is None else dict.fromkeys(tied, words)), **found}


ENTRY = Family(
    name="seq2seq",
    title="An encoder-decoder from transformers: seq2seq:FOLDER, or seq2seq:OWNER/REPOSITORY on the hub",
    prefer="for generating text from text (translation): T5, mT5, Marian; requires the extra `text`",
    source="Wolf et al. 2020, arXiv:1910.03771, https://github.com/huggingface/transformers",
    revision=1,
    variants=(KNOWN,),
    card=lambda variant: narrowed(variant).card(variant),
    build=build,
    classifier="lm_head.weight",
    smallest_px=1,
    narrowed=narrowed,
)
