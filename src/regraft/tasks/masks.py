"""Masks: the class of every point of an example, stored compactly, and transformed with views.

A mask is a grid of class indices, row by row from the top, as large as its example. x increases to the right and y
downwards.

Letters: h and w rows and columns of an example, s rows and columns of a view's grid.
"""

import zlib
from base64 import b64decode
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

IGNORED = 255
"""Value of points to ignore."""


@dataclass(frozen=True)
class Mask:
    """A mask, compressed."""

    size: tuple[int, int]
    """Rows and columns."""
    data: str
    """Its values row by row, one byte each, compressed by zlib, in base 64."""
    numbers: tuple[int, ...]
    """The class index for each value; `IGNORED` for none."""

    def grid(self) -> UInt8[np.ndarray, "h w"]:
        """Return the class index of every point.

        Raises:
            ValueError: the mask is damaged.
        """
        table = np.full(256, IGNORED, dtype=np.uint8)
        table[: len(self.numbers)] = self.numbers
        try:
            found = np.frombuffer(zlib.decompress(b64decode(self.data)), dtype=np.uint8)
        except zlib.error as error:
            raise ValueError(f"a mask is damaged ({error})") from error
        return table[found.reshape(self.size)]


def in_view(
    grid: UInt8[np.ndarray, "h w"], placed: Float[np.ndarray, " 4"], flips: Bool[np.ndarray, " 2"], side: int
) -> UInt8[np.ndarray, "s s"]:
    """Return the part of a mask visible in a view, by the nearest point; `IGNORED` outside the example.

    `placed` and `flips` are the view's placement: the visible part of the example, and how it was flipped.
    """
    shares = (np.arange(side) + 0.5) / side
    across, down = (1 - shares if flipped else shares for flipped in flips)
    x = np.floor(placed[0] + across * (placed[2] - placed[0])).astype(np.int64)
    y = np.floor(placed[1] + down * (placed[3] - placed[1])).astype(np.int64)
    height, width = grid.shape
    found = grid[np.clip(y, 0, height - 1)][:, np.clip(x, 0, width - 1)]
    beyond = ((y < 0) | (y >= height))[:, None] | ((x < 0) | (x >= width))
    return np.where(beyond, np.uint8(IGNORED), found)
