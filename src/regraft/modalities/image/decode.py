"""The one decoder: bytes of an image file to pixels, the same everywhere, whole or not at all.

What it does, in order: the header is read and a size above the limit refused before anything is unpacked; the first
frame (of an animation) or page is decoded whole; the camera's rotation (EXIF) is applied; grey, palette, CMYK and
16-bit images become RGB with 8 bits; transparent parts are laid on white. 16-bit grey is scaled by its full range
(65,535 becomes 255), so a 12-bit image in a 16-bit file comes out dark; of 16-bit colour the upper byte is kept;
colour profiles are not applied (torchvision does the same). DICOM files are read by `_dicom`, arrays (`.npy`) by
`planes`. Where one channel is asked for, red, green and blue are weighed by ITU-R 601 (0.299, 0.587, 0.114); where
four, transparency is the fourth.

A file that is cut off is refused. So is a PNG whose checksums fail. Not noticed: bytes changed in the middle of a
JPEG, over which the format has no checksum. Pillow is imported on the first call, not before.

`image_of` takes whatever a user may hand over to a model, and gives the image that the one decoder would make of it.
`decoder` says what decodes here, in one line for the keys of stores, without loading Pillow when nothing was installed
since: the version of the JPEG library stands only inside Pillow's compiled part, and loading that takes longer than a
warm scan, so the line is remembered in the cache together with the size and time of that part.

`golden_files` are inputs made from a seed, whose predictions travel with a model so that every machine can check its
own; never the user's examples: a bundle travels, patients' images must not. The images are PNG files of smooth colour
fields with noise, of several sizes, so that decoding, resizing and cropping are checked along; the digest of their
pixels is kept. For a network of other than one or three channels they are arrays in numpy's format.

Letters: h and w height and width in pixels, c channels.
"""

import io
import json
import os
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from regraft.contracts.example import Content, Contents, File, Inline
from regraft.errors import BadRequest, OutOfSpace, Undecodable
from regraft.files import cache_home, unreadable, write_json
from regraft.identity import derive_seed, digest_bytes
from regraft.modalities.image._pillow import read_picture
from regraft.modalities.image.dicom import is_dicom, patient_of, pixels_of, reader
from regraft.modalities.image.planes import (
    LIMIT,
    MARK,
    PillowImage,
    Planes,
    Unreadable,
    fits,
    num_channels,
    of_array,
    of_file,
)
from regraft.words import counted

DECODER = "pillow-2"
"""Name and revision of this decoder; the revision rises when the pixels of any image change."""

MAX_PIXELS = 89_478_485
"""Largest image that is decoded unless `REGRAFT_MAX_PIXELS` gives another limit, in pixels: Pillow's own limit, a
quarter of a gibibyte at three bytes a pixel."""


def largest() -> int:
    """The largest image that is decoded, in pixels: how much memory one image may take is a matter of the machine, so
    the limit is set in its environment, for every verb.

    Raises:
        BadRequest: `REGRAFT_MAX_PIXELS` is not a whole number above zero.
    """
    given = os.environ.get(LIMIT) or str(MAX_PIXELS)
    if not given.isdecimal() or not int(given):
        raise BadRequest(f"{LIMIT} is {given!r}; a whole number of pixels is expected.", fix=f"set it to {MAX_PIXELS}.")
    return int(given)


def decode(source: Path | bytes, *, channels: int = 3, max_pixels: int = 0, name: str = "") -> "PillowImage | Planes":
    """The image in `source` (a file, or its bytes), upright; errors call it `name`.

    A Pillow image in mode RGB, or in mode L for one channel; else planes. With `channels=0` it is RGB, save for arrays
    of other than one or three channels, which are planes. `max_pixels` is the limit; 0: that of `largest`.

    Raises:
        Undecodable: the file is missing, cut off, damaged, not an image, too large, or has other channels.
        MissingExtra: it is DICOM, and pydicom is not installed.
    """
    max_pixels = max_pixels or largest()
    if isinstance(source, bytes):
        return _decode(source, channels, max_pixels, name or "The image")
    return _decode(read(source), channels, max_pixels, name or str(source))


