"""The type of a decoded image, for signatures, and what readers raise where a file gives none.

At run time the type stands for any object, so Pillow stays unloaded.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
else:
    PillowImage = object

__all__ = ["LIMIT", "PillowImage", "Unreadable", "refuse_large"]

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
