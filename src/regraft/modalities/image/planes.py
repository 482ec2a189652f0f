"""Images of any number of channels: several grey planes of one size, cut and resized one by one.

Shapes: h and w height and width in pixels, c channels.

Pillow has kinds for one, three and four channels, and of four it takes the last for transparency, which resizing mixes
into the others. Here a channel is a channel. Arrays of 16 bits are scaled by their full range (65,535 becomes 255), as
16-bit images are. `PillowImage`, the type of a decoded image, stands for any object at run time, so Pillow stays
unloaded.
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
"""The environment variable with the largest image that is decoded, in pixels."""


class Unreadable(Exception):  # never leaves the room
    """Why a file gives not an image, in a clause without its name."""


def refuse_large(width: int, height: int, max_pixels: int) -> None:
    """Raises: Unreadable: an image of this size is over the limit."""
    if width * height > max_pixels:
        raise Unreadable(
            f"its header announces {width} x {height} pixels, over the limit of {max_pixels:,} that {LIMIT} sets"
        )


MARK = b"\x93NUMPY"
"""How a file of one array begins (numpy.lib.format)."""
MAX_CHANNELS = 1024
"""Arrays with more on their last axis are taken for something else."""


@final
@dataclass(frozen=True, eq=False)
class Planes:
    """What decoding gives where an image has other than one or three channels; stands where a Pillow image does."""

    planes: tuple[PillowImage, ...]
    """The channels, each a Pillow image in mode L; at least one, all of one size."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.planes[0].size

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.size[1]

    def crop(self, box: tuple[int, int, int, int]) -> "Planes":
        """The part `box`, as `Image.crop` takes it."""
        return self._each(lambda plane: plane.crop(box))

    def resize(self, size: tuple[int, int], resample: Any, **options: Any) -> "Planes":
        """Resized as `Image.resize` does."""
        return self._each(lambda plane: plane.resize(size, resample, **options))

    def tobytes(self) -> bytes:
        """The pixels, channels last."""
        return as_array(self).tobytes()

    def in_three(self) -> PillowImage:
        """The first channels as red, green and blue, begun again where there are fewer."""
        from PIL import Image

        return Image.merge("RGB", [self.planes[at % len(self.planes)] for at in range(3)])

    def mean(self) -> PillowImage:
        """All channels averaged, in mode L."""
        from PIL import Image

        return Image.fromarray(np.rint(as_array(self).mean(axis=2)).astype(np.uint8))

    def _each(self, change: Callable[[Any], Any]) -> "Planes":
        return Planes(tuple(map(change, self.planes)))


def as_array(image: "PillowImage | Planes") -> UInt8[np.ndarray, "h w c"]:
    """The pixels of a decoded image, channels last."""
    if isinstance(image, Planes):
        return np.stack([np.asarray(plane, dtype=np.uint8) for plane in image.planes], axis=2)
    pixels: np.ndarray = np.asarray(image, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def of_array(array: UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]) -> "PillowImage | Planes":
    """The image with these pixels: in mode RGB for one channel or three, else planes."""
    from PIL import Image

    if array.dtype != np.uint8:
        array = ((array.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8)
    planes = tuple(Image.fromarray(np.ascontiguousarray(array[..., at])) for at in range(array.shape[2]))
    return Planes(planes).in_three() if len(planes) in (1, 3) else Planes(planes)


def of_file(data: bytes, max_pixels: int) -> "PillowImage | Planes":
    """The image in the bytes of an `.npy` file: h w or h w c, 8 or 16 bits without sign. Nothing in it is run.

    Raises:
        Unreadable: it is cut off, larger than `max_pixels`, or of another shape or type.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    except (ValueError, EOFError, SyntaxError, TokenError, MemoryError, RecursionError) as error:
        raise Unreadable("its header, of a numpy file, is damaged") from error
    found = f"it is an array of {dtype} of shape {shape}"
    if dtype not in (np.uint8, np.uint16) or len(shape) not in (2, 3) or not all(shape):
        raise Unreadable(f"{found}; uint8 or uint16 of shape (height, width, channels) is expected")
    if len(shape) == 3 and (shape[2] > MAX_CHANNELS or shape[0] <= 4 < shape[2]):
        raise Unreadable(f"{found}; the channels must come last")
    refuse_large(shape[1], shape[0], max_pixels)
    expected = file.tell() + int(np.prod(shape)) * dtype.itemsize
    if len(data) != expected:
        raise Unreadable(f"it is {'cut off' if len(data) < expected else 'longer than its header says'}")
    file.seek(0)
    array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return of_array(array if array.ndim == 3 else array[..., None])


def num_channels(image: "PillowImage | Planes") -> int:
    """How many channels an image has as its file holds it; 3 for whatever Pillow reads, grey ones too."""
    return len(image.planes) if isinstance(image, Planes) else 3


def fits(found: int, wanted: int) -> bool:
    """Whether an image of so many channels can be given to a network that takes `wanted`.

    What Pillow reads, colour or grey, can go in as one channel, as three, or as four with its transparency.
    """
    return found == wanted or (found == 3 and wanted in (1, 4))
