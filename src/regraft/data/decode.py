"""The one decoder: bytes of a picture file to pixels, the same everywhere, whole or not at all.

What it does, in order: the header is read and a size above the limit refused before anything is unpacked; the first
frame (of an animation) or page is decoded whole; the camera's rotation (EXIF) is applied; grey, palette, CMYK and
16-bit pictures become RGB with 8 bits; transparent parts are laid on white. 16-bit grey is scaled by its full range
(65,535 becomes 255), so a 12-bit picture in a 16-bit file comes out dark; of 16-bit colour the upper byte is kept;
colour profiles are not applied (torchvision does the same). DICOM files are read by `_dicom`, arrays (`.npy`) by
`planes`. Where one channel is asked for, red, green and blue are weighed by ITU-R 601 (0.299, 0.587, 0.114); where
four, transparency is the fourth.

A file that is cut off is refused. So is a PNG whose checksums fail. Not noticed: bytes changed in the middle of a
JPEG, over which the format has no checksum. Pillow is imported on the first call, not before.
"""

import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np

from regraft.data._dicom import Unreadable, is_dicom, patient_of, pixels_of
from regraft.data.picture import Picture
from regraft.data.planes import MARK, NoPlanes, Planes, fits, num_channels, of_file
from regraft.errors import BadData

DECODER = "pillow-2"
"""Name and revision of this decoder; the revision rises when the pixels of any picture change."""

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded unless another limit is given, in pixels: Pillow's own limit, a quarter of a
gibibyte at three bytes a pixel."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF")
"""Formats that are tried, by content and not by name. EPS and its like, which run a program, are not among them."""

_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    EOFError,
    RuntimeError,
    MemoryError,
    Warning,
    struct.error,
    zlib.error,
)
"""What Pillow's readers are seen to raise on damaged files; `Image.DecompressionBombError` comes on top."""

_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation to Pillow's `Transpose`: flips, turns (anticlockwise), transpose, transverse."""

_PHOTOMETRIC, _WHITE_IS_ZERO, _SAMPLES = 262, 0, 277
"""TIFF 6.0, section 8: the tags that say whether 0 is black or white, and how many bands there are."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_opening = threading.Lock()


class Undecodable(BadData):
    """A file that is not a whole picture; `reason` says why, in a clause without the file's name."""

    def __init__(self, reason: str, name: str = "The picture") -> None:
        super().__init__(
            f"{name} cannot be decoded: {reason}.", fix="open it and save it again, or take it out of the data."
        )
        self.reason = reason


def decode(
    source: Path | bytes, *, channels: int = 3, max_pixels: int = MAX_PIXELS, name: str = ""
) -> "Picture | Planes":
    """The picture in `source` (a file, or its bytes), upright; errors call it `name`.

    A Pillow image in mode RGB, or in mode L for one channel; else planes. With `channels=0` it is RGB, save for arrays
    of other than one or three channels, which are planes.

    Raises:
        Undecodable: the file is missing, cut off, damaged, no picture, larger than `max_pixels`, or has other channels.
        MissingExtra: it is DICOM, and pydicom is not installed.
    """
    if isinstance(source, bytes):
        return _decode(source, channels, max_pixels, name or "The picture")
    return _decode(read(source), channels, max_pixels, name or str(source))


def read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        Undecodable: the system cannot read it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise Undecodable(f"it cannot be read ({error.strerror or error})", str(path)) from error


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


def in_channels(image: "Picture | Planes", channels: int, name: str) -> "Picture | Planes":
    """A decoded picture in so many channels; with 0 as it is.

    Raises:
        Undecodable: it has others, which cannot be turned into these.
    """
    found = num_channels(image)
    if channels and not fits(found, channels):
        raise Undecodable(f"it has {found} channels; {channels} are expected", name)
    if isinstance(image, Planes) or channels in (0, 3):
        return image
    return image.convert("L") if channels == 1 else Planes(image.convert("RGBA").split())


