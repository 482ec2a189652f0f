"""The type of a text stream, for signatures; at run time it stands for any object, for real streams are no `TextIO`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO as Stream
else:
    Stream = object

__all__ = ["Stream"]
