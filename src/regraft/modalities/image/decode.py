"""The image decoder: converts the bytes of a file to pixels, identically everywhere, completely or not at all.

In order: the header is read and a size above the limit refused before anything is decompressed; the first frame (of an
animation) or page is decoded completely; the EXIF orientation is applied; grey, palette, CMYK and 16-bit images become
8-bit RGB; transparent areas are placed on white. 16-bit grey is scaled by its full range (65,535 becomes 255), so a
12-bit image in a 16-bit file is dark; of 16-bit colour the upper byte is kept; colour profiles are not applied (nor are
they in torchvision). DICOM files are read by `dicom`, arrays (`.npy`) by `planes`. One channel is the weighted sum of
red, green and blue by ITU-R 601 (0.299, 0.587, 0.114); of four channels, the fourth is transparency.

Truncated files are refused, and so are PNG files with wrong checksums. Changed bytes in the middle of a JPEG are not
detected, since the format has no checksums. Pillow is imported on the first call.

`image_of` accepts any input that users may pass to a model, and returns the image that the decoder would produce.
`decoder` identifies the decoder in one line for the keys of stores. The version of the JPEG library is only known to
Pillow's compiled part, and loading that takes longer than a warm scan; so the line is cached together with the size and
time of that part, and Pillow is loaded only after a new installation.

`golden_files` are inputs generated from a seed. Their predictions are saved with a model, so that every machine can
check its own. Users' examples are never used for this: models are shared, and patients' images must not be. The images
are PNG files of smooth colour fields with noise, in several sizes, so that decoding, resizing and cropping are checked
too; the digest of their pixels is saved. For a network with other than one or three channels they are arrays in numpy's
format.

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
"""Name and revision of this decoder; the revision is raised when the pixels of any image change."""

MAX_PIXELS = 89_478_485
"""Maximum number of pixels of an image, unless `REGRAFT_MAX_PIXELS` sets another limit: Pillow's own limit, a quarter
of a gibibyte at three bytes per pixel."""


def largest() -> int:
    """Return the maximum number of pixels of an image. It depends on the machine's memory; so it is set in the
    environment, for all commands.

    Raises:
        BadRequest: `REGRAFT_MAX_PIXELS` is not a whole number above zero.
    """
    given = os.environ.get(LIMIT) or str(MAX_PIXELS)
    if not given.isdecimal() or not int(given):
        raise BadRequest(f"{LIMIT} is {given!r}; expected an integer number of pixels.", fix=f"set it to {MAX_PIXELS}.")
    return int(given)


def decode(source: Path | bytes, *, channels: int = 3, max_pixels: int = 0, name: str = "") -> "PillowImage | Planes":
    """Decode the image in `source` (a file, or its bytes), upright; errors call it `name`.

    Returns a Pillow image in mode RGB, or in mode L for one channel; planes for other numbers of channels. With
    `channels=0` the image is RGB, except that arrays with other than one or three channels are planes. `max_pixels` is
    the size limit; 0: that of `largest`.

    Raises:
        Undecodable: the file is missing, truncated, damaged, not an image, too large, or has other channels.
        MissingExtra: it is DICOM, and pydicom is not installed.
    """
    max_pixels = max_pixels or largest()
    if isinstance(source, bytes):
        return _decode(source, channels, max_pixels, name or "The image")
    return _decode(read(source), channels, max_pixels, name or str(source))


def read(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        Undecodable: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise Undecodable(unreadable(path, error), str(path)) from error


def patient(data: bytes, *, name: str) -> int:
    """Return an integer that identifies the patient in a DICOM file with the bytes `data`; 0 if the file has no patient
    ID.

    Raises:
        Undecodable: it is damaged.
        MissingExtra: pydicom is not installed.
    """
    try:
        return patient_of(data, name)
    except Unreadable as error:
        raise Undecodable(str(error), name) from error.__cause__


def in_channels(image: "PillowImage | Planes", channels: int, name: str) -> "PillowImage | Planes":
    """Convert a decoded image to `channels` channels; 0 leaves it unchanged.

    Raises:
        Undecodable: its channels cannot be converted to these.
    """
    found = num_channels(image)
    if channels and not fits(found, channels):
        raise Undecodable(f"it has {counted(found, 'channel')}; expected {channels}", name)
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
    """Convert user input to an example's contents; it is validated when it is read."""
    return {"file": File(Path(given)) if isinstance(given, str | Path) else Inline(given)}


