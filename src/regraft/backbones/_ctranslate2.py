"""Read CTranslate2 files: a Whisper model's tensors by their names in the file, and by transformers' names.

Layout: version, name of the model type, revision and number of tensors; then for each its name, rank, sizes, type,
number of bytes and bytes. Integers are little-endian; names end in a zero byte, which is included in their length.
Source: CTranslate2 4, src/models/model.cc.
"""

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regraft.errors import WeightsError

_TYPES = {0: "<f4", 4: "<f2"}
"""Supported number types, by code: float32 and float16."""
_NAMES = (
    (r"position_encodings/encodings$", "embed_positions.weight"),
    (r"^embeddings/", "embed_tokens."),
    (r"^layer_(\d+)/self_attention/layer_norm/", r"layers.\1.self_attn_layer_norm."),
    (r"^layer_(\d+)/self_attention/linear_1/", r"layers.\1.self_attn.out_proj."),
    (r"^layer_(\d+)/attention/layer_norm/", r"layers.\1.encoder_attn_layer_norm."),
    (r"^layer_(\d+)/attention/linear_0/", r"layers.\1.encoder_attn.q_proj."),
    (r"^layer_(\d+)/attention/linear_2/", r"layers.\1.encoder_attn.out_proj."),
    (r"^layer_(\d+)/ffn/layer_norm/", r"layers.\1.final_layer_norm."),
    (r"^layer_(\d+)/ffn/linear_0/", r"layers.\1.fc1."),
    (r"^layer_(\d+)/ffn/linear_1/", r"layers.\1.fc2."),
    (r"/", "."),
    (r"gamma$", "weight"),
    (r"beta$", "bias"),
)
"""From names below `encoder/` or `decoder/` to those of the network, one after another."""
_JOINT = {"self_attention/linear_0": ("self_attn", "qkv"), "attention/linear_1": ("encoder_attn", "kv")}
"""Layers that hold several of the network's: its attention, and the projections in their order."""


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a file, floats as float32; tensors of other types are skipped.

    Raises:
        WeightsError: the file is not a CTranslate2 file, or is truncated.
    """
    data, at = path.read_bytes(), 0

    def number(code: str) -> int:
        nonlocal at
        (found,) = struct.unpack_from(f"<{code}", data, at)
        at += struct.calcsize(code)
        return int(found)

    def text() -> str:
        nonlocal at
        length = number("H")
        at += length
        return data[at - length : at - 1].decode()

    tensors = {}
    try:
        _, _, _, count = number("I"), text(), number("I"), number("I")
        for _ in range(count):
            name, rank = text(), number("B")
            shape, kind, size = [number("I") for _ in range(rank)], number("B"), number("I")
            if kind in _TYPES:
                array = np.frombuffer(data, _TYPES[kind], size // np.dtype(_TYPES[kind]).itemsize, at)
                tensors[name] = array.reshape(shape).astype(np.float32)
            at += size
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise WeightsError(f"{path} is not a valid CTranslate2 model: {error}.", fix="download it again.") from error
    return tensors


def whisper(path: Path, expected: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tensors of the network, or of its encoder alone if no others are expected. The file stores queries,
    keys and values in one tensor, with a key bias of 0, and no output layer, which is the table of tokens.

    Raises:
        WeightsError: the file cannot be read.
    """
    import torch

    found = {}
    for name, array in read_ctranslate2(path).items():
        side, _, own = name.partition("/")
        before = f"model.{side}." if "proj_out.weight" in expected else {"encoder": ""}.get(side, "-")
        if joint := re.fullmatch(rf"layer_(\d+)/({'|'.join(_JOINT)})/(weight|bias)", own):
            attention, parts = _JOINT[joint[2]]
            for part, rows in zip(parts, np.split(array, len(parts)), strict=True):
                found[f"{before}layers.{joint[1]}.{attention}.{part}_proj.{joint[3]}"] = rows
            continue
        for pattern, new in _NAMES:
            own = re.sub(pattern, new, own)
        found[before + own] = array
    if (words := found.get("model.decoder.embed_tokens.weight")) is not None:
        found["proj_out.weight"] = words
    return {name: torch.from_numpy(np.array(array)) for name, array in found.items() if name in expected}
