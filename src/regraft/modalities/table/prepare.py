"""Preparation of rows: the columns that the network knows, in its order, standardised.

Means and standard deviations are computed from training rows only, separately in every fold (`Modality.fitted`). An
empty cell is replaced by its column's mean, which is 0 after standardisation. Letters: n rows, d columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int

from regraft.errors import BadRecipe, Undecodable
from regraft.identity import digest_json
from regraft.records import Record
from regraft.words import counted, named

FARTHEST = 20.0
"""Number of standard deviations at which values are clipped: a column that hardly varies in training may be extreme in
a new row, and would dominate the prediction. Our choice."""


@dataclass(frozen=True, eq=False)
class Header:
    """Names of a table's numeric columns, shared by all its rows."""

    names: tuple[str, ...]

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Position of each column."""
        return {name: at for at, name in enumerate(self.names)}

    @cached_property
    def digest(self) -> str:
        """Digest of the names and their order."""
        return digest_json(self.names)


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a table."""

    header: Header | None
    """Its columns; None: those of the network, in its order."""
    values: Float32[np.ndarray, " d"]
    """Its numbers; NaN for empty cells."""


@dataclass(frozen=True, kw_only=True)
class Preparation(Record):
    """The columns that a network takes, and their standardisation."""

    columns: tuple[str, ...] = ()
    """Names of the columns, in the network's order; empty before data are known."""
    means: tuple[float, ...] = ()
    """Mean of each column over the training rows; empty before these are known."""
    deviations: tuple[float, ...] = ()
    """Standard deviation of each column over the training rows; 1 for constant columns."""
    missing: Literal["cells", "columns", "none"] = "cells"
    """What may be missing and is replaced by the mean: `cells`; `columns`, whole columns too; `none`: nothing may."""

    reconstructed: bool = False
    """Whether cells are hidden and to be predicted, for the task reconstruction."""
    hidden: float = 0.3
    """Share of the known cells that are hidden then, in (0, 1). Our choice."""

    def __post_init__(self) -> None:
        if not 0 < self.hidden < 1:
            raise BadRecipe(f"hidden is {self.hidden}; it must be between 0 and 1.", fix="leave out prepare.hidden.")

    def digest_fields(self) -> dict[str, Any]:
        """Return everything that determines the network input, as JSON, for the key of the activation store."""
        unused = () if self.reconstructed else ("reconstructed", "hidden")
        fields = {name: value for name, value in self.to_json().items() if name not in unused}
        return {"rule": "regraft-columns-1", "digest": digest_json(fields)}

    def fitted(self, rows: Sequence[Row]) -> "Preparation":
        """Return the preparation with the means and standard deviations of these rows."""
        table = np.stack([self.aligned(row) for row in rows]).astype(np.float64)
        known = ~np.isnan(table)
        count = np.maximum(known.sum(axis=0), 1)
        means = np.where(known, table, 0.0).sum(axis=0) / count
        deviations = np.sqrt((np.where(known, table - means, 0.0) ** 2).sum(axis=0) / count)
        constant = deviations <= 1e-9 * np.maximum(np.abs(means), 1e-30)
        return replace(self, means=tuple(means.tolist()), deviations=tuple(np.where(constant, 1, deviations).tolist()))

    def aligned(self, row: Row) -> Float32[np.ndarray, " d"]:
        """Return the row's numbers in the network's order; NaN if missing.

        Raises:
            Undecodable: columns or cells are missing that are required.
        """
        if row.header is None or row.header.names == self.columns:
            values = row.values
        else:
            places = self._places(row.header)
            values = np.where(places >= 0, row.values[places], np.float32(np.nan)).astype(np.float32)
        if len(values) != len(self.columns):
            raise Undecodable(f"it has {counted(len(values), 'number')}; expected {len(self.columns):,}")
        if self.missing == "none" and (empty := np.flatnonzero(np.isnan(values))).size:
            raise Undecodable(f"empty cells in {named((self.columns[at] for at in empty.tolist()), 3)}")
        return values

    def standardised(self, row: Row) -> Float32[np.ndarray, " d"]:
        """Return the standardised row, or the row unchanged if no means are known yet. Raises as `aligned`."""
        if not self.means:
            return self.aligned(row).astype(np.float32)
        means, deviations = self._scale
        values = (self.aligned(row).astype(np.float64) - means) / deviations
        return np.clip(np.nan_to_num(values, nan=0.0), -FARTHEST, FARTHEST).astype(np.float32)

    def shown(self, values: Float32[np.ndarray, " d"], known: Bool[np.ndarray, " d"], seed: int) -> tuple[
        Float32[np.ndarray, " d"], Float32[np.ndarray, " d"]
    ]:  # fmt: skip
        """Return a standardised row with some of its `known` cells hidden, at their means, 0; and these cells alone,
        NaN elsewhere. At least one is hidden, and at least one is not, unless there are fewer than two."""
        places = np.random.Generator(np.random.PCG64(seed)).permutation(np.flatnonzero(known))
        chosen = places[: min(max(1, round(self.hidden * len(places))), max(0, len(places) - 1))]
        given, truth = values.copy(), np.full_like(values, np.nan)
        given[chosen], truth[chosen] = 0.0, values[chosen]
        return given, truth

    def _places(self, header: Header) -> Int[np.ndarray, " d"]:
        places = np.array([header.places.get(name, -1) for name in self.columns], dtype=np.int64)
        if self.missing != "columns" and (places < 0).any():
            raise Undecodable(missing_columns([self.columns[at] for at in np.flatnonzero(places < 0).tolist()]))
        return places

    @cached_property
    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.means), np.array(self.deviations)


def missing_columns(names: Sequence[str]) -> str:
    """Return a clause that names the missing columns."""
    which, are = named(map(repr, names), 3), "is" if len(names) == 1 else "are"
    return f"{counted(len(names), 'column')} of the network {are} missing ({which})"
