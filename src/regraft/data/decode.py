"""The one decoder: bytes of a picture file to RGB, the same everywhere, whole or not at all.

What it does, in order: the header is read and a size above the limit refused before anything is unpacked; the first
frame (of an animation) or page is decoded whole; the camera's rotation (EXIF) is applied; grey, palette, CMYK and
16-bit pictures become RGB with 8 bits; transparent parts are laid on white. 16-bit grey is scaled by its full range
(65,535 becomes 255), so a 12-bit picture in a 16-bit file comes out dark; of 16-bit colour the upper byte is kept;
colour profiles are not applied (torchvision does the same). DICOM files are read by `_dicom`.

A file that is cut off is refused. So is a PNG whose checksums fail. Not noticed: bytes changed in the middle of a
JPEG, over which the format has no checksum. Pillow is imported on the first call, not before.
"""

import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from regraft.data._dicom import Unreadable, is_dicom, patient_of, pixels_of
from regraft.data.picture import Picture
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

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
"""TIFF 6.0, section 4: the tag that says whether 0 is black or white."""

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


def decode(source: Path | bytes, *, max_pixels: int = MAX_PIXELS, name: str = "") -> Picture:
    """The picture in `source` (a file, or its bytes) as a Pillow image in mode RGB, upright; errors call it `name`.

    Raises:
        Undecodable: the file is missing, cut off, damaged, no picture, or larger than `max_pixels`.
        MissingExtra: it is DICOM, and pydicom is not installed.
    """
    if isinstance(source, bytes):
        return _decode(source, max_pixels, name or "The picture")
    return _decode(read(source), max_pixels, name or str(source))


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


def as_array(image: Picture) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of an image in mode RGB."""
    return np.asarray(image, dtype=np.uint8)


def _decode(data: bytes, max_pixels: int, name: str) -> Picture:
    from PIL import Image, ImageFile, UnidentifiedImageError

    if not data:
        raise Undecodable("it is empty", name)
    if is_dicom(data):
        try:
            return Image.fromarray(pixels_of(data, max_pixels, name)).convert("RGB")
        except Unreadable as error:
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
        return _in_rgb(_upright(image), white_is_zero=_is_white_zero(image))
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
