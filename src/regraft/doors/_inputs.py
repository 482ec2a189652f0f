"""What an estimator of scikit-learn is given as X, as a list of inputs that a model takes; and the model it keeps.

* A sequence of paths: a list, an array, a column of a data frame, or one that calls it `path`.
* A sequence of images: arrays h w, h w 1, h w 3 or h w 4, of several sizes if need be, or Pillow images.
* An array n h w or n h w c.
* A table of numbers n m: each row a grey image, square where m is a square number, else one pixel high. So do
  scikit-learn's own `load_digits` and `fetch_openml("mnist_784")` hold theirs.

Numbers of type uint8 are brightness as it is. Others are brought to 0 … 255 from a range that `fit` learns: 0 to 1
where all lie in it, else from the smallest to the largest (our choice). What lies outside it later is cut off.
"""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Num, UInt8

from regraft.data.sources.table import listed
from regraft.errors import RunError, UnknownName

if TYPE_CHECKING:
    from regraft.bundles.bundle import Model

Range = tuple[float, float]
"""Which numbers become 0 and 255."""


def inputs_in(x: Any) -> list[Any] | None:
    """The examples in X, one by one; None where X is a table of numbers, or nothing that is known."""
    if isinstance(x, np.ndarray) and x.dtype.kind in "biuf":
        return list(x) if x.ndim in (3, 4) else None
    try:
        values = listed(x)
    except UnknownName:
        return None
    values = values.to_list() if hasattr(values, "to_list") else values
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or not len(values):
        return None
    if not all(map(_is_input, values)):
        return None
    return [Path(str(one)) if isinstance(one, str) else one for one in values]


def rows_as_images(table: Num[np.ndarray, "n m"]) -> list[Num[np.ndarray, "h w"]]:
    """Each row of a table as a grey image: square, or else one pixel high."""
    side = isqrt(table.shape[1])
    sides = (side, side) if side * side == table.shape[1] else (1, table.shape[1])
    return list(table.reshape(len(table), *sides))


def range_of(inputs: Sequence[Any]) -> Range | None:
    """From which numbers to which the arrays among the inputs go; None where all are uint8 already."""
    arrays = list(filter(_is_to_scale, inputs))
    if not arrays:
        return None
    low, high = min(float(one.min()) for one in arrays), max(float(one.max()) for one in arrays)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def in_brightness(inputs: Sequence[Any], value_range: Range | None) -> list[Any]:
    """The inputs, arrays of other types than uint8 brought to levels from 0 to 255."""
    return [_levels(one, value_range) if _is_to_scale(one) else one for one in inputs]


class SavedModel:
    """The model of a fitted estimator: a folder that lives as long as the estimator.

    A pickle of the estimator holds the folder's files as bytes. They are checked as any model is when they are loaded
    again, and nothing in them can execute.
    """

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="regraft-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = Path(folder) / "model"
        """Where the model lies, or is to be written."""
        self._model: Model | None = None
        self._is_copy = False

    def model(self) -> "Model":
        """The model, loaded on first use. Of a copy the digests are checked and the golden inputs replayed."""
        if self._model is None:
            from regraft.bundles.bundle import load

            self._model = load(self.path, verify=self._is_copy).model
        return self._model

    def save(self, path: Path) -> None:
        """Copy the model to the new folder `path`.

        Raises:
            RunError: there is something already.
        """
        if path.exists():
            raise RunError(f"{path} already exists.", fix="choose another folder; existing files are not overwritten.")
        shutil.copytree(self.path, path)

    def __getstate__(self) -> Mapping[str, bytes]:
        return {file.name: file.read_bytes() for file in sorted(self.path.iterdir())}

    def __setstate__(self, files: Mapping[str, bytes]) -> None:
        self.__init__()  # type: ignore[misc]
        self._is_copy = True
        self.path.mkdir()
        for name, data in files.items():
            (self.path / name).write_bytes(data)


def _is_input(one: Any) -> bool:
    is_image = hasattr(one, "getexif") or (isinstance(one, np.ndarray) and one.ndim in (2, 3))
    return is_image or isinstance(one, str | Path)


def _is_to_scale(one: Any) -> bool:
    return isinstance(one, np.ndarray) and one.dtype != np.uint8


def _levels(array: Num[np.ndarray, "..."], value_range: Range | None) -> UInt8[np.ndarray, "..."]:
    low, high = value_range or (0.0, 255.0)
    share = (array.astype(np.float64) - low) / ((high - low) or 1.0)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)
