"""Language models from transformers, with their output layer: causal ones (GPT-2, Gemma 3) and masked ones (BERT …).

    language:FOLDER@pretrained             config.json, tokenizer.json and the weights in a folder
    language:OWNER/REPOSITORY@pretrained   the same from the hub
    language:minilm_l6@package             the sentence encoder of a Python package, as a masked model

Stages are those of the family `transformers`. The output layer is untied from the embeddings, which may be frozen. A
masked model whose file has no output layer uses its embeddings as one, which has to be trained before it predicts well.

Sources: Radford et al. 2019 (GPT-2); Gemma Team 2025, arXiv:2503.19786; Devlin et al. 2019, arXiv:1810.04805 (BERT);
Press & Wolf 2017, arXiv:1608.05859 (embeddings as output layer).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.packages import PACKAGED, without_heads
from regraft.backbones.transformers import DECODERS, KNOWN, described_card, in_place, minilm_card, small_files
from regraft.contracts.family import Card, Family
from regraft.errors import BadRequest

if TYPE_CHECKING:
    from regraft.contracts.family import Built

_BERT, _ROBERTA = "cls.predictions.", "lm_head."
_AS_BERT = (f"{_BERT}transform", f"{_BERT}decoder")
_AS_ROBERTA = (f"{_ROBERTA}dense", "gelu", f"{_ROBERTA}layer_norm", f"{_ROBERTA}decoder")
HEADS: Mapping[str, tuple[str, ...]] = {
    "gpt2": ("lm_head",),
    "gemma3_text": ("lm_head",),
    "bert": _AS_BERT,
    "deberta-v2": _AS_BERT,
    "roberta": _AS_ROBERTA,
    "xlm-roberta": _AS_ROBERTA,
    "camembert": _AS_ROBERTA,
    "distilbert": ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
    "albert": ("predictions.dense", "predictions.activation", "predictions.LayerNorm", "predictions.decoder"),
    "modernbert": ("head", "decoder"),
}
"""Modules of the output layer, in order, by the `model_type` of a configuration; `gelu` has no parameters."""
WORDS = ("word_embeddings.weight", "tok_embeddings.weight", "wte.weight", "embed_tokens.weight")
"""Possible ends of the name of the embedding table."""


def build(card: Card) -> "Built":
    """Build the network with random weights, as stages."""
    from regraft.backbones._transformers_stages import network_of

    return network_of(card.config)


def narrowed(variant: str) -> Family:
    """Return the family of the network in a folder or a repository of the hub, whose small files are fetched.

    Raises:
        BadRequest: it lacks a configuration or a tokenizer, or is not a supported language model.
        RegraftError: the repository cannot be reached.
    """
    if variant == KNOWN:
        card = card_of(minilm_card(KNOWN), own=False)
        package = replace(PACKAGED[KNOWN], variant=KNOWN)
        found = in_place(ENTRY, variant, card, "", read=without_heads)
        return replace(found, published={"package": package}, classifier="embeddings.word_embeddings.weight")
    described, texts, url = small_files(variant)
    kind = str(described.get("model_type"))
    if kind not in HEADS:
        raise BadRequest(
            f"{variant} has the type {kind!r}, which is not a supported language model.",
            fix=f"choose one of: {', '.join(sorted(HEADS))}; for T5 and Marian: seq2seq:{variant}.",
        )
    built_as = json.loads(texts["config.json"]).get("architectures") or [""]
    own = kind in DECODERS or str(built_as[0]).endswith(("ForMaskedLM", "ForPreTraining"))
    card = card_of(described_card(variant, described, texts), own=own)
    if not own and described.get("embedding_size", card.width) != card.width:
        raise BadRequest(
            f"{variant} has no output layer, and its embeddings are narrower than the network.",
            fix="use a folder saved by AutoModelForMaskedLM.",
        )
    table = "tok_embeddings" if kind == "modernbert" else "word_embeddings"
    family = in_place(ENTRY, variant, card, url, read=read_weights)
    return replace(family, classifier=f"{HEADS[kind][-1] if own else f'embeddings.{table}'}.weight")


def card_of(bare: Card, *, own: bool) -> Card:
    """Return the card of a language model whose stages are those of `bare`; `own`: with an output layer of its own."""
    described: Mapping[str, Any] = bare.config["transformers"]
    kind, ends = described["model_type"], described.get("eos_token_id")
    vocabulary = int(described["vocab_size"])
    preparation = replace(
        bare.preparation,
        predicts="next" if kind in DECODERS else "masked",
        vocabulary=vocabulary,
        end=next(iter(ends), vocabulary) if isinstance(ends, list) else vocabulary if ends is None else int(ends),
    )
    untied = "The output layer is untied from the token embeddings and trained separately."
    without = "The file has no output layer; the token embeddings are used as one."
    return replace(
        bare,
        family=ENTRY.name,
        preparation=preparation,
        taps={"truth": (1, 1)},
        config={**bare.config, "head": list(HEADS[kind]) if own else []},
        num_source_classes=vocabulary,
        notes=(*bare.notes, untied if own else without),
    )


def read_weights(path: Path, expected: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tensors of a checkpoint, with tied ones under each of their names."""
    found = dict(without_heads(path, expected))
    words = next((found[name] for name in found if name.endswith(WORDS)), None)
    for name in expected.keys() - found.keys():
        twin = name.replace(".decoder.bias", ".bias") if ".decoder." in name else f"{name[:-4]}decoder.bias"
        if name.endswith(("decoder.weight", "lm_head.weight", "vocab_projector.weight")) and words is not None:
            found[name] = words
        elif twin in found:
            found[name] = found[twin]
    return found


ENTRY = Family(
    name="language",
    title="A transformers language model with its output layer: language:FOLDER, or language:OWNER/REPOSITORY",
    prefer="for adapting a model to texts without labels: GPT-2, Gemma 3, BERT, RoBERTa, DistilBERT, ALBERT, DeBERTa, "
    "ModernBERT; requires the extra `text`",
    source="Wolf et al. 2020, arXiv:1910.03771, https://github.com/huggingface/transformers",
    revision=1,
    variants=(KNOWN,),
    card=lambda variant: narrowed(variant).card(variant),
    build=build,
    classifier="",
    smallest_px=1,
    narrowed=narrowed,
)
