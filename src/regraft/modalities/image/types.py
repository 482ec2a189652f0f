"""The type of a decoded image, for signatures, and what readers raise where a file gives none.

At run time the type stands for any object, so Pillow stays unloaded.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
else:
    PillowImage = object

__all__ = ["PillowImage", "Unreadable"]


class Unreadable(Exception):  # never leaves the room
    """Why a file gives not an image, in a clause without its name."""
