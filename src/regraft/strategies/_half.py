"""Whether a machine computes in bfloat16 by instructions of its own; by emulation it is several times slower."""

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is worth asking for on `device`: CUDA, and processors with AVX512-BF16 or AMX.

    There wide convolutions gain and depthwise ones lose: on a processor with AVX512-BF16 a training step of GoogLeNet
    runs 1.55 times as fast, and one of MobileNetV3 0.52 times (docs/results/step.md).
    """
    if device.type == "cpu":
        return any(bool(getattr(torch.cpu, name, _never)()) for name in _ASKED)
    return device.type == "cuda"


_ASKED = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
"""torch has no public name for them that its older releases share; where it has none of these, the answer is no."""


def _never() -> bool:
    return False
