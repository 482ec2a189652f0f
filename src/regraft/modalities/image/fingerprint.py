"""What a scan notes of one picture: digests, size, and a miniature to find near-duplicates by."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from regraft.identity import digest_bytes
from regraft.modalities.image.decode import Undecodable, decode, patient, read
from regraft.modalities.image.dicom import is_dicom, reader
from regraft.modalities.image.planes import Planes, num_channels
from regraft.modalities.image.types import Picture

GREY_SHAPE = (16, 17)
"""Rows and columns of the grey miniature: 16 differences in each of 16 rows make a hash of 256 bits."""
COLOUR_SHAPE = (4, 4, 3)
"""Rows, columns and channels of the colour miniature."""

ROW = np.dtype(
    [
        ("key", "<u8", 2),  # digest of the absolute path
        ("size", "<i8"),  # bytes
        ("mtime_ns", "<i8"),  # nanoseconds
        ("inode", "<u8"),
        ("content", "u1", 20),  # digest of the bytes, as identity.digest_file makes it
        ("pixels", "u1", 20),  # digest of width, height and decoded pixels
        ("width", "<i4"),  # pixels, upright
        ("height", "<i4"),
        ("channels", "<i4"),  # as the file holds them: 3 for all that Pillow reads
        ("grey", "u1", GREY_SHAPE),
        ("colour", "u1", COLOUR_SHAPE),
        ("dicom", "<u8"),  # digest of what reads DICOM here, where the file is DICOM; else 0
        ("patient", "<u8"),  # stands for the patient that a DICOM file names; else 0
        ("error", "S120"),  # why it cannot be decoded, UTF-8; empty when it can
    ]
)
"""One picture in the scan's memory."""

MEASURED = ("content", "pixels", "width", "height", "channels", "grey", "colour", "dicom", "patient", "error")
"""The fields that come from reading and decoding; the others identify the file."""


def measure(path: Path, max_pixels: int) -> Shaped[np.ndarray, ""]:
    """Read and decode one file; a record of type `ROW`, the fields `MEASURED` filled. A damaged file gives `error`."""
    row = np.zeros((), dtype=ROW)
    try:
        data = read(path)
        row["content"] = np.frombuffer(hashlib.blake2b(data, digest_size=20).digest(), dtype=np.uint8)
        if is_dicom(data):
            row["dicom"] = dicom_reader()
            row["patient"] = patient(data, name=str(path))
        image = decode(data, channels=0, max_pixels=max_pixels, name=str(path))
    except Undecodable as error:
        row["error"] = shortened(error.reason)
        return row
    planes = f"x{len(image.planes)}" if isinstance(image, Planes) else ""
    pixels = digest_bytes(f"{image.width}x{image.height}{planes}".encode(), image.tobytes())
    row["pixels"] = np.frombuffer(bytes.fromhex(pixels), dtype=np.uint8)
    row["width"], row["height"] = image.size
    row["channels"] = num_channels(image)
    row["grey"], row["colour"] = _miniatures(image)
    return row


def _miniatures(
    image: "Picture | Planes",
) -> tuple[UInt8[np.ndarray, "16 17"], UInt8[np.ndarray, "4 4 3"]]:
    """The picture in grey and in colour, of the sizes above; of many channels their mean, and the first three."""
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


def shortened(reason: str) -> bytes:
    """The reason in at most 120 bytes of UTF-8."""
    return reason.encode()[:120].decode(errors="ignore").encode()
