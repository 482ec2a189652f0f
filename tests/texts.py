"""Small networks of texts for tests: a tokenizer of few words, and a folder of each type as transformers writes it."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = (
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "a", "of", "on", "my", "table", "lies", "there", "and", "old", "apple",
    "pear", "plum", "hammer", "saw", "nail",
)  # fmt: skip
COMMON = {
    "vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
ENDS = {"bos_token_id": 2, "eos_token_id": 3}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {**COMMON, "type_vocab_size": 2},
    "roberta": {**COMMON, "pad_token_id": 1, "type_vocab_size": 1},
    "distilbert": {
        "vocab_size": 32, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64,
    },
    "albert": {**COMMON, "embedding_size": 16, "type_vocab_size": 2},
    "deberta-v2": {
        **COMMON, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "conv_kernel_size": 3, "conv_act": "gelu",
        "position_biased_input": False, "max_relative_positions": -1,
    },
    "modernbert": {
        **COMMON, **ENDS, "local_attention": 8, "global_attn_every_n_layers": 3, "cls_token_id": 2, "sep_token_id": 3,
    },
    "gpt2": {**ENDS, "vocab_size": 32, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64},
    "gemma3_text": {
        **COMMON, **ENDS, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "t5": {"vocab_size": 32, "d_model": 32, "num_layers": 3, "num_heads": 4, "d_kv": 8, "d_ff": 48, "pad_token_id": 0},
}  # fmt: skip
"""By type, a configuration of a network with a few thousand parameters."""


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def original(kind: str) -> Any:
    """The library's own network of this type, every number drawn, in evaluation mode."""
    from regraft.backbones.transformers import library

    transformers = library()
    torch.manual_seed(0)
    settings = transformers.AutoConfig.for_model(kind, **CONFIGS[kind])
    net = transformers.T5EncoderModel(settings) if kind == "t5" else transformers.AutoModel.from_config(settings)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net.eval()


def folder_of(kind: str, where: Path, **more: Any) -> Path:
    """A folder with the network of this type and the tokenizer."""
    where.mkdir(parents=True, exist_ok=True)
    original(kind).save_pretrained(where)
    (where / "tokenizer.json").write_text(tokenizer().to_str())
    for name, value in more.items():
        path = where / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(value))
    return where


def language_network(kind: str) -> Any:
    """The library's own language model of this type, every number drawn, in evaluation mode."""
    from regraft.backbones.transformers import DECODERS, library

    transformers = library()
    torch.manual_seed(0)
    causal = kind in DECODERS
    wanted = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
    net = wanted.from_config(transformers.AutoConfig.for_model(kind, **CONFIGS[kind]))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net.eval()


def language_folder(kind: str, where: Path, *, bare: bool = False) -> Path:
    """A folder with such a network, or the same without its output layer, and a tokenizer with a mask token."""
    net, made = language_network(kind), tokenizer()
    (net.base_model if bare else net).save_pretrained(where)
    made.add_special_tokens(["[MASK]"])
    (where / "tokenizer.json").write_text(made.to_str())
    return where


PAIRS: dict[str, dict[str, Any]] = {
    "t5": {
        "vocab_size": 32, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 48, "pad_token_id": 0,
        "eos_token_id": 3, "decoder_start_token_id": 0,
    },
    "marian": {
        "vocab_size": 32, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
        "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0, "scale_embedding": True,
    },
}  # fmt: skip
"""By type, a configuration of an encoder with a decoder."""


def pair_network(kind: str) -> Any:
    """The library's own encoder with a decoder, every number drawn, in evaluation mode."""
    from regraft.backbones.transformers import library

    transformers = library()
    torch.manual_seed(0)
    net = transformers.AutoModelForSeq2SeqLM.from_config(transformers.AutoConfig.for_model(kind, **PAIRS[kind]))
    with torch.no_grad():
        for parameter in filter(lambda one: one.requires_grad, net.parameters()):
            parameter.add_(0.2 * torch.randn_like(parameter))
        if kind == "marian":
            net.final_logits_bias.add_(0.1 * torch.randn_like(net.final_logits_bias))
    return net.eval()


def pair_folder(kind: str, where: Path) -> Path:
    """A folder with such a network and a tokenizer."""
    pair_network(kind).save_pretrained(where)
    made = tokenizer()
    made.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
    (where / "tokenizer.json").write_text(made.to_str())
    return where


WHISPER = {
    "vocab_size": 32, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_mel_bins": 80,
    "max_source_positions": 50, "max_target_positions": 32, "pad_token_id": 3, "bos_token_id": 2, "eos_token_id": 3,
    "decoder_start_token_id": 2,
}  # fmt: skip
"""A Whisper that hears one second."""


def whisper_network() -> Any:
    """The library's own Whisper, every number drawn, in evaluation mode."""
    from regraft.backbones.transformers import library

    transformers = library()
    torch.manual_seed(0)
    net = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**WHISPER))
    with torch.no_grad():
        for parameter in filter(lambda one: one.requires_grad, net.parameters()):
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net.eval()


def whisper_folder(where: Path) -> Path:
    """A folder with that network and a tokenizer, whose texts begin with a prompt of one token."""
    whisper_network().save_pretrained(where)
    made = tokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] [UNK] $A [SEP]", special_tokens=[("[CLS]", 2), ("[UNK]", 1), ("[SEP]", 3)]
    )
    (where / "tokenizer.json").write_text(made.to_str())
    return where
