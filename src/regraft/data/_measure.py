"""What a scan notes of one picture: digests, size, and a miniature to find near-duplicates by."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from regraft.data._dicom import is_dicom, reader
from regraft.data.decode import Undecodable, decode, patient, read
from regraft.identity import digest_bytes

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
        ("grey", "u1", GREY_SHAPE),
        ("colour", "u1", COLOUR_SHAPE),
        ("dicom", "<u8"),  # digest of what reads DICOM here, where the file is DICOM; else 0
        ("patient", "<u8"),  # stands for the patient that a DICOM file names; else 0
        ("error", "S120"),  # why it cannot be decoded, UTF-8; empty when it can
    ]
)
"""One picture in the scan's memory."""

MEASURED = ("content", "pixels", "width", "height", "grey", "colour", "dicom", "patient", "error")
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
        image = decode(data, max_pixels=max_pixels, name=str(path))
    except Undecodable as error:
        row["error"] = shortened(error.reason)
        return row
    from PIL import Image

    pixels = digest_bytes(f"{image.width}x{image.height}".encode(), image.tobytes())
    row["pixels"] = np.frombuffer(bytes.fromhex(pixels), dtype=np.uint8)
    row["width"], row["height"] = image.size
    small = image.resize((68, 64), Image.Resampling.BILINEAR, reducing_gap=3.0)
    row["grey"] = np.asarray(small.convert("L").resize(GREY_SHAPE[::-1], Image.Resampling.BILINEAR))
    row["colour"] = np.asarray(small.resize(COLOUR_SHAPE[:2], Image.Resampling.BOX))
    return row


@lru_cache(maxsize=1)
def dicom_reader() -> int:
    """A number that stands for what reads DICOM here: another one may read what this one cannot."""
    return int(digest_bytes(reader().encode())[:16], 16)


def shortened(reason: str) -> bytes:
    """The reason in at most 120 bytes of UTF-8."""
    return reason.encode()[:120].decode(errors="ignore").encode()
