"""Fingerprints of images: digests, sizes, and miniatures for finding near-duplicates (re-encoded, resized or brightened
copies); and patients named in DICOM files, as groups.

Shapes: n examples, m pairs, u distinct miniatures.

Two images are near-duplicates if (1) their 256-bit difference hashes differ in at most 20 bits; (2) their 16 x 17 grey
miniatures have a correlation of at least 0.995; (3) their colours, on a 4 x 4 grid, agree. The hash alone is not
sufficient: among 800 chest X-rays it finds 90 pairs of different children, and 9,744 pairs of 1,797 handwritten digits;
with (2) it finds none and one. Of 150 copies each of photographs, leaves and X-rays, at JPEG quality 30 or 75, at half
or one and a half times the size, or 15 % darker, 98 to 100 % are found; of tissue patches of 50 x 50 pixels 92 % at
quality 75, and half at quality 30 or half the size. Copies that were cropped by a few per cent, mirrored or rotated are
not found. (3) separates images that differ in colour only. All three thresholds are our choice, from those
measurements; the hash is N. Krawetz's, 2013. Images without contrast are compared by their pixels only.

Pairs under (1) are found exactly, without comparing all pairs: of 21 groups of bits, two hashes that differ in at most
20 bits have one in common (pigeonhole principle).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8, UInt64

from regraft.contracts.example import Content, Example
from regraft.contracts.modality import FINGERPRINT
from regraft.errors import Undecodable
from regraft.files import shortened
from regraft.folds import MAX_BITS, hash_pairs
from regraft.identity import digest_bytes
from regraft.modalities.image.decode import bytes_of, decode, patient
from regraft.modalities.image.dicom import is_dicom, reader
from regraft.modalities.image.planes import PillowImage, Planes, num_channels
from regraft.values import Notice
from regraft.words import counted

GREY_SHAPE = (16, 17)
"""Rows and columns of the grey miniature: 16 differences in each of 16 rows give a hash of 256 bits."""
COLOUR_SHAPE = (4, 4, 3)
"""Rows, columns and channels of the colour miniature."""
_SHARP_PX, _FRAME_PX = 256, 32
"""Longer side at which sharpness is measured; maximum width of a border to look for, in pixels."""
_PLAIN = 4.0
"""Maximum standard deviation, in levels of 255, of a line of uniform colour; allows for JPEG artefacts."""

MEASURED = (
    ("width", "<i4"),  # pixels, upright
    ("height", "<i4"),
    ("channels", "<i4"),  # as in the file; 3 for all images read by Pillow
    ("grey", "u1", GREY_SHAPE),
    ("colour", "u1", COLOUR_SHAPE),
    (
        "sharpness",
        "<f4",
    ),  # standard deviation of fine structure, relative to the image's; nan if it is uniform
    ("frame", "u1", (4,)),  # width of a uniform border at each side, 32 at most: left, upper, right, lower
    ("frame_level", "u1", (4,)),  # its grey level
    ("writer", "<u8"),  # identifies the format, quantisation and kinds of metadata
)
"""Fields of an image's fingerprint in addition to those of every fingerprint."""
ROW = np.dtype([*FINGERPRINT, *MEASURED])
LAYOUT = 5
"""Revision; raised when `MEASURED`, or the computation of a field, changes."""


def measure(content: Content, max_pixels: int) -> Shaped[np.ndarray, ""]:
    """Read and decode one image; return its fingerprint of dtype `ROW`. If it is damaged, `error` is set."""
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


def _miniatures(image: "PillowImage | Planes") -> tuple[UInt8[np.ndarray, "16 17"], UInt8[np.ndarray, "4 4 3"]]:
    """Return the image in grey and in colour, in the sizes above; of many channels, their mean and the first three."""
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
    """Measure sharpness at 256 pixels along the longer side or fewer: no network here resolves finer detail."""
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
    """Return the number of uniform lines at each side, and their grey levels; 0 if a whole quarter is uniform."""
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
    """Return an integer that identifies the program or device that wrote an image file, as far as its header tells; 0
    if unknown."""
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
    """Return an integer that identifies the DICOM reader: files that one cannot read, another may."""
    return int(digest_bytes(reader().encode())[:16], 16)