def image_of(content: Content, channels: int = 3) -> "PillowImage | Planes":
    """Return the image with `channels` channels, upright; with three, transparent areas are placed on white.

    The content is a file, or holds the bytes of one, an array of uint8 (h w; or h w c with the requested channels, then
    also uint16; or h w c with 1, 3 or 4 channels, the fourth being transparency), or a Pillow image.

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
    """Return the bytes of an image file with every pixel of the content, so that any input is digested, decoded and
    stored like other examples.

    Raises:
        Undecodable: the file cannot be read, or the content is an array or object that is not an image.
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
    """Whether an array has the requested channels, with 8 or 16 bits."""
    return array.size > 0 and array.dtype in (np.uint8, np.uint16) and array.shape[2:] == (channels,)


def _of_array(array: np.ndarray, channels: int) -> PillowImage:
    from PIL import Image

    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise Undecodable(
            f"it has shape {array.shape} and dtype {array.dtype}; expected uint8 of shape (height, width, {channels})",
            "The array",
        )
    if not array.size:
        raise Undecodable("it is empty", "The array")
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2:] == (1,) else array))


def _of_pillow(given: object) -> PillowImage:
    from PIL import Image

    if not isinstance(given, Image.Image):
        raise Undecodable(
            f"it is a {type(given).__name__}; expected a path, the bytes of a file, an array or a Pillow image",
            "The input",
        )
    return given


def _as_file(image: PillowImage) -> bytes:
    """Encode the image as PNG and keep its orientation."""
    buffer = io.BytesIO()
    try:
        kept = image.convert("RGB") if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") else image
        kept.save(buffer, "PNG", compress_level=0, exif=image.getexif())
    except (OSError, ValueError) as error:
        raise Undecodable(f"its mode {image.mode} is not supported", "The image") from error
    return buffer.getvalue()


def decoder(*, dicom: bool = False) -> str:
    """Return the decoder's name and revision, with the versions that determine its pixels: Pillow's and the JPEG
    library's.

    With `dicom`, if DICOM files are among those decoded, also those of pydicom and its plug-ins.
    """
    return f"{_pillow()} {reader()}" if dicom else _pillow()


@lru_cache(maxsize=1)
def _pillow() -> str:
    stamp, path = _stamp(), cache_home() / "scan" / "decoder.json"
    with suppress(OSError, ValueError, LookupError, TypeError):  # not cached yet
        known = json.loads(path.read_bytes())
        if stamp and known["stamp"] == stamp:
            return str(known["decoder"])
    line = _asked()
    with suppress(OSError, OutOfSpace):  # an unwritable cache only costs time
        write_json(path, {"stamp": stamp, "decoder": line})
    return line


def _asked() -> str:
    import PIL
    from PIL import _imaging

    jpeg = getattr(_imaging, "libjpeg_turbo_version", None) or _imaging.jpeglib_version
    return f"{DECODER} pillow-{PIL.__version__} jpeg-{jpeg}"


def _stamp() -> list[str | int]:
    """Return the revision, and path, size and time of Pillow's compiled part; empty if it cannot be found."""
    spec = find_spec("PIL")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for part in sorted(Path(folder).glob("_imaging.*")):
            found = part.stat()
            return [DECODER, str(part), found.st_size, found.st_mtime_ns]
    return []


SIZES_PX = ((320, 240), (200, 300), (64, 64), (500, 375))
"""Width and height of each golden image."""


def golden_files(seed: int, channels: int = 3) -> list[bytes]:
    """Return the files, in the order of `SIZES_PX`; for one channel, the same as for three: decoding makes them
    grey."""
    return [_file(_pixels(seed, i, width, height, channels)) for i, (width, height) in enumerate(SIZES_PX)]


def golden_digests(seed: int, channels: int = 3) -> list[str]:
    """Return digests of the pixels, in the order of `SIZES_PX`."""
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
    """Generate pixels with integer arithmetic from raw PCG64 output, so that all platforms give the same bytes."""
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
