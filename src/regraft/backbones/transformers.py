"""Networks of texts and of recordings from transformers: `minilm_l6`, and any in a folder or on the Hugging Face hub.

    minilm_l6@package                  a sentence encoder from a Python package
    transformers:FOLDER@pretrained     config.json, tokenizer.json and model.safetensors in a folder; networks of
                                       recordings have preprocessor_config.json instead of a tokenizer
    transformers:OWNER/REPOSITORY@pretrained       the same from the hub

Stages are `embeddings` and the layers. A card's `config` holds the library's own configuration, so that a saved model
can be rebuilt without the folder or the hub; the tokenizer is part of its preparation. Pooling is read from the
folder's sentence-transformers files; the default is the mean of the tokens, or the last token for causal networks.
Networks of samples have a stage `conv` before `embeddings`, which is what is usually kept frozen.

Sources: Wolf et al. 2020, arXiv:1910.03771; Wang et al. 2020, arXiv:2002.10957 (MiniLM); Reimers & Gurevych 2019,
arXiv:1908.10084 (sentence encoders); Baevski et al. 2020, arXiv:2006.11477 (wav2vec 2.0); Hsu et al. 2021,
arXiv:2106.07447 (HuBERT); Gong et al. 2021, arXiv:2104.01778 (AST). Imports no torch until a network is built.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from regraft.backbones.packages import PACKAGED, asset, without_heads
from regraft.contracts.family import PREFIX, Card, Family, Published
from regraft.errors import BadRequest, MissingExtra
from regraft.modalities.text.tokens import Preparation

if TYPE_CHECKING:
    from regraft.contracts.family import Built

NAMES = ("minilm_l6", "transformers")

MINILM = {
    "model_type": "bert", "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
    "initializer_range": 0.02,
}  # fmt: skip
"""config.json of nreimers/MiniLM-L6-H384-uncased."""
TRAINED_SHARE = 3
"""Partial fine-tuning trains the top third of the layers. Our choice: two of six, four of twelve."""


ENCODERS = {
    "bert", "roberta", "xlm-roberta", "camembert", "distilbert", "albert", "deberta-v2", "modernbert", "t5",
}  # fmt: skip
DECODERS = {"gemma3_text", "gpt2"}
"""Supported network types, by the `model_type` of their configuration; for T5, its encoder."""
OF_SAMPLES, OF_SPECTRA = ("wav2vec2", "hubert"), ("audio-spectrogram-transformer",)
"""Supported types that take recordings, as samples or as filter banks."""
FILES = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json", "modules.json",
    "sentence_bert_config.json", "preprocessor_config.json",
)  # fmt: skip
"""The small files of a network; the first two are required, the second for texts only."""
UNUSED = ("_name_or_path", "architectures", "transformers_version", "torch_dtype", "dtype", "use_cache", "auto_map")
"""Entries of a configuration that have no effect here."""
ALSO = {
    "hidden_size": ("dim", "n_embd", "d_model"),
    "num_hidden_layers": ("n_layers", "n_layer", "num_layers"),
    "max_position_embeddings": ("n_positions",),
}
"""Other names of these entries, used by some types."""
POOLINGS = {"mean": "pooling_mode_mean_tokens", "first": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
"""Our name, and that of sentence-transformers."""
MOST_TOKENS = 512
"""Maximum number of tokens of an example, even if the network accepts more. Our choice: attention's cost grows
quadratically."""
KNOWN = "minilm_l6"
"""The built-in architecture."""
SECONDS = 3.0
"""Seconds of a recording that a network of samples hears, unless the recipe sets others: `prepare.seconds`. Our choice:
the cost grows with them."""
AUDIOSET = (-4.2677393, 4.5689974)
"""Mean and standard deviation of AST's filter banks, unless its files state others."""
RENAMED = {
    "audio-spectrogram-transformer": {
        "encoder.layer.": "layers.", "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj", "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.o_proj", "intermediate.dense": "mlp.fc1", ".output.dense": ".mlp.fc2",
    },
    **{
        kind: {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
        for kind in OF_SAMPLES
    },
}  # fmt: skip
"""By type, parts of names in files of weights that the library has changed, and what they are now."""


@cache
def library() -> ModuleType:
    """Import and return `transformers`, lazily and without access to the hub.

    Raises:
        MissingExtra: transformers is not installed.
    """
    if find_spec("transformers") is None:
        raise MissingExtra("transformers", "text", "A text network")
    from regraft.nn.torchvision import torchvision_models

    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    torchvision_models()  # transformers imports torchvision, which needs this with a CPU-only torch
    return import_module("transformers")


def build(card: Card) -> "Built":
    """Build the network with random weights, as stages."""
    if card.modality == "sound":
        from regraft.backbones._speech_stages import network_of as heard

        return heard(card.config)
    from regraft.backbones._transformers_stages import network_of

    return network_of(card.config)


def card_of(name: str, variant: str, config: Mapping[str, Any], preparation: Any, modality: str = "text") -> Card:
    """Return the card of a network with this `config`, without weights."""
    layers = int(_said(config["transformers"], "num_hidden_layers"))
    above = max(1, -(-layers // TRAINED_SHARE))
    conv = ("conv",) if config["transformers"]["model_type"] in OF_SAMPLES else ()
    stages = (*conv, "embeddings", *(f"layer.{at}" for at in range(layers)))
    untied = "Layers that shared weights are untied, trained separately and saved so."
    return Card(
        family=name,
        variant=variant,
        weights="",
        modality=modality,
        preparation=preparation,
        stages=stages,
        width=int(_said(config["transformers"], "hidden_size")),
        partial_cut=stages[-1 - above],
        config=config,
        notes=(untied,) if config["transformers"]["model_type"] == "albert" else (),
    )


def _said(described: Mapping[str, Any], name: str, default: int = 0) -> Any:
    """Return a number in a configuration, under any of its names."""
    return next((described[one] for one in (name, *ALSO[name]) if one in described), default)


def minilm_card(variant: str) -> Card:
    config = {"transformers": MINILM, "pooling": "mean"}
    text = asset("minilm_l6", "tokenizer.json")
    return card_of("minilm_l6", variant, config, Preparation(tokenizer=text, max_tokens=256, positions=512, types=True))


def narrowed(variant: str) -> Family:
    """Return the family of the network in a folder or a repository of the hub, whose small files are fetched.

    Raises:
        BadRequest: it lacks a configuration or a tokenizer, or its type is not supported.
        RegraftError: the repository cannot be reached.
    """
    if variant == KNOWN:
        return replace(
            ENTRIES["transformers"], card=lambda _: replace(minilm_card(KNOWN), family="transformers"), narrowed=None
        )
    described, texts, url = small_files(variant)
    card = described_card(variant, described, texts)
    read = partial(without_heads, renamed=RENAMED.get(described["model_type"], {}))
    return in_place(ENTRIES["transformers"], variant, card, url, read=read)


def small_files(variant: str) -> tuple[dict[str, Any], Mapping[str, str], str]:
    """Return the configuration of the network in a folder or a repository, its small files as text, and the address of
    its weights.

    Raises:
        BadRequest: it lacks a configuration or a tokenizer.
        RegraftError: the repository cannot be reached.
    """
    folder = Path(variant).expanduser()
    if folder.is_dir():
        files = {name: (folder / name).read_text(encoding="utf-8") for name in FILES if (folder / name).is_file()}
        url = f"file:{folder / 'model.safetensors'}"
    elif variant.startswith(("/", ".", "~")) or variant.count("/") != 1:
        raise BadRequest(
            f"The folder {variant} does not exist.",
            fix="write transformers:FOLDER@pretrained or transformers:OWNER/REPOSITORY@pretrained.",
        )
    else:
        from regraft.backbones.fetch import hub_texts

        files, url = hub_texts(variant, FILES), f"{PREFIX}{variant}"
    if "config.json" not in files:
        raise BadRequest(f"{variant} has no config.json.", fix="use a folder that save_pretrained wrote.")
    config = _parsed(variant, "config.json", files["config.json"])
    if "tokenizer.json" not in files and config.get("model_type") not in (*OF_SAMPLES, *OF_SPECTRA):
        raise BadRequest(f"{variant} has no tokenizer.json.",
                         fix="save a fast tokenizer there with its save_pretrained.")  # fmt: skip
    return {name: value for name, value in config.items() if name not in UNUSED}, files, url


def in_place(
    family: Family, variant: str, card: Card, url: str, read: Callable[[Path, Mapping[str, Any]], Mapping[str, Any]]
) -> Family:
    """Return a family with this one network, whose weights are at `url` and are read by `read`."""
    facts = {"trained_on": f"as stated by {variant}"}
    published = Published(url=url, sha256="", size_mb=0, variant=variant, facts=facts, read=read)
    return replace(
        family,
        title=f"{variant}, a {card.config['transformers']['model_type']} network",
        variants=(variant,),
        card=lambda _: card,
        published={"pretrained": published},
        narrowed=None,
    )


def _parsed(variant: str, name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRequest(
            f"{name} of {variant} is not valid JSON: {error}.", fix="download it again from its source."
        ) from error


def described_card(variant: str, described: Mapping[str, Any], texts: Mapping[str, str]) -> Card:
    """Return the card of a network from its small files.

    Raises:
        BadRequest: its type is not supported, or a file is not JSON.
    """
    files = {name: _parsed(variant, name, text) for name, text in texts.items()}
    kind = described.get("model_type")
    if kind in (*OF_SAMPLES, *OF_SPECTRA):
        return heard_card(variant, described, files.get("preprocessor_config.json", {}))
    if kind not in DECODERS | ENCODERS:
        known = sorted(DECODERS | ENCODERS | {*OF_SAMPLES, *OF_SPECTRA})
        raise BadRequest(f"{variant} has the type {kind!r}, which is not supported.",
                         fix=f"choose one of: {', '.join(known)}.")  # fmt: skip
    pooled = files.get("1_Pooling/config.json", {})
    says = next((way for way, name in POOLINGS.items() if pooled.get(name)), "")
    unit = any(str(one.get("type", "")).endswith("Normalize") for one in files.get("modules.json", []))
    relative = kind in ("t5", "deberta-v2", "modernbert")
    places = 0 if relative else int(_said(described, "max_position_embeddings", MOST_TOKENS))
    if kind in ("roberta", "xlm-roberta", "camembert"):  # positions start after the padding index
        places -= int(described.get("pad_token_id", 1)) + 1
    said = [
        files.get("sentence_bert_config.json", {}).get("max_seq_length"),
        files.get("tokenizer_config.json", {}).get("model_max_length"),
    ]
    preparation = Preparation(
        tokenizer=texts["tokenizer.json"],
        max_tokens=int(min([MOST_TOKENS, *filter(None, [places, *said])])),
        positions=places,
        types=int(described.get("type_vocab_size", 0)) > 1,
    )
    pooling = says or ("last" if kind in DECODERS else "mean")
    config = {"transformers": described, "pooling": pooling, **({"unit": True} if unit else {})}
    return card_of("transformers", variant, config, preparation)


def heard_card(variant: str, described: Mapping[str, Any], told: Mapping[str, Any]) -> Card:
    """Return the card of a network of recordings from its configuration, and from what its feature extractor is
    told."""
    from regraft.modalities.sound.prepare import Preparation as SoundPreparation

    rate_hz = int(told.get("sampling_rate", 16000))
    if described["model_type"] in OF_SAMPLES:
        preparation = SoundPreparation(seconds=SECONDS, rate_hz=rate_hz, form="samples")
        masked = told.get("return_attention_mask", described.get("feat_extract_norm") == "layer")
        config = {"pooling": "mean", "normal": bool(told.get("do_normalize", True)), "masked": bool(masked)}
    else:
        preparation = SoundPreparation(
            seconds=int(described.get("max_length", 1024)) / 100,
            rate_hz=rate_hz, form="fbank", num_bands=int(described.get("num_mel_bins", 128)),
        )  # fmt: skip
        mean, std = float(told.get("mean", AUDIOSET[0])), float(told.get("std", AUDIOSET[1]))
        config = {"pooling": "pair", "normal": [mean, std] if told.get("do_normalize", True) else [0.0, 0.5]}
    return card_of("transformers", variant, {"transformers": described, **config}, preparation, "sound")


ENTRIES = {
    "minilm_l6": Family(
        name="minilm_l6",
        title="MiniLM-L6: a sentence encoder of six layers, 22.6 million parameters",
        prefer="by default for English texts: small, fast on a CPU, its weights come as a pip package",
        source="Wang et al. 2020, arXiv:2002.10957; trained further by sentence-transformers, "
        "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        revision=1,
        variants=("uncased",),
        card=minilm_card,
        build=build,
        classifier="",
        smallest_px=1,
        published={"package": PACKAGED["minilm_l6"]},
    ),
    "transformers": Family(
        name="transformers",
        title="A transformers network in a folder or on the hub: transformers:FOLDER, transformers:OWNER/REPOSITORY",
        prefer="for larger or other text networks: BERT, RoBERTa, DistilBERT, ALBERT, DeBERTa, "
        "ModernBERT, GPT-2, Gemma 3, the encoder of T5; for recordings: wav2vec 2.0, HuBERT, AST; requires the extra "
        "`text`",
        source="Wolf et al. 2020, arXiv:1910.03771, https://github.com/huggingface/transformers",
        revision=1,
        variants=(KNOWN,),
        card=lambda variant: narrowed(variant).card(variant),
        build=build,
        classifier="",
        smallest_px=1,
        narrowed=narrowed,
    ),
}
