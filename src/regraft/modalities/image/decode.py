"""The one decoder: bytes of an image file to pixels, the same everywhere, whole or not at all.

What it does, in order: the header is read and a size above the limit refused before anything is unpacked; the first
frame (of an animation) or page is decoded whole; the camera's rotation (EXIF) is applied; grey, palette, CMYK and
16-bit images become RGB with 8 bits; transparent parts are laid on white. 16-bit grey is scaled by its full range
(65,535 becomes 255), so a 12-bit image in a 16-bit file comes out dark; of 16-bit colour the upper byte is kept;
colour profiles are not applied (torchvision does the same). DICOM files are read by `_dicom`, arrays (`.npy`) by
`planes`. Where one channel is asked for, red, green and blue are weighed by ITU-R 601 (0.299, 0.587, 0.114); where
four, transparency is the fourth.

A file that is cut off is refused. So is a PNG whose checksums fail. Not noticed: bytes changed in the middle of a
JPEG, over which the format has no checksum. Pillow is imported on the first call, not before.
"""

import os
from pathlib import Path

from regraft.errors import BadRequest, Undecodable
from regraft.files import unreadable
from regraft.modalities.image._pillow import read_picture
from regraft.modalities.image.dicom import is_dicom, patient_of, pixels_of
from regraft.modalities.image.planes import MARK, Planes, fits, num_channels, of_array, of_file
from regraft.modalities.image.types import LIMIT, PillowImage, Unreadable
from regraft.words import counted

DECODER = "pillow-2"
"""Name and revision of this decoder; the revision rises when the pixels of any image change."""

MAX_PIXELS = 89_478_485
"""Largest image that is decoded unless `REGRAFT_MAX_PIXELS` gives another limit, in pixels: Pillow's own limit, a
quarter of a gibibyte at three bytes a pixel."""


def largest() -> int:
    """The largest image that is decoded, in pixels: how much memory one image may take is a matter of the machine, so
    the limit is set in its environment, for every verb.

    Raises:
        BadRequest: `REGRAFT_MAX_PIXELS` is not a whole number above zero.
    """
    given = os.environ.get(LIMIT) or str(MAX_PIXELS)
    if not given.isdecimal() or not int(given):
        raise BadRequest(f"{LIMIT} is {given!r}; a whole number of pixels is expected.", fix=f"set it to {MAX_PIXELS}.")
    return int(given)


def decode(source: Path | bytes, *, channels: int = 3, max_pixels: int = 0, name: str = "") -> "PillowImage | Planes":
    """The image in `source` (a file, or its bytes), upright; errors call it `name`.

    A Pillow image in mode RGB, or in mode L for one channel; else planes. With `channels=0` it is RGB, save for arrays
    of other than one or three channels, which are planes. `max_pixels` is the limit; 0: that of `largest`.

    Raises:
        Undecodable: the file is missing, cut off, damaged, not an image, too large, or has other channels.
        MissingExtra: it is DICOM, and pydicom is not installed.
    """
    max_pixels = max_pixels or largest()
    if isinstance(source, bytes):
        return _decode(source, channels, max_pixels, name or "The image")
    return _decode(read(source), channels, max_pixels, name or str(source))


def read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        Undecodable: the system cannot read it.
    """
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise Undecodable(unreadable(path, error), str(path)) from error


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


def in_channels(image: "PillowImage | Planes", channels: int, name: str) -> "PillowImage | Planes":
    """A decoded image in so many channels; with 0 as it is.

    Raises:
        Undecodable: it has others, which cannot be turned into these.
    """
    found = num_channels(image)
    if channels and not fits(found, channels):
        raise Undecodable(f"it has {counted(found, 'channel')}, and not {channels}", name)
    if isinstance(image, Planes) or channels in (0, 3):
        return image
    return image.convert("L") if channels == 1 else Planes(image.convert("RGBA").split())


def _decode(data: bytes, channels: int, max_pixels: int, name: str) -> "PillowImage | Planes":
    try:
        if not data:
            raise Unreadable("it is empty")
        if is_dicom(data):
            found = of_array(pixels_of(data, max_pixels, name))
        elif data.startswith(MARK):
            found = of_file(data, max_pixels)
        else:
            found = read_picture(data, channels, max_pixels)
    except Unreadable as error:
        raise Undecodable(str(error), name) from error.__cause__
    return in_channels(found, channels, name)