MIN_CORRELATION = 0.995
"""Minimum correlation of the grey miniatures."""
MAX_COLOUR = 30
"""Maximum difference of red or blue to green at any of 16 grid points, in levels of 255."""
MIN_CONTRAST = 3.0
"""Minimum standard deviation of the grey miniature, in levels of 255, for an image to be compared by correlation."""
RULE = f"{MAX_BITS} {MIN_CORRELATION} {MAX_COLOUR} {MIN_CONTRAST}"
"""Parameters, other than the images, that the pairs depend on."""


def near_pairs(prints: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, "m 2"]:
    """Return the pairs of different images that are near-duplicates, lower position first; images with equal pixels are
    represented by one."""
    none, whole = np.zeros((0, 2), dtype=np.int64), np.flatnonzero(prints["error"] == b"")
    if not len(whole):
        return none
    _, first = np.unique(prints["decoded"][whole], axis=0, return_index=True)
    picked = whole[np.sort(first)]
    grey = prints["grey"][picked].reshape(len(picked), -1).astype(np.float32)
    telling = grey.std(axis=1) >= MIN_CONTRAST
    picked, grey = picked[telling], grey[telling]
    if not len(picked):
        return none
    found = [
        pairs[_alike(prints, picked, grey, pairs)] for pairs in hash_pairs(difference_hashes(prints[picked]), MAX_BITS)
    ]
    if not found:
        return none
    return np.unique(np.sort(picked[np.concatenate(found)], axis=1), axis=0)


def _alike(
    prints: Shaped[np.ndarray, " n"], picked: Int[np.ndarray, " u"], grey: np.ndarray, pairs: Int[np.ndarray, "m 2"]
) -> Bool[np.ndarray, " m"]:
    """Check conditions (2) and (3) for pairs of positions in `picked`."""
    left, right = (grey[side] - grey[side].mean(axis=1, keepdims=True) for side in pairs.T)
    norm = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    correlated = (left * right).sum(axis=1) >= MIN_CORRELATION * norm
    tints = []
    for side in pairs.T:
        colour = prints["colour"][picked[side]].astype(np.int16)
        tints.append(colour[..., (0, 2)] - colour[..., 1:2])
    return correlated & (np.abs(tints[0] - tints[1]).max(axis=(1, 2, 3)) <= MAX_COLOUR)


def difference_hashes(prints: Shaped[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 32"]:
    """Return 256 bits: whether the grey miniature increases from each column to the next. Difference hash, N. Krawetz
    2013."""
    grey = prints["grey"]
    return np.packbits((grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(grey), -1), axis=1)


def by_patient(
    examples: Sequence[Example], patients: UInt64[np.ndarray, " n"], others: Bool[np.ndarray, " n"]
) -> tuple[Sequence[Example], tuple[Notice, ...]]:
    """Group the examples by patient if no groups were given; return a notice of it too.

    `patients` are the integers that `dicom` derives from their IDs, 0 if a file has none; such a file is a group of its
    own. `others` are readable images that are not DICOM: if there are any, nothing is grouped. Nor is it if all have
    the same patient: anonymisation often replaces IDs by a constant.
    """
    if not patients.any() or any(example.group is not None for example in examples):
        return examples, ()
    numbers = patients.tolist()
    num_patients, num_others, alone = len(set(numbers) - {0}), int(others.sum()), numbers.count(0)
    if num_others or num_patients < 2:
        why = (
            f"{counted(num_others, 'other image has', 'other images have')} none" if num_others else "one is not enough"
        )
        text = f"The DICOM files contain {counted(num_patients, 'patient ID')}, but {why}; examples are not grouped."
        return examples, (Notice(text=text, topic="data"),)
    grouped = tuple(
        replace(example, group=f"patient-{number:016x}") if number else example
        for example, number in zip(examples, numbers, strict=True)
    )
    text = f"Grouped by the {counted(num_patients, 'patient')} identified in the DICOM files; "
    text += "digests are stored instead of patient IDs."
    if alone:
        text += f" {counted(alone, 'file has', 'files have')} none: each is a separate group."
    return grouped, (Notice(text=text, topic="data"),)
