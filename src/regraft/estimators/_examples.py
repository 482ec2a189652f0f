"""What scikit-learn calls X, as a list of inputs that a model takes.

* A sequence of paths: a list, an array, a column of a data frame.
* A sequence of pictures: arrays h w, h w 1, h w 3 or h w 4, of several sizes if need be, or Pillow pictures.
* An array n h w or n h w c.
* A table of numbers n m: each row a grey picture, square where m is a square number, else one pixel high. So do
  scikit-learn's own `load_digits` and `fetch_openml("mnist_784")` hold theirs.

Numbers of type uint8 are brightness as it is. Others are brought to 0 … 255 from a range that `fit` learns: 0 to 1
where all lie in it, else from the smallest to the largest (our choice). What lies outside it later is cut off.
"""

from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num, UInt8

Range = tuple[float, float]
"""Which numbers become 0 and 255."""


def inputs_in(x: Any) -> list[Any] | None:
    """The examples in X, one by one; None where X is a table of numbers, or nothing that is known."""
    if isinstance(x, np.ndarray) and x.dtype.kind in "biuf":
        return list(x) if x.ndim in (3, 4) else None
    values = x.to_numpy() if hasattr(x, "to_numpy") else x
    if isinstance(values, np.ndarray):
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        values = values.tolist() if values.ndim == 1 and values.dtype.kind in "OUST" else ()
    found = list(values) if isinstance(values, Sequence) and not isinstance(values, str | bytes) else []
    return (
        [Path(str(one)) if isinstance(one, str) else one for one in found]
        if found and all(map(_is_input, found))
        else None
    )


def rows_as_pictures(table: Num[np.ndarray, "n m"]) -> list[Num[np.ndarray, "h w"]]:
    """Each row of a table as a grey picture: square, or else one pixel high."""
    side = isqrt(table.shape[1])
    sides = (side, side) if side * side == table.shape[1] else (1, table.shape[1])
    return list(table.reshape(len(table), *sides))


def range_of(inputs: Sequence[Any]) -> Range | None:
    """From which numbers to which the arrays among the inputs go; None where all are uint8 already."""
    arrays = [one for one in inputs if isinstance(one, np.ndarray) and one.dtype != np.uint8]
    if not arrays:
        return None
    low, high = min(float(one.min()) for one in arrays), max(float(one.max()) for one in arrays)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def in_brightness(inputs: Sequence[Any], value_range: Range | None) -> list[Any]:
    """The inputs, arrays of other types than uint8 brought to levels from 0 to 255."""
    return [
        _levels(one, value_range) if isinstance(one, np.ndarray) and one.dtype != np.uint8 else one for one in inputs
    ]


def _levels(array: Num[np.ndarray, "..."], value_range: Range | None) -> UInt8[np.ndarray, "..."]:
    low, high = value_range or (0.0, 255.0)
    share = (array.astype(np.float64) - low) / ((high - low) or 1.0)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def _is_input(one: Any) -> bool:
    return (
        isinstance(one, str | Path) or hasattr(one, "getexif") or (isinstance(one, np.ndarray) and one.ndim in (2, 3))
    )
