"""AnnData files (`.h5ad`, extra `h5ad`) as data frames: the matrix X, and the columns of obs that are asked for.

X may be dense, or sparse by rows or columns. Its columns are named by var's index; layers, obsm, raw and the other
columns of obs are not read. Source: https://anndata.readthedocs.io/en/stable/fileformat-prose.html. Letters: n rows, d
columns.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from regraft.contracts.example import Columns
from regraft.errors import BadData, MissingExtra, UnknownName

SUFFIX = ".h5ad"


class Column(np.ndarray):
    """A column, as data frames have them."""

    def to_numpy(self) -> np.ndarray:
        """Return the array."""
        return np.asarray(self)


class Annotated:
    """A file as a data frame; X is read when the first of its columns is.

    Raises:
        BadData: the file is damaged, or not an AnnData file of version 0.7 or later.
        UnknownName: obs lacks a column that was asked for.
        MissingExtra: h5py is not installed.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        try:
            import h5py
        except ImportError as error:
            raise MissingExtra("h5py", "h5ad", "Reading AnnData files") from error
        self._path, self._obs = path, dict[str, np.ndarray]()
        try:
            with h5py.File(path) as file:
                known = [str(name) for name in file["obs"].attrs["column-order"]]
                asked = dict.fromkeys((*columns.named, columns.split_column, columns.group_column))
                for name in filter(None, asked):
                    if name in known:
                        self._obs[name] = _cells(file["obs"][name])
                    elif name not in columns.optional:
                        raise UnknownName(f"column of obs in {path.name}", name, known)
                var = file["var"]
                names = _cells(var[var.attrs["_index"]]).tolist()
                self.rows = range(len(file["obs"][file["obs"].attrs["_index"]]))
        except (OSError, KeyError, ValueError, AttributeError) as error:
            raise _damaged(path, error) from error
        self.columns: Sequence[str] = [*self._obs, *map(str, names)]
        self._places = {name: at for at, name in enumerate(self.columns)}

    @cached_property
    def _matrix(self) -> Float32[np.ndarray, "n d"]:
        import h5py

        try:
            with h5py.File(self._path) as file:
                found = file["X"]
                if isinstance(found, h5py.Dataset):
                    return np.asarray(found[...], dtype=np.float32)
                shape, by_rows = found.attrs["shape"].tolist(), found.attrs["encoding-type"] == "csr_matrix"
                values, inner, starts = (found[name][...] for name in ("data", "indices", "indptr"))
                made = np.zeros(shape if by_rows else shape[::-1], dtype=np.float32)
                made[np.repeat(np.arange(len(starts) - 1), np.diff(starts)), inner] = values
                return made if by_rows else np.ascontiguousarray(made.T)
        except (OSError, KeyError, ValueError, AttributeError, IndexError) as error:
            raise _damaged(self._path, error) from error

    def __getitem__(self, name: str) -> Column:
        own = self._obs.get(name)
        found = self._matrix[:, self._places[name] - len(self._obs)] if own is None else own
        return found.view(Column)

    def to_numpy(self) -> Float32[np.ndarray, "n d"]:
        """Return X."""
        return self._matrix


def _cells(stored: Any) -> Shaped[np.ndarray, " n"]:
    """Return a column of obs or var; text and categories as objects."""
    import h5py

    if isinstance(stored, h5py.Group):  # categories; a code of -1 is an empty cell
        values, codes = _cells(stored["categories"]), stored["codes"][...]
        return np.array(["" if code < 0 else values[code] for code in codes.tolist()], dtype=object)
    return np.asarray(stored.asstr()[...] if h5py.check_string_dtype(stored.dtype) else stored[...])


def _damaged(path: Path, error: Exception) -> BadData:
    return BadData(
        f"{path.name} cannot be read as AnnData ({str(error)[:100]}).",
        fix="write it again with write_h5ad of anndata 0.7 or later.",
    )
