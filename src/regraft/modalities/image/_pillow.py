"""Reading of image files with Pillow: complete or not at all, upright, in 8-bit colour.

Functions here raise `Unreadable`, with a reason in a clause; `decode` adds the file's name.
"""

import io
import os
import struct
import threading
import zlib

import numpy as np

from regraft.modalities.image.planes import LIMIT, PillowImage, Planes, Unreadable, refuse_large

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF")
"""Accepted formats, detected by content and not by name. EPS and similar formats, which run a program, are excluded."""

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
"""Errors that Pillow's readers raise on damaged files, besides `Image.DecompressionBombError`."""

_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation -> Pillow's `Transpose`: flips, rotations (anticlockwise), transpose, transverse."""

_PHOTOMETRIC, _WHITE_IS_ZERO, _SAMPLES = 262, 0, 277
"""TIFF 6.0, section 8: the fields for photometric interpretation (whether 0 is black or white) and samples per
pixel."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NOT_READ = (
    (0, b"version https://git-lfs", "a Git LFS pointer; `git lfs pull` replaces it with the image"),
    (4, b"ftyp", "HEIC or a video, which are not supported; save it as JPEG"),
    (8, b"CR\2\0", "raw camera data, which are not supported; save them as JPEG or TIFF"),
    (0, b"%PDF", "a PDF, which is not supported; save its images as PNG"),
    (0, b"%!PS", "PostScript, which is a program and not executed; save it as PNG"),
    (0, b"8BPS", "a Photoshop document, which is not supported; save it as PNG or TIFF"),
    (0, b"{", "text (apparently JSON), not an image"),
)
"""Other content often saved with an image's extension: position of its signature, signature, description."""
_PNG = b"\x89PNG\r\n\x1a\n"
_opening = threading.Lock()


def read_picture(data: bytes, channels: int, max_pixels: int) -> "PillowImage | Planes":
    """Read the first frame in mode RGB, transparent areas on white; with `channels=4`, transparency is the fourth
    plane.

    Raises:
        Unreadable: it is truncated, damaged, not an image, or larger than `max_pixels`.
    """
    from PIL import Image, ImageFile, UnidentifiedImageError

    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image = _open(data, max_pixels)
        refuse_large(image.width, image.height, max_pixels)
        if data.startswith(_PNG):
            _check_png(data)
        image.load()
        return _with_transparency(image) if channels == 4 else _in_rgb(image)
    except UnidentifiedImageError as error:
        raise Unreadable(_what_else(data)) from error
    except (*_FAULTS, Image.DecompressionBombError) as error:
        raise Unreadable(_said(error)) from error


def _open(data: bytes, max_pixels: int) -> PillowImage:
    """Open an image and read its header. Pillow's own size limit is disabled meanwhile, since ours is checked next. If
    ours is set in the environment, Pillow's is raised to it, as Pillow checks it again when cropping. A colour profile
    or a text may take as much memory as Pillow allows for all texts of a file (64 MiB)."""
    from PIL import Image, PngImagePlugin

    with _opening:
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = max(limit, max_pixels) if limit and os.environ.get(LIMIT) else limit


def _check_png(data: bytes) -> None:
    """Check every chunk's length and checksum (PNG specification, section 5.3); Pillow skips those of the pixel
    data."""
    at = len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        kind = data[at + 4 : at + 8]
        (stated,) = struct.unpack_from(">I", data, end)
        if kind in (b"IHDR", b"PLTE", b"IDAT") and zlib.crc32(data[at + 4 : end]) != stated:
            raise Unreadable(f"the checksum of its {kind.decode()} part is wrong")
        if kind == b"IEND":
            return
        at = end + 4
    raise Unreadable("the file is truncated")


def _upright(image: PillowImage) -> PillowImage:
    """Return the image rotated according to its EXIF orientation; an unreadable orientation is ignored."""
    from PIL import Image

    try:
        orientation = image.getexif().get(0x0112)
    except _FAULTS:
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(Image.Transpose(turn))


def _in_rgb(image: PillowImage) -> PillowImage:
    """Convert to upright RGB."""
    from PIL import Image

    _refuse_floats(image)
    if _has_16_bits(image):
        return _from_16_bits(image)
    upright = _upright(image)
    if upright.has_transparency_data:
        ground = Image.new("RGBA", upright.size, (255, 255, 255, 255))
        ground.alpha_composite(upright.convert("RGBA"))
        return ground.convert("RGB")
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _with_transparency(image: PillowImage) -> Planes:
    """Convert to upright red, green, blue and opacity."""
    _refuse_floats(image)
    if image.format == "TIFF" and image.mode == "RGB" and _tag(image, _SAMPLES) == 4:
        raise Unreadable("its fourth band is not transparency and would be lost; an .npy array can hold it")
    colour = _from_16_bits(image) if _has_16_bits(image) else _upright(image)
    return Planes(colour.convert("RGBA").split())


def _refuse_floats(image: PillowImage) -> None:
    if image.mode == "F":
        raise Unreadable("it holds floating-point values, whose range is undefined; expected 8 or 16 bits")


def _has_16_bits(image: PillowImage) -> bool:
    """Whether the image is 16-bit grey, or 32-bit grey that may hold 16-bit values."""
    return image.mode == "I" or image.mode.startswith("I;16")


def _from_16_bits(image: PillowImage) -> PillowImage:
    from PIL import Image

    values = np.asarray(_upright(image)).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise Unreadable("it holds 32-bit values outside 0 to 65535; expected 8 or 16 bits")
    if image.format == "TIFF" and _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts 8-bit values only
        values = 65535 - values
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


def _tag(image: PillowImage, number: int) -> int | None:
    """Return the value of a TIFF field; None if it is missing."""
    return getattr(image, "tag_v2", {}).get(number)


def _what_else(data: bytes) -> str:
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
        return "it contains markup (a web page or SVG), not an image"
    if not data.strip(b"\0"):
        return "it contains only zeros"
    for at, mark, what in _NOT_READ:
        if data.startswith(mark, at):
            return f"it is {what}"
    if data.startswith(_TIFF):
        return "it is a damaged TIFF, or one of an unsupported kind (supported: 1, 3 or 4 bands of 8 or 16 bits)"
    return (
        "it is not an image in a known format (" + ", ".join((*FORMATS, "DICOM", "NPY")) + "), or its header is damaged"
    )


def _said(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return str(error).strip().rstrip(".") or type(error).__name__
