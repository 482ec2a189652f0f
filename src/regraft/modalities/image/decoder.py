"""What decodes here, as one line for the keys of stores; known without loading Pillow when nothing was installed since.

The version of the JPEG library stands only inside Pillow's compiled part, and loading that takes longer than a warm
scan. So the line is remembered in the cache together with the size and time of that part.

Inputs made from a seed, whose predictions travel with a model so that every machine can check its own.

Never the user's examples: a bundle travels, patients' images must not. The images are PNG files of smooth colour
fields with noise, of several sizes, so that decoding, resizing and cropping are checked along; the digest of their
pixels is kept. For a network of other than one or three channels they are arrays in numpy's format.

Letters: h and w height and width in pixels, c channels.
"""

import io
import json
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from regraft.errors import OutOfSpace
from regraft.files import cache_home, write_json
from regraft.identity import derive_seed, digest_bytes
from regraft.modalities.image.decode import DECODER
from regraft.modalities.image.dicom import reader


def decoder(*, dicom: bool = False) -> str:
    """Name and revision of the decoder with the versions that decide its pixels: Pillow's and the JPEG library's.

    With `dicom`, where DICOM files are among those decoded, pydicom's and its helpers' too.
    """
    return f"{_pillow()} {reader()}" if dicom else _pillow()


@lru_cache(maxsize=1)
def _pillow() -> str:
    stamp, path = _stamp(), cache_home() / "scan" / "decoder.json"
    with suppress(OSError, ValueError, LookupError, TypeError):  # not remembered yet
        known = json.loads(path.read_bytes())
        if stamp and known["stamp"] == stamp:
            return str(known["decoder"])
    line = _asked()
    with suppress(OSError, OutOfSpace):  # a cache that cannot be written costs time, nothing else
        write_json(path, {"stamp": stamp, "decoder": line})
    return line


def _asked() -> str:
    import PIL
    from PIL import _imaging

    jpeg = getattr(_imaging, "libjpeg_turbo_version", None) or _imaging.jpeglib_version
    return f"{DECODER} pillow-{PIL.__version__} jpeg-{jpeg}"


def _stamp() -> list[str | int]:
    """The revision, and place, size and time of Pillow's compiled part; empty when it cannot be found."""
    spec = find_spec("PIL")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for part in sorted(Path(folder).glob("_imaging.*")):
            found = part.stat()
            return [DECODER, str(part), found.st_size, found.st_mtime_ns]
    return []


SIZES_PX = ((320, 240), (200, 300), (64, 64), (500, 375))
"""Width and height of each golden image."""


def golden_files(seed: int, channels: int = 3) -> list[bytes]:
    """The files, in the order of `SIZES_PX`; for one channel, those for three: decoding makes them grey."""
    return [_file(_pixels(seed, i, width, height, channels)) for i, (width, height) in enumerate(SIZES_PX)]


def golden_digests(seed: int, channels: int = 3) -> list[str]:
    """Digests of the pixels, in the order of `SIZES_PX`."""
    sizes = enumerate(SIZES_PX)
    return [digest_bytes(_pixels(seed, i, width, height, channels).tobytes()) for i, (width, height) in sizes]


def _file(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    if pixels.shape[2] == 3:
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    else:
        np.lib.format.write_array(buffer, pixels, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _pixels(seed: int, number: int, width: int, height: int, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Whole-number arithmetic on raw PCG64 output alone, so that every platform gives the same bytes."""
    planes_made = 3 if channels == 1 else channels
    source = np.random.PCG64(derive_seed(seed, "golden", number))
    noise = source.random_raw(width * height * planes_made).astype(np.uint64) >> np.uint64(58)
    steps = 1 + (source.random_raw(2 * planes_made) >> np.uint64(61)).astype(np.int64)
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    planes = [
        (x * int(steps[2 * c]) * 255 // width + y * int(steps[2 * c + 1]) * 255 // height) % 192
        for c in range(planes_made)
    ]
    field = np.stack(planes, axis=2) + noise.reshape(height, width, planes_made).astype(np.int64)
    return field.astype(np.uint8)
