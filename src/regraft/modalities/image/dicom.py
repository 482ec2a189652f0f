"""Reading of DICOM files as a viewer displays them, with pydicom (extra `dicom`).

Shapes: h and w height and width in pixels, c channels.

Follows the standard's grayscale pipeline (PS3.3 C.11, PS3.4 N.2): stored values; modality LUT, or rescale slope and
intercept (C.11.1); VOI LUT, else the first window (C.11.2: linear, linear exact or sigmoid), else the whole range of
the stored bits; MONOCHROME1 inverted. Palettes are applied, YBR becomes RGB. Of several frames the first is read.
Overlays, shutters and presentation states are ignored. The whole range depends on the header and not on the values of
one image, so that equal values have equal grey levels in all files (our choice; viewers often stretch each image).

Patients are identified by a digest of the patient ID and its issuer, never by the ID itself. Anyone who can guess an ID
can compute its digest: this is pseudonymisation, not anonymisation.
"""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int, Shaped, UInt8

from regraft.errors import MissingExtra
from regraft.modalities.image.planes import Unreadable, refuse_large

if TYPE_CHECKING:
    from pydicom import Dataset

REVISION = "dicom-2"
"""Name and revision of this reader; raised when the pixels of any DICOM file change."""

_PACKAGES = ("pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "gdcm")
"""Packages that may affect the pixels."""

_MAX_GROUP = 0x7FE0
"""Group of the pixel data; higher groups are trailing padding."""
_MARK_AT, _MARK = 128, b"DICM"
HEAD_BYTES = 256
"""Number of bytes needed to recognise DICOM."""
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations with a length of four bytes after two reserved ones; in the others it takes two bytes (PS3.5,
7.1.2)."""


def is_dicom(head: bytes) -> bool:
    """Whether a file that starts with `head` is DICOM (PS3.10, 7.1), with a preamble or, as in some archives,
    without."""
    return head[_MARK_AT : _MARK_AT + len(_MARK)] == _MARK or any(_begins_with_elements(head, end) for end in "<>")


def _begins_with_elements(head: bytes, end: str) -> bool:
    """Whether at least two data elements follow each other from the first byte on: with increasing numbers from
    group 2 or 8 on, and each length leading to the next element."""
    at, last, found = 0, (0, 0), 0
    while at + 12 <= min(len(head), HEAD_BYTES):
        group, number, vr, short, length = struct.unpack_from(f"{end}HH2sHI", head, at)
        element, at = (group, number), at + 8
        if vr in _SHORT:
            length = short
        elif vr in _LONG:
            at += 4
        else:
            (length,) = struct.unpack_from(f"{end}I", head, at - 4)
        if element <= last or (not found and group not in (2, 8)) or group > _MAX_GROUP:
            return False
        last, at, found = element, at + length, found + 1
    return found > 1


def reader() -> str:
    """Return the reader's name and revision, with the versions that determine its pixels."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package}-{version(package)}")
        except PackageNotFoundError:
            continue
    return " ".join([REVISION, *found])


def patient_of(data: bytes, name: str) -> int:
    """Return an integer that identifies the patient, from 64 bits of a digest; 0 if the file has no patient ID.

    Raises:
        MissingExtra: pydicom is not installed.
        Unreadable: the header is damaged.
    """
    with _said(name) as read:
        header = read(io.BytesIO(data), stop_before_pixels=True, force=True)
        patient, issuer = (str(header.get(tag, "")).strip() for tag in ("PatientID", "IssuerOfPatientID"))
    if not patient:
        return 0
    digest = hashlib.blake2b(f"{issuer}\0{patient}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def pixels_of(data: bytes, max_pixels: int, name: str) -> UInt8[np.ndarray, "h w c"]:
    """Return the first frame, with one or three channels.

    Raises:
        MissingExtra: pydicom is not installed.
        Unreadable: it is damaged, too large, contains no image, or has an unsupported compression.
    """
    with _said(name) as read:
        header = _with_pixels(read(io.BytesIO(data), force=True), max_pixels)
        from pydicom.pixels.processing import apply_color_lut
        from pydicom.pixels.utils import pixel_array

        values = pixel_array(header, index=0)
        kind = str(header.PhotometricInterpretation)
        if kind.startswith("MONOCHROME"):
            return _grey(header, values)[..., None]
        if kind == "PALETTE COLOR":
            values = apply_color_lut(values, header)
            return _to_bytes(values.astype(np.float64), 0, np.iinfo(values.dtype).max)
        if values.ndim == 3 and values.shape[2] == 3 and (kind == "RGB" or kind.startswith("YBR")):
            return _to_bytes(values.astype(np.float64), 0, 2 ** int(header.BitsStored) - 1)
        raise Unreadable(f"its photometric interpretation is {kind}, which is not supported")


def stored_in(data: bytes, max_pixels: int, name: str) -> Int[np.ndarray, "h w"]:
    """Return the stored values of a mask, which are its classes.

    Raises:
        MissingExtra: pydicom is not installed.
        Unreadable: as for `pixels_of`, or it has several frames (a segmentation object) or channels.
    """
    with _said(name) as read:
        header = _with_pixels(read(io.BytesIO(data), force=True), max_pixels)
        frames, channels = int(header.get("NumberOfFrames", 1) or 1), int(header.SamplesPerPixel)
        if frames > 1 or channels > 1:
            raise Unreadable(f"it has {frames} frames of {channels} channels; expected a mask per slice")
        from pydicom.pixels.utils import pixel_array

        return pixel_array(header, index=0).astype(np.int64)


def _with_pixels(header: "Dataset", max_pixels: int) -> "Dataset":
    """Return a header whose pixels can be read.

    Raises:
        Unreadable: they cannot.
    """
    if "PixelData" not in header:
        floats = "FloatPixelData" in header or "DoubleFloatPixelData" in header
        raise Unreadable("it holds floating-point values" if floats else "it is a DICOM file without an image")
    refuse_large(header.Columns, header.Rows, max_pixels)
    _check_compression(header)
    return header


@contextmanager
def _said(name: str) -> "Iterator[Callable[..., Dataset]]":
    """Yield pydicom's reader; its errors on damaged files are converted to `Unreadable`."""
    try:
        from pydicom import dcmread
        from pydicom.errors import BytesLengthException, InvalidDicomError  # their only base is `Exception`
    except ImportError as error:
        raise MissingExtra("pydicom", "dicom", f"Reading {name}, a DICOM file,") from error
    try:
        yield dcmread
    except (
        AttributeError, ArithmeticError, EOFError, LookupError, MemoryError, OSError, RuntimeError,
        TypeError, ValueError, Warning, struct.error, zlib.error, BytesLengthException, InvalidDicomError,
    ) as error:  # fmt: skip
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Unreadable(f"it is a damaged DICOM file ({words.rstrip('.')})") from error


def _check_compression(header: "Dataset") -> None:
    from pydicom import uid
    from pydicom.pixels.decoders.base import get_decoder

    if "TransferSyntaxUID" not in header.file_meta:  # not stated without a preamble; pydicom has inferred it
        if header["PixelData"].is_undefined_length:
            raise Unreadable("its pixels are compressed, but the header that specifies how is missing")
        implicit, little = header.original_encoding
        known = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else known
    syntax = header.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    try:
        decoder = get_decoder(syntax)
    except RuntimeError as error:  # there is no decoder of that name
        raise Unreadable(f"its pixels are compressed as {syntax.name}, which is not supported") from error
    if not decoder.is_available:
        raise Unreadable(f"run pip install 'pylibjpeg[all]' first: its pixels are compressed as {syntax.name}")


def _grey(header: "Dataset", stored: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Apply the modality and VOI transformations to stored values; returns 0 for black to 255 for white."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

    values = apply_modality_lut(stored, header)
    low, high = _range(header)
    if header.get("VOILUTSequence"):
        values = apply_voi(values, header, index=0)
        low, high = 0, 2 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1
    elif all(header.get(name) not in (None, "", []) for name in ("WindowCenter", "WindowWidth")):
        header.VOILUTFunction = header.get("VOILUTFunction") or "LINEAR"
        with np.errstate(over="ignore"):  # far from the centre of a sigmoid
            values = apply_windowing(values, header, index=0)
    else:
        low, high = sorted((low, high))
    shown = _to_bytes(values.astype(np.float64), low, high)
    inverted = str(header.PhotometricInterpretation) == "MONOCHROME1"
    return np.uint8(255) - shown if inverted else shown


def _range(header: "Dataset") -> tuple[float, float]:
    """Return the minimum and maximum storable value after the modality transformation."""
    if header.get("ModalityLUTSequence"):
        return 0, 2 ** int(header.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    bits, signed = int(header.BitsStored), int(header.get("PixelRepresentation", 0))
    minimum, maximum = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    return minimum * slope + intercept, maximum * slope + intercept


def _to_bytes(values: Float64[np.ndarray, "*any"], low: float, high: float) -> UInt8[np.ndarray, "*any"]:
    """Scale values linearly to bytes, rounded: `low` and below to 0, `high` and above to 255."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.floor(share * 255 + 0.5).astype(np.uint8)