def _decode(data: bytes, channels: int, max_pixels: int, name: str) -> "Picture | Planes":
    from PIL import Image, ImageFile, UnidentifiedImageError

    if not data:
        raise Undecodable("it is empty", name)
    if is_dicom(data):
        try:
            return in_channels(Image.fromarray(pixels_of(data, max_pixels, name)).convert("RGB"), channels, name)
        except Unreadable as error:
            raise Undecodable(str(error), name) from error.__cause__
    if data.startswith(MARK):
        try:
            return in_channels(of_file(data, max_pixels), channels, name)
        except NoPlanes as error:
            raise Undecodable(str(error), name) from error.__cause__
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image = _open(data)
        if image.width * image.height > max_pixels:
            raise Undecodable(
                f"its header announces {image.width} x {image.height} pixels, over the limit of {max_pixels:,}", name
            )
        if data.startswith(_PNG):
            _check_png(data)
        image.load()
        upright = _upright(image)
        if channels == 4 and image.mode != "I" and not image.mode.startswith("I;16"):
            return _with_transparency(image, upright)
        return in_channels(_in_rgb(upright, white_is_zero=_is_white_zero(image)), channels, name)
    except Undecodable as error:
        raise Undecodable(error.reason, name) from error.__cause__
    except UnidentifiedImageError as error:
        raise Undecodable(_what_else(data), name) from error
    except (*_FAULTS, Image.DecompressionBombError) as error:
        raise Undecodable(_said(error), name) from error


def _open(data: bytes) -> Picture:
    """The image with its header read. Pillow's own limit is lifted meanwhile: ours, checked next, replaces it."""
    from PIL import Image

    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_png(data: bytes) -> None:
    """Check every chunk's length and checksum (PNG specification, section 5.3); Pillow skips those of the pixels."""
    at = len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        kind = data[at + 4 : at + 8]
        (stated,) = struct.unpack_from(">I", data, end)
        if kind in (b"IHDR", b"PLTE", b"IDAT") and zlib.crc32(data[at + 4 : end]) != stated:
            raise Undecodable(f"the checksum of its {kind.decode()} part is wrong")
        if kind == b"IEND":
            return
        at = end + 4
    raise Undecodable("the file is cut off")


def _upright(image: Picture) -> Picture:
    """The image as the camera meant it; a rotation that cannot be read is none."""
    from PIL import Image

    try:
        orientation = image.getexif().get(0x0112)
    except _FAULTS:
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(Image.Transpose(turn))


def _is_white_zero(image: Picture) -> bool:
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _in_rgb(image: Picture, *, white_is_zero: bool) -> Picture:
    from PIL import Image

    if image.mode == "F":
        raise Undecodable("it holds floating-point values, whose range no rule fixes; 8 or 16 bits are expected")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bits(image, white_is_zero)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        ground.alpha_composite(image.convert("RGBA"))
        return ground.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _with_transparency(image: Picture, upright: Picture) -> Planes:
    """Red, green, blue and opacity, from an image and the same turned upright."""
    bands = getattr(image, "tag_v2", {}).get(_SAMPLES, 0) if image.format == "TIFF" else 0
    if image.mode == "F" or (bands == 4 and image.mode == "RGB"):
        raise Undecodable("its fourth band is no transparency and would be lost; an .npy array can hold it"
                          if bands == 4 else "it holds floating-point values")  # fmt: skip
    return Planes(upright.convert("RGBA").split())


def _from_16_bits(image: Picture, white_is_zero: bool) -> Picture:
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise Undecodable("it holds 32-bit values outside 0 to 65535; 8 or 16 bits are expected")
    if white_is_zero:  # Pillow inverts 8 bits, and leaves 16
        values = 65535 - values
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


def _what_else(data: bytes) -> str:
    if data.lstrip()[:1] == b"<":
        return "it holds text in markup (a web page or SVG), not a picture"
    if not data.strip(b"\0"):
        return "it holds nothing but zeros"
    if data.startswith(_TIFF):
        return "it is a TIFF whose bands, bits or floats are not read (1, 3 or 4 bands of 8 or 16 bits are), or damaged"
    return "it is no picture in a known format (" + ", ".join(FORMATS) + "), or its header is damaged"


def _said(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return str(error).strip().rstrip(".") or type(error).__name__
