"""The type of a decoded picture, for signatures; at run time it stands for any object, so Pillow stays unloaded."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
else:
    Picture = object

__all__ = ["Picture"]
