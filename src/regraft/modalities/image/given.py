"""Whatever a user may hand over to a model, as the decoded image that the one decoder would make of it."""

import io
from pathlib import Path
from typing import TypeAlias

import numpy as np

from regraft.contracts.example import Content, Contents, File, Inline
from regraft.errors import Undecodable
from regraft.modalities.image.decode import decode, in_channels, read
from regraft.modalities.image.planes import Planes, of_array
from regraft.modalities.image.types import PillowImage

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
