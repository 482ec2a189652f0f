"""Images with any number of channels: several grey planes of one size, each cropped and resized separately.

Shapes: h and w height and width in pixels, c channels.

Pillow has modes for one, three and four channels, and treats the fourth as transparency, which resizing mixes into the
others. Here all channels are independent. 16-bit arrays are scaled by their full range (65,535 becomes 255), like
16-bit images. `PillowImage`, the type of a decoded image, accepts any object at run time, so that Pillow need not be
imported.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import UInt8, UInt16

if TYPE_CHECKING:
    from PIL.Image import Image

    PillowImage = Image
else:
    PillowImage = object

LIMIT = "REGRAFT_MAX_PIXELS"
"""Environment variable with the maximum number of pixels of an image."""


class Unreadable(Exception):  # never leaves this folder
    """The reason why a file cannot be read as an image, in a clause without its name."""


def refuse_large(width: int, height: int, max_pixels: int) -> None:
    """Raises: Unreadable: an image of this size is over the limit."""
    if width * height > max_pixels:
        raise Unreadable(
            f"its header declares {width} x {height} pixels, over the limit of {max_pixels:,} set by {LIMIT}"
        )


MARK = b"\x93NUMPY"
"""Signature of a file with one array (numpy.lib.format)."""
MAX_CHANNELS = 1024
"""Maximum size of the last axis of an array; larger ones are not treated as channels."""


@final
@dataclass(frozen=True, eq=False)
class Planes:
    """A decoded image with other than one or three channels, used in place of a Pillow image."""

    planes: tuple[PillowImage, ...]
    """The channels, each a Pillow image in mode L; at least one, all of the same size."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.planes[0].size

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.size[1]

    def crop(self, box: tuple[int, int, int, int]) -> "Planes":
        """Crop to `box`, as in `Image.crop`."""
        return self._each(lambda plane: plane.crop(box))

    def resize(self, size: tuple[int, int], resample: Any, **options: Any) -> "Planes":
        """Resize, as in `Image.resize`."""
        return self._each(lambda plane: plane.resize(size, resample, **options))

    def tobytes(self) -> bytes:
        """Return the pixels, channels last."""
        return as_array(self).tobytes()

    def in_three(self) -> PillowImage:
        """Return the first channels as red, green and blue, repeated if there are fewer than three."""
        from PIL import Image

        return Image.merge("RGB", [self.planes[at % len(self.planes)] for at in range(3)])

    def mean(self) -> PillowImage:
        """Return the mean of all channels, in mode L."""
        from PIL import Image

        return Image.fromarray(np.rint(as_array(self).mean(axis=2)).astype(np.uint8))

    def _each(self, change: Callable[[Any], Any]) -> "Planes":
        return Planes(tuple(map(change, self.planes)))


def as_array(image: "PillowImage | Planes") -> UInt8[np.ndarray, "h w c"]:
    """Return the pixels of a decoded image, channels last."""
    if isinstance(image, Planes):
        return np.stack([np.asarray(plane, dtype=np.uint8) for plane in image.planes], axis=2)
    pixels: np.ndarray = np.asarray(image, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def of_array(array: UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]) -> "PillowImage | Planes":
    """Return the image with these pixels: in mode RGB for one or three channels, else planes."""
    from PIL import Image

    if array.dtype != np.uint8:
        array = ((array.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8)
    planes = tuple(Image.fromarray(np.ascontiguousarray(array[..., at])) for at in range(array.shape[2]))
    return Planes(planes).in_three() if len(planes) in (1, 3) else Planes(planes)


def of_file(data: bytes, max_pixels: int) -> "PillowImage | Planes":
    """Read the image in the bytes of an `.npy` file: h w or h w c, 8-bit or 16-bit unsigned. Executes nothing in the
    file.

    Raises:
        Unreadable: it is truncated, larger than `max_pixels`, or of another shape or type.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    except (ValueError, EOFError, SyntaxError, TokenError, MemoryError, RecursionError) as error:
        raise Unreadable("its numpy header is damaged") from error
    found = f"it is an array of {dtype} of shape {shape}"
    if dtype not in (np.uint8, np.uint16) or len(shape) not in (2, 3) or not all(shape):
        raise Unreadable(f"{found}; expected uint8 or uint16 of shape (height, width, channels)")
    if len(shape) == 3 and (shape[2] > MAX_CHANNELS or shape[0] <= 4 < shape[2]):
        raise Unreadable(f"{found}; the channels must come last")
    refuse_large(shape[1], shape[0], max_pixels)
    expected = file.tell() + int(np.prod(shape)) * dtype.itemsize
    if len(data) != expected:
        raise Unreadable(f"it is {'truncated' if len(data) < expected else 'longer than its header declares'}")
    file.seek(0)
    array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return of_array(array if array.ndim == 3 else array[..., None])


def num_channels(image: "PillowImage | Planes") -> int:
    """Return the number of channels in an image's file; 3 for any image read by Pillow, including grey ones."""
    return len(image.planes) if isinstance(image, Planes) else 3


def fits(found: int, wanted: int) -> bool:
    """Whether an image with `found` channels can be passed to a network that takes `wanted`.

    Images read by Pillow, colour or grey, can be passed as one channel, as three, or as four with transparency.
    """
    return found == wanted or (found == 3 and wanted in (1, 4))
