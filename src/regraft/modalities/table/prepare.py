"""From a row of numbers to what a network takes: the columns that it knows, in its order, standardised.

Means and standard deviations are those of training rows alone, in every fold again (`Modality.fitted`). An empty cell
becomes its column's mean, which is 0 after standardisation. Letters: n rows, d columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int

from regraft.errors import Undecodable
from regraft.identity import digest_json
from regraft.records import Record
from regraft.words import counted, named

FARTHEST = 20.0
"""Standard deviations beyond which a number is cut off: a column that hardly varies in training may be far out in a new
row, and would decide alone. Our choice."""


@dataclass(frozen=True, eq=False)
class Header:
    """The names of a table's columns of numbers, which all its rows share."""

    names: tuple[str, ...]

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Where each column stands."""
        return {name: at for at, name in enumerate(self.names)}

    @cached_property
    def digest(self) -> str:
        """Stands for the names and their order."""
        return digest_json(self.names)


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a table."""

    header: Header | None
    """Its columns; None: those of the network, in its order."""
    values: Float32[np.ndarray, " d"]
    """Its numbers; NaN where a cell is empty."""


@dataclass(frozen=True, kw_only=True)
class Preparation(Record):
    """Which columns a network takes, and how they are standardised."""

    columns: tuple[str, ...] = ()
    """Names of the columns, in the network's order; empty before data are known."""
    means: tuple[float, ...] = ()
    """Of each column over the training rows; empty before these are known."""
    deviations: tuple[float, ...] = ()
    """Standard deviation of each column over the training rows; 1 where it does not vary."""
    missing: Literal["cells", "columns", "none"] = "cells"
    """What may be missing, and then stands at its mean: `cells`; whole `columns` too; or `none`, which is refused."""

    def digest_fields(self) -> dict[str, Any]:
        """What decides the record, as JSON, for the key of the activation store."""
        return {"rule": "regraft-columns-1", "digest": digest_json(self.to_json())}

    def fitted(self, rows: Sequence[Row]) -> "Preparation":
        """With the means and standard deviations of these rows."""
        table = np.stack([self.aligned(row) for row in rows]).astype(np.float64)
        known = ~np.isnan(table)
        count = np.maximum(known.sum(axis=0), 1)
        means = np.where(known, table, 0.0).sum(axis=0) / count
        deviations = np.sqrt((np.where(known, table - means, 0.0) ** 2).sum(axis=0) / count)
        constant = deviations <= 1e-9 * np.maximum(np.abs(means), 1e-30)
        return replace(self, means=tuple(means.tolist()), deviations=tuple(np.where(constant, 1, deviations).tolist()))

    def aligned(self, row: Row) -> Float32[np.ndarray, " d"]:
        """The row's numbers in the network's order; NaN where one is missing.

        Raises:
            Undecodable: columns or cells are missing that may not be.
        """
        if row.header is None or row.header.names == self.columns:
            values = row.values
        else:
            places = self._places(row.header)
            values = np.where(places >= 0, row.values[places], np.float32(np.nan)).astype(np.float32)
        if len(values) != len(self.columns):
            raise Undecodable(f"it has {counted(len(values), 'number')}, and {len(self.columns):,} are expected")
        if self.missing == "none" and (empty := np.flatnonzero(np.isnan(values))).size:
            raise Undecodable(f"empty cells in {named((self.columns[at] for at in empty.tolist()), 3)}")
        return values

    def standardised(self, row: Row) -> Float32[np.ndarray, " d"]:
        """The row as the network takes it, as it stands before means are known; raises as `aligned`."""
        if not self.means:
            return self.aligned(row).astype(np.float32)
        means, deviations = self._scale
        values = (self.aligned(row).astype(np.float64) - means) / deviations
        return np.clip(np.nan_to_num(values, nan=0.0), -FARTHEST, FARTHEST).astype(np.float32)

    def _places(self, header: Header) -> Int[np.ndarray, " d"]:
        places = np.array([header.places.get(name, -1) for name in self.columns], dtype=np.int64)
        if self.missing != "columns" and (places < 0).any():
            raise Undecodable(missing_columns([self.columns[at] for at in np.flatnonzero(places < 0).tolist()]))
        return places

    @cached_property
    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.means), np.array(self.deviations)


def missing_columns(names: Sequence[str]) -> str:
    """The clause that says that columns are missing, and which."""
    which, are = named(map(repr, names), 3), "is" if len(names) == 1 else "are"
    return f"{counted(len(names), 'column')} that the network knows {are} missing ({which})"
