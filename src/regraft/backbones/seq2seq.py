"""Encoder-decoder networks from transformers (T5 and similar, Marian, Whisper), from a folder or the Hugging Face hub.

    seq2seq:FOLDER@pretrained                  config.json, tokenizer.json and model.safetensors in a folder
    seq2seq:OWNER/REPOSITORY@pretrained        the same from the hub
    seq2seq:FOLDER@random                      the architecture described by config.json, with random weights

One tokenizer serves both sides; Whisper's source is a recording, of three seconds by default. Stages are `embeddings`,
the encoder's layers and the decoder's, numbered consecutively.

Sources: Raffel et al. 2019, arXiv:1910.10683 (T5); Junczys-Dowmunt et al. 2018, arXiv:1804.00344 (Marian);
Radford et al. 2022, arXiv:2212.04356 (Whisper). Imports no torch until a network is built.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.transformers import MOST_TOKENS, TRAINED_SHARE, in_place, small_files
from regraft.contracts.family import Card, Family
from regraft.errors import BadRequest
from regraft.modalities.sound.prepare import Preparation as SoundPreparation
from regraft.modalities.text.tokens import Preparation

if TYPE_CHECKING:
    from regraft.contracts.family import Built

KINDS = ("marian", "mt5", "t5", "whisper")
"""Supported network types, by the `model_type` of their configuration."""
KNOWN = "t5_small"
"""The built-in architecture; its tokenizer comes with its weights."""
T5_SMALL = {
    "model_type": "t5", "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8,
    "dropout_rate": 0.1, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
"""config.json of google-t5/t5-small."""
PLACES = "embed_positions.weight"
"""End of the names of Marian's position embeddings, which some files hold."""
OUTPUT = "proj_out.weight"
"""Name of Whisper's output layer."""
TIED = ("shared.weight", "embed_tokens.weight", "lm_head.weight", OUTPUT)
"""Ends of the names of tensors that share one table."""
SECONDS = 3.0
"""Seconds of a recording that are used, unless the recipe sets `prepare.seconds` (at most thirty for Whisper). Our
choice: the cost grows with them."""
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
    family = replace(ENTRY, classifier=OUTPUT if kind == "whisper" else ENTRY.classifier)
    return in_place(family, variant, card, url, read=read_weights)


def card_of(variant: str, described: Mapping[str, Any], tokenizer: str) -> Card:
    """Return the card of a network with this configuration, without weights."""
    hears = described["model_type"] == "whisper"
    encoder = int(described.get("encoder_layers", described.get("num_layers", 0)))
    decoder = int(described.get("decoder_layers", described.get("num_decoder_layers") or encoder))
    stages = ("embeddings", *(f"layer.{at}" for at in range(encoder + decoder)))
    places = int(described.get("max_target_positions" if hears else "max_position_embeddings", 0))
    width, start = int(described["d_model"]), described.get("decoder_start_token_id", described.get("pad_token_id", 0))
    written: dict[str, Any] = {
        "tokenizer": tokenizer,
        "positions": places,
        "max_target_tokens": min(MOST_TARGETS, places or MOST_TARGETS),
        "start": int(start),
        "end": int(described.get("eos_token_id", 1)),
        "vocabulary": int(described["vocab_size"]),
    }
    preparation: Any = (
        SoundPreparation(
            seconds=min(SECONDS, described.get("max_source_positions", 1500) / 50),
            num_bands=int(described.get("num_mel_bins", 80)), prompt=prompt_in(tokenizer, int(start)), **written,
        )
        if hears
        else Preparation(max_tokens=min(MOST_TOKENS, places or MOST_TOKENS), **written)
    )  # fmt: skip
    return Card(
        family="seq2seq",
        variant=variant,
        weights="",
        modality="sound" if hears else "text",
        preparation=preparation,
        stages=stages,
        width=width,
        taps={"memory": (1, width), **({} if hears else {"seen": (1, 1)})},
        generates_from=("memory",) if hears else ("memory", "seen"),
        partial_cut=stages[-1 - max(1, -(-(encoder + decoder) // TRAINED_SHARE))],
        num_source_classes=int(described["vocab_size"]),
        config={"transformers": dict(described)},
        notes=("The output layer is untied from the token embeddings and trained separately.",),
    )


def prompt_in(tokenizer: str, start: int) -> tuple[int, ...]:
    """Return the ids of the special tokens that a tokenizer puts before a text, without the start token."""
    made = (json.loads(tokenizer).get("post_processor") or {}) if tokenizer else {}
    before = list[int]()
    for one in made.get("single", ()):
        if "Sequence" in one:
            break
        before += made["special_tokens"][one["SpecialToken"]["id"]]["ids"]
    return tuple(number for number in before if number != start)


def read_weights(path: Path, expected: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tensors of a checkpoint, with a shared embedding table under each of its names."""
    from regraft.backbones.convert import read_original

    found = {name: one for name, one in read_original(path).items() if name in expected or not name.endswith(PLACES)}
    words = next((found[name] for name in ("shared.weight", "model.shared.weight") if name in found), None)
    words = found.get("model.decoder.embed_tokens.weight") if OUTPUT in expected else words
    tied = [name for name in expected if name.endswith(TIED)]
    return {**({} if words is None else dict.fromkeys(tied, words)), **found}


ENTRY = Family(
    name="seq2seq",
    title="An encoder-decoder from transformers: seq2seq:FOLDER, or seq2seq:OWNER/REPOSITORY on the hub",
    prefer="for generating text from text (T5, mT5, Marian) or from recordings (Whisper); requires the extra `text`",
    source="Wolf et al. 2020, arXiv:1910.03771, https://github.com/huggingface/transformers",
    revision=1,
    variants=(KNOWN,),
    card=lambda variant: narrowed(variant).card(variant),
    build=build,
    classifier="lm_head.weight",
    smallest_px=1,
    narrowed=narrowed,
)
