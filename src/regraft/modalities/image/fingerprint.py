"""What a scan notes of one image: digests, size, and a miniature to find near-duplicates by."""

import hashlib
from functools import lru_cache

import numpy as np
from jaxtyping import Shaped, UInt8

from regraft.contracts.example import Content
from regraft.contracts.modality import FINGERPRINT
from regraft.errors import Undecodable
from regraft.files import shortened
from regraft.identity import digest_bytes
from regraft.modalities.image.decode import decode, patient
from regraft.modalities.image.dicom import is_dicom, reader
from regraft.modalities.image.given import bytes_of
from regraft.modalities.image.planes import Planes, num_channels
from regraft.modalities.image.types import PillowImage

GREY_SHAPE = (16, 17)
"""Rows and columns of the grey miniature: 16 differences in each of 16 rows make a hash of 256 bits."""
COLOUR_SHAPE = (4, 4, 3)
"""Rows, columns and channels of the colour miniature."""

MEASURED = (
    ("width", "<i4"),  # pixels, upright
    ("height", "<i4"),
    ("channels", "<i4"),  # as the file holds them: 3 for all that Pillow reads
    ("grey", "u1", GREY_SHAPE),
    ("colour", "u1", COLOUR_SHAPE),
)
"""What a fingerprint of an image has beyond what every fingerprint has."""
ROW = np.dtype([*FINGERPRINT, *MEASURED])
LAYOUT = 4
"""Rises when `MEASURED`, or how a field is computed, changes."""


def measure(content: Content, max_pixels: int) -> Shaped[np.ndarray, ""]:
    """Read and decode one image; a record of type `ROW`. A damaged one gives `error`."""
    row, name = np.zeros((), dtype=ROW), str(content)
    try:
        data = bytes_of(content)
        row["content"] = np.frombuffer(hashlib.blake2b(data, digest_size=20).digest(), dtype=np.uint8)
        if is_dicom(data):
            row["reader"] = dicom_reader()
            row["group"] = patient(data, name=name)
        image = decode(data, channels=0, max_pixels=max_pixels, name=name)
    except Undecodable as error:
        row["error"] = shortened(error.reason)
        return row
    planes = f"x{len(image.planes)}" if isinstance(image, Planes) else ""
    pixels = digest_bytes(f"{image.width}x{image.height}{planes}".encode(), image.tobytes())
    row["decoded"] = np.frombuffer(bytes.fromhex(pixels), dtype=np.uint8)
    row["width"], row["height"] = image.size
    row["channels"] = num_channels(image)
    row["grey"], row["colour"] = _miniatures(image)
    return row


def _miniatures(
    image: "PillowImage | Planes",
) -> tuple[UInt8[np.ndarray, "16 17"], UInt8[np.ndarray, "4 4 3"]]:
    """The image in grey and in colour, of the sizes above; of many channels their mean, and the first three."""
    from PIL import Image

    small = image.resize((68, 64), Image.Resampling.BILINEAR, reducing_gap=3.0)
    grey, colour = (small.mean(), small.in_three()) if isinstance(small, Planes) else (small.convert("L"), small)
    return (
        np.asarray(grey.resize(GREY_SHAPE[::-1], Image.Resampling.BILINEAR)),
        np.asarray(colour.resize(COLOUR_SHAPE[:2], Image.Resampling.BOX)),
    )


@lru_cache(maxsize=1)
def dicom_reader() -> int:
    """A number that stands for what reads DICOM here: another one may read what this one cannot."""
    return int(digest_bytes(reader().encode())[:16], 16)
