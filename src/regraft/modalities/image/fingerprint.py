"""What a scan notes of one image: digests, size, and a miniature to find near-duplicates by."""

import hashlib
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Shaped, UInt8

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
_SHARP_PX, _FRAME_PX = 256, 32
"""Longer side at which sharpness is measured; the widest frame that is looked for, in pixels."""
_PLAIN = 4.0
"""Largest standard deviation, in levels of 255, of a line of one colour: JPEG leaves that much."""

MEASURED = (
    ("width", "<i4"),  # pixels, upright
    ("height", "<i4"),
    ("channels", "<i4"),  # as the file holds them: 3 for all that Pillow reads
    ("grey", "u1", GREY_SHAPE),
    ("colour", "u1", COLOUR_SHAPE),
    (
        "sharpness",
        "<f4",
    ),  # of what is fine the standard deviation, as a share of the image's own; nan where it is plain
    ("frame", "u1", (4,)),  # rows or columns of one colour at each side, 32 at most: left, upper, right, lower
    ("frame_level", "u1", (4,)),  # their grey level
    ("writer", "<u8"),  # stands for format, quantisation and kinds of metadata: what wrote the file
)
"""What a fingerprint of an image has beyond what every fingerprint has."""
ROW = np.dtype([*FINGERPRINT, *MEASURED])
LAYOUT = 5
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
    row["sharpness"] = _sharpness(image)
    row["frame"], row["frame_level"] = _frame(image)
    row["writer"] = _writer(data)
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


def _grey(image: "PillowImage | Planes") -> Float[np.ndarray, "h w"]:
    return np.asarray(image.mean() if isinstance(image, Planes) else image.convert("L"), dtype=np.float32)


def _sharpness(image: "PillowImage | Planes") -> float:
    """At 256 pixels along the longer side or fewer: what is lost above that, no network here sees."""
    from PIL import Image

    scale = min(1.0, _SHARP_PX / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    grey = _grey(image.resize(size, Image.Resampling.BOX, reducing_gap=2.0) if scale < 1 else image)
    spread = float(grey.std())
    if min(grey.shape) < 3 or spread < 1:
        return float("nan")
    fine = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(fine.std()) / spread


def _frame(image: "PillowImage | Planes") -> tuple[UInt8[np.ndarray, "4"], UInt8[np.ndarray, "4"]]:
    """How many lines of one colour lie at each side, and their grey level; none where a whole quarter is plain."""
    width, height = image.size
    deep, high = (min(_FRAME_PX, side // 4) for side in (width, height))
    boxes = [
        (0, 0, deep, height),
        (0, 0, width, high),
        (width - deep, 0, width, height),
        (0, height - high, width, height),
    ]
    counts, levels = np.zeros(4, dtype=np.uint8), np.zeros(4, dtype=np.uint8)
    for side, box in enumerate(boxes):
        if box[0] == box[2] or box[1] == box[3]:
            continue
        strip = _grey(image.crop(box))
        lines = strip.T if side % 2 == 0 else strip
        lines = lines[::-1] if side > 1 else lines
        level = float(lines[0].mean())
        plain = (lines.std(axis=1) < _PLAIN) & (abs(lines.mean(axis=1) - level) < 2 * _PLAIN)
        counts[side] = 0 if plain.all() else int(plain.argmin())
        levels[side] = round(level) if counts[side] else 0
    return counts, levels


def _writer(data: bytes) -> int:
    """Stands for the program or device that wrote an image file, as far as its header tells; 0 of other files."""
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            tables = {key: list(values) for key, values in getattr(image, "quantization", {}).items()}
            facts = [image.format, image.mode, sorted(tables.items()), sorted(map(str, image.info))]
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return 0
    return int(digest_bytes(repr(facts).encode())[:16], 16)


@lru_cache(maxsize=1)
def dicom_reader() -> int:
    """A number that stands for what reads DICOM here: another one may read what this one cannot."""
    return int(digest_bytes(reader().encode())[:16], 16)
