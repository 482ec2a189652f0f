"""Small networks of recordings for tests: a folder of each type as transformers writes it."""

import json
from pathlib import Path
from typing import Any

import torch

COMMON = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
SAMPLES = {
    **COMMON, "conv_dim": [16, 16, 24], "conv_stride": [10, 8, 4], "conv_kernel": [16, 8, 4],
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "num_feat_extract_layers": 3,
}  # fmt: skip
LAYERED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("wav2vec2", SAMPLES),
    "wav2vec2 of layer norms": ("wav2vec2", {**SAMPLES, **LAYERED}),
    "hubert": ("hubert", {**SAMPLES, "feat_proj_layer_norm": False}),
    "hubert of layer norms": ("hubert", {**SAMPLES, **LAYERED}),
    "ast": ("audio-spectrogram-transformer", {**COMMON, "max_length": 96, "num_mel_bins": 48}),
}
"""By name, the type and a configuration of a network with some ten thousand parameters."""
EXTRACTOR = {
    "wav2vec2": {"do_normalize": True, "return_attention_mask": False, "sampling_rate": 16000},
    "ast": {"do_normalize": True, "mean": -5.0, "std": 3.0, "max_length": 96, "num_mel_bins": 48},
}
"""What some folders say of preparation; the others leave it to the configuration."""


def original(name: str) -> Any:
    """The library's own network, every number drawn, in evaluation mode."""
    from regraft.backbones.transformers import library

    transformers, (kind, config) = library(), CONFIGS[name]
    torch.manual_seed(0)
    net = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **config))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def folder_of(name: str, where: Path) -> Path:
    """A folder with that network."""
    where.mkdir(parents=True, exist_ok=True)
    original(name).save_pretrained(where)
    if name in EXTRACTOR:
        (where / "preprocessor_config.json").write_text(json.dumps(EXTRACTOR[name]))
    return where
