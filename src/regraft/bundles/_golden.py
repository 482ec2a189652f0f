"""Inputs made from a seed, whose predictions travel with a model so that every machine can check its own.

Never the user's examples: a bundle travels, patients' pictures must not. The pictures are PNG files of smooth colour
fields with noise, of several sizes, so that decoding, resizing and cropping are checked along; the digest of their
pixels is kept.
"""

import io

import numpy as np
from jaxtyping import UInt8

from regraft.activations.memo import Memo
from regraft.identity import derive_seed, digest_bytes

SIZES_PX = ((320, 240), (200, 300), (64, 64), (500, 375))
"""Width and height of each golden picture."""


def golden_files(seed: int) -> list[bytes]:
    """The PNG files, in the order of `SIZES_PX`."""
    return [_png(_pixels(seed, i, width, height)) for i, (width, height) in enumerate(SIZES_PX)]


def golden_digests(seed: int) -> list[str]:
    """Digests of the pixels, in the order of `SIZES_PX`."""
    return [digest_bytes(_pixels(seed, i, width, height).tobytes()) for i, (width, height) in enumerate(SIZES_PX)]


def known_digests(seed: int, memo: Memo) -> list[str]:
    """The same, remembered: making the pictures takes longer than all the rest of writing a small model."""
    key = ["golden inputs", 1, seed, list(map(list, SIZES_PX))]
    if isinstance(known := memo.get(key), list):
        return list(map(str, known))
    digests = golden_digests(seed)
    memo.put(key, digests)
    return digests


def _png(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _pixels(seed: int, number: int, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """Whole-number arithmetic on raw PCG64 output alone, so that every platform gives the same bytes."""
    source = np.random.PCG64(derive_seed(seed, "golden", number))
    noise = source.random_raw(width * height * 3).astype(np.uint64) >> np.uint64(58)
    steps = 1 + (source.random_raw(6) >> np.uint64(61)).astype(np.int64)
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    planes = [
        (x * int(steps[2 * c]) * 255 // width + y * int(steps[2 * c + 1]) * 255 // height) % 192 for c in range(3)
    ]
    field = np.stack(planes, axis=2) + noise.reshape(height, width, 3).astype(np.int64)
    return field.astype(np.uint8)
