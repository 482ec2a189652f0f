"""Volumes in NIfTI files (CT, MRI) as slices in PNG files, with nibabel (extra `nifti`).

A volume is brought to the axes right, anterior, superior by its affine (the closest permutation and reflection; nothing
is resampled) and sliced across the axis with the largest spacing, the superior one among equals. In a slice, the
patient's right, or front, is on the left, and the superior, or front, side is at the top. Grey levels are linear from
the 0.5th to the 99.5th percentile of the whole volume (our choice: units are arbitrary in MRI), values outside are
clipped; NaN is black. Pixels keep their number: where the spacing differs along the two axes, slices are
stretched.

A folder of slices contains `shown/0000.png` and so on, without slices of a single grey level; `values/` with all of
them, as values, if all are integers from 0 to 65,535 (a mask); and `grid.json`, the positions of the voxels.

Letters: k slices, h and w height and width in pixels.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from regraft.errors import BadData, MissingExtra

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

SHOWN, VALUES, GRID = "shown", "values", "grid.json"
MOST = 65535
"""Maximum value in a mask."""
SHARES = (0.5, 99.5)
"""Percentiles that become black and white."""
SAMPLED = 1_000_000
"""Maximum number of voxels, at equal distances, from which percentiles are computed."""
FIX = "export the volume again; expected NIfTI (.nii, .nii.gz) with one number per voxel in three dimensions."


def sliced(volume: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Write the slices of `volume` into the empty folder `folder`; yield the size of what is read or written, in bytes
    and beforehand, and the number of the file's bytes done.

    Raises:
        MissingExtra: nibabel is not installed.
        BadData: the file is damaged or truncated, or not a volume of numbers in three dimensions.
    """
    from PIL import Image

    image, total = _opened(volume), volume.stat().st_size
    yield 4 * int(np.prod(image.shape)), 0
    slices = _slices(volume, image)
    finite = slices[np.isfinite(slices)]
    low, high = np.percentile(finite[:: 1 + len(finite) // SAMPLED], SHARES)
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    whole = len(finite) == slices.size and (slices == np.rint(slices)).all() and slices.min() >= 0
    kinds = [SHOWN, VALUES] if whole and slices.max() <= MOST else [SHOWN]
    for kind in kinds:
        (folder / kind).mkdir()
    for at, values in enumerate(slices):
        share = np.clip((values - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)
        grey = np.floor(np.nan_to_num(share) * 255 + 0.5).astype(np.uint8)
        for kind in kinds:
            if kind == VALUES or grey.min() < grey.max():
                pixels = grey if kind == SHOWN else values.astype(np.uint8 if slices.max() < 256 else np.uint16)
                yield pixels.nbytes, total * at // len(slices)
                Image.fromarray(pixels).save(folder / kind / f"{at:04d}.png")
    (folder / GRID).write_text(json.dumps({"shape": image.shape, "affine": image.affine.tolist()}), "utf-8")
    yield 0, total


def apart(one: Path, other: Path) -> str:
    """Return how the voxels of two folders of slices are displaced, as a clause; empty if within half a voxel."""
    left, right = (json.loads((folder / GRID).read_text("utf-8")) for folder in (one, other))
    if left["shape"] != right["shape"]:
        return f"{_sides(right['shape'])} voxels, not {_sides(left['shape'])}"
    corners = np.stack(np.meshgrid(*([0, side - 1] for side in left["shape"]), [1], indexing="ij"), axis=-1)
    affines = np.array(left["affine"]), np.array(right["affine"])
    places = [corners.reshape(-1, 4) @ affine.T for affine in affines]
    distance = float(np.linalg.norm(places[0] - places[1], axis=1).max())
    return f"a corner is {distance:.1f} mm away" if distance > _spacing(affines[0]).min() / 2 else ""


def _opened(volume: Path) -> "SpatialImage":
    """Return the volume with its axes in order, its voxels not yet read."""
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError
    except ImportError as error:
        raise MissingExtra("nibabel", "nifti", f"Reading {volume}, a NIfTI volume,") from error
    try:
        library: Any = nibabel  # partly typed
        image: Any = library.nifti1.load(volume)
        shape, kind = image.shape, image.get_data_dtype()
        while len(shape) > 3 and shape[-1] == 1:
            image, shape = image.slicer[..., 0], shape[:-1]
        if len(shape) != 3 or not all(shape) or kind.kind not in "iuf":
            raise BadData(f"{volume} is an array of {kind} of shape {_sides(shape)}.", fix=FIX)
        if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine)) < np.finfo(np.float32).tiny:
            raise BadData(f"{volume}: its affine, which places the voxels, is damaged.", fix=FIX)
        return library.funcs.as_closest_canonical(image)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, MemoryError, zlib.error) as error:
        raise _damaged(volume, error) from error


def _slices(volume: Path, image: "SpatialImage") -> Float32[np.ndarray, "k h w"]:
    try:
        voxels = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (OSError, EOFError, ValueError, MemoryError, zlib.error) as error:
        raise _damaged(volume, error) from error
    if not np.isfinite(voxels).any():
        raise BadData(f"{volume} contains no finite value.", fix=FIX)
    spacing = _spacing(image.affine)
    across = max(range(3), key=lambda axis: (round(float(spacing[axis]), 3), axis))
    return np.moveaxis(voxels, across, 0).transpose(0, 2, 1)[:, ::-1, ::-1]


def _spacing(affine: np.ndarray) -> np.ndarray:
    """Return the voxel spacing along each axis, in mm."""
    spacing: np.ndarray = np.linalg.norm(affine[:3, :3], axis=0)
    return spacing


def _damaged(volume: Path, error: Exception) -> BadData:
    words = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return BadData(f"{volume} is damaged, truncated or not NIfTI ({words}).", fix=FIX)


def _sides(shape: Any) -> str:
    return " x ".join(map(str, shape))