def read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        Undecodable: the system cannot read it.
    """
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise Undecodable(unreadable(path, error), str(path)) from error


def patient(data: bytes, *, name: str) -> int:
    """A number that stands for the patient of the DICOM file whose bytes are `data`; 0 where it names none.

    Raises:
        Undecodable: it is damaged.
        MissingExtra: pydicom is not installed.
    """
    try:
        return patient_of(data, name)
    except Unreadable as error:
        raise Undecodable(str(error), name) from error.__cause__


def in_channels(image: "PillowImage | Planes", channels: int, name: str) -> "PillowImage | Planes":
    """A decoded image in so many channels; with 0 as it is.

    Raises:
        Undecodable: it has others, which cannot be turned into these.
    """
    found = num_channels(image)
    if channels and not fits(found, channels):
        raise Undecodable(f"it has {counted(found, 'channel')}, and not {channels}", name)
    if isinstance(image, Planes) or channels in (0, 3):
        return image
    return image.convert("L") if channels == 1 else Planes(image.convert("RGBA").split())


def _decode(data: bytes, channels: int, max_pixels: int, name: str) -> "PillowImage | Planes":
    try:
        if not data:
            raise Unreadable("it is empty")
        if is_dicom(data):
            found = of_array(pixels_of(data, max_pixels, name))
        elif data.startswith(MARK):
            found = of_file(data, max_pixels)
        else:
            found = read_picture(data, channels, max_pixels)
    except Unreadable as error:
        raise Undecodable(str(error), name) from error.__cause__
    return in_channels(found, channels, name)


Input: TypeAlias = str | Path | bytes | np.ndarray | PillowImage
"""A path, the bytes of a file, an array of uint8 (h w c), or a Pillow image."""
_ORIENTATION = 0x0112


def contents_of(given: Input) -> Contents:
    """What a user hands over, as an example's contents; it is looked at when it is read."""
    return {"file": File(Path(given)) if isinstance(given, str | Path) else Inline(given)}


def image_of(content: Content, channels: int = 3) -> "PillowImage | Planes":
    """The image in so many channels, upright; where three are asked for, transparent parts on white.

    The content is a file, or holds the bytes of one, an array of uint8 (h w, or h w c with as many channels as asked
    for, then of uint16 too, or with 1, 3 or 4, the last transparency), or a Pillow image.

    Raises:
        Undecodable: it cannot be read, or is none of these.
    """
    if isinstance(content, File):
        return decode(content.path, channels=channels)
    given = content.value
    if isinstance(given, bytes):
        return decode(given, channels=channels)
    if isinstance(given, np.ndarray) and _is_whole(given, channels):
        return in_channels(of_array(given), channels, "The array")
    image = _of_array(given, channels) if isinstance(given, np.ndarray) else _of_pillow(given)
    if image.mode == "RGB" and image.getexif().get(_ORIENTATION, 1) == 1:
        return in_channels(image, channels, "The image")
    return decode(_as_file(image), channels=channels)


def bytes_of(content: Content) -> bytes:
    """The bytes of an image file that holds every pixel of the content, so that whatever is given is digested, decoded
    and stored as any other example is.

    Raises:
        Undecodable: the system cannot read the file, or it is an array or an object that is no image.
    """
    if isinstance(content, File):
        return read(content.path)
    given = content.value
    if isinstance(given, bytes):
        return given
    if isinstance(given, np.ndarray) and given.ndim == 3 and given.shape[2] not in (1, 3, 4):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(given), allow_pickle=False)
        return buffer.getvalue()
    return _as_file(_of_array(given, 3) if isinstance(given, np.ndarray) else _of_pillow(given))


def is_one(given: object) -> bool:
    """Whether `given` is a single input rather than several."""
    if isinstance(given, np.ndarray):
        return given.ndim < 4
    return isinstance(given, str | Path | bytes) or hasattr(given, "getexif")


def _is_whole(array: np.ndarray, channels: int) -> bool:
    """Whether an array has the channels that are asked for, of 8 or 16 bits."""
    return array.size > 0 and array.dtype in (np.uint8, np.uint16) and array.shape[2:] == (channels,)


def _of_array(array: np.ndarray, channels: int) -> PillowImage:
    from PIL import Image

    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise Undecodable(
            f"it has shape {array.shape} and dtype {array.dtype}; uint8 of shape (height, width, {channels}) is "
            "expected",
            "The array",
        )
    if not array.size:
        raise Undecodable("it is empty", "The array")
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2:] == (1,) else array))


def _of_pillow(given: object) -> PillowImage:
    from PIL import Image

    if not isinstance(given, Image.Image):
        raise Undecodable(
            f"it is a {type(given).__name__}; a path, the bytes of a file, an array or a Pillow image is expected",
            "The input",
        )
    return given


def _as_file(image: PillowImage) -> bytes:
    """The image as a PNG, its rotation kept."""
    buffer = io.BytesIO()
    try:
        kept = image.convert("RGB") if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") else image
        kept.save(buffer, "PNG", compress_level=0, exif=image.getexif())
    except (OSError, ValueError) as error:
        raise Undecodable(f"its mode {image.mode} is not known", "The image") from error
    return buffer.getvalue()


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
