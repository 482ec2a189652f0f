"""Small DICOM files, written by pydicom."""

import io
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


def dicom(
    stored: np.ndarray, *, bits: int | None = None, syntax: UID = ExplicitVRLittleEndian, **elements: object
) -> bytes:
    """The file that holds `stored` (h w, h w c, or with `NumberOfFrames` f h w), with these elements besides."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    encoding = {"is_implicit_VR": syntax.is_implicit_VR, "is_little_endian": syntax.is_little_endian}
    header = FileDataset("", Dataset(), file_meta=meta, preamble=bytes(128), **encoding)
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    shape = stored.shape[1:] if "NumberOfFrames" in elements else stored.shape
    header.Rows, header.Columns = shape[:2]
    header.SamplesPerPixel = shape[2] if len(shape) == 3 else 1
    header.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
    if len(shape) == 3:
        header.PlanarConfiguration = 0
    header.BitsAllocated = 8 * stored.dtype.itemsize
    header.BitsStored = bits or header.BitsAllocated
    header.HighBit = header.BitsStored - 1
    header.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    header.PixelData = stored.tobytes() + bytes(stored.nbytes % 2)
    header["PixelData"].VR = "OB" if header.BitsAllocated == 8 else "OW"
    for name, value in elements.items():
        setattr(header, name, value)
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom_at(path: Path, stored: np.ndarray, **elements: object) -> Path:
    """The same, as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom(stored, **elements))  # type: ignore[arg-type]
    return path
