"""Rows of numbers: gene expression, laboratory values, measurements. An example is a row of a table.

Standardisation is in `prepare`, which is imported on first use.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int, Shaped

from regraft.contracts.example import Content, Contents, Example, Inline
from regraft.contracts.family import Card
from regraft.contracts.modality import Modality, Placement, Record, Shapes, View
from regraft.errors import BadData, BadRecipe, Undecodable
from regraft.identity import derive_seed, digest_bytes
from regraft.recipe import preset
from regraft.values import Notice, notices
from regraft.words import counted, named

if TYPE_CHECKING:
    from torch import nn

    from regraft.modalities.table.prepare import Row


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation of rows, applied after standardisation."""

    noise: float = 0.0
    """Standard deviation of the noise added to every number, in standard deviations of its column; 0 or more."""
    masked: float = 0.0
    """Share of the numbers that are replaced by their column's mean, in [0, 1)."""

    def __post_init__(self) -> None:
        if self.noise < 0 or not 0 <= self.masked < 1:
            raise BadRecipe(f"The augmentation has noise {self.noise} and masked {self.masked}.",
                            fix="noise must be 0 or more, masked in [0, 1).")  # fmt: skip

    @property
    def varies(self) -> bool:
        """Whether any view can differ from the plain one."""
        return bool(self.noise or self.masked)

    def digest_fields(self) -> dict[str, Any]:
        """Return everything that determines a view, as JSON, for the key of the activation store."""
        return {"rule": "regraft-row-view-1", **asdict(self)}


PRESETS = {
    "default": Augmentation(noise=0.1, masked=0.1),
    "strong": Augmentation(noise=0.3, masked=0.3),
    "none": Augmentation(),
}
"""Named augmentations. The strengths are our choice."""


class TableModality(Modality):
    """Rows of numbers that share their columns."""

    name = "table"
    one, many = "row", "rows"
    layout = 1
    measured = (("empty", "<i4"),)  # number of empty cells
    Augmentation = Augmentation
    near_copy_rule = "none"
    rows = True

    def __getattr__(self, name: str) -> Any:
        if name == "Preparation":
            from regraft.modalities.table.prepare import Preparation

            return Preparation
        raise AttributeError(name)

    def claims(self, name: str, head: Callable[[], bytes]) -> bool:
        return False

    def of_rows(self, names: Sequence[str], values: Float32[np.ndarray, "n d"]) -> Sequence[Contents]:
        from regraft.modalities.table.prepare import Header, Row

        header = Header(tuple(names))
        return [{"row": Inline(Row(header, row))} for row in values]

    def fingerprint(self, contents: Contents, limit: int = 0) -> Shaped[np.ndarray, ""]:
        row, found = np.zeros((), dtype=self.row), _row(contents)
        digest = np.frombuffer(bytes.fromhex(self.identity(contents)[0]), dtype=np.uint8)
        row["content"] = row["decoded"] = digest
        row["empty"] = int(np.isnan(found.values).sum())
        if row["empty"] == len(found.values):
            row["error"] = b"it has no number in any column"
        return row

    def identity(self, contents: Contents) -> tuple[str, bool]:
        row = _row(contents)
        return digest_bytes((row.header.digest if row.header else "").encode(), row.values.tobytes()), False

    def near_copies(self, prints: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, "m 2"]:
        return np.zeros((0, 2), dtype=np.int64)

    def reader(self, *, optional: bool = False) -> str:
        return "regraft-rows-1"

    def augmentation(self, name: str, changes: Mapping[str, Any]) -> Any:
        return preset(PRESETS, name, changes, what="augmentation of rows")

    def shaped(self, card: Card, contents: Contents) -> Card:
        header = _row(contents).header
        if card.preparation.columns or header is None:
            return card
        count = len(header.names)
        prepared = replace(card.preparation, columns=header.names)
        return replace(card, preparation=prepared, config={"columns": count}, width=card.width or count)

    def fitted(self, preparation: Any, contents: Sequence[Contents]) -> Any:
        return preparation if preparation.means else preparation.fitted([_row(one) for one in contents])

    def check(self, examples: Sequence[Example], prints: Shaped[np.ndarray, " n"], card: Card) -> Sequence[Notice]:
        from regraft.modalities.table.prepare import missing_columns

        prepared, told = card.preparation, []
        headers = {id(header): header for one in examples if (header := _row(one.contents).header) is not None}
        for header in headers.values():
            lacking = [name for name in prepared.columns if name not in header.places]
            if lacking and prepared.missing != "columns":
                raise BadData(f"In this table {missing_columns(lacking)}.",
                              fix="add them, or treat them as empty: --set prepare.missing=columns.")  # fmt: skip
            if lacking:
                told.append(
                    f"In this table {missing_columns(lacking)}: replaced by their means over the training rows."
                )
            known = set(prepared.columns)
            if more := [name for name in header.names if name not in known]:
                told.append(f"{counted(len(more), 'column')} unknown to the network left out: {named(more, 3)}.")
            if [name for name in header.names if name in known] != [
                name for name in prepared.columns if name in header.places
            ]:
                told.append("The columns are in a different order from the network's; they are matched by name.")
        if empty := prints["empty"].sum():
            some = named((examples[at].id for at in np.flatnonzero(prints["empty"]).tolist()), 3)
            if prepared.missing == "none":
                raise BadData(f"{counted(int(empty), 'cell')} are empty ({some}), but this network does not accept "
                f"empty cells.",
                              fix="fill them in, or replace them by their column's mean: --set "
                              "prepare.missing=cells.")  # fmt: skip
            told.append(
                f"{counted(int(empty), 'empty cell')} replaced by the column's mean over the training rows ({some})."
            )
        return notices(told)

    def load(self, contents: Contents, preparation: Any, view: View | None, piece: int = 0) -> tuple[Record, Placement]:
        row, placement = _row(contents), dict[str, np.ndarray]()
        values = preparation.standardised(row)
        if preparation.reconstructed:
            drawn = (view.seed, "hidden", view.number) if view else (0, "hidden", 0)
            seed, known = derive_seed(*drawn, digest_bytes(values.tobytes())), ~np.isnan(preparation.aligned(row))
            values, placement["truth"] = preparation.shown(values, known, seed)
        if view is None or not view.augmentation.varies:
            return {"values": values}, placement
        random = np.random.Generator(np.random.PCG64(derive_seed(view.seed, "view", view.number, view.content)))
        changed = values + view.augmentation.noise * random.standard_normal(len(values), dtype=np.float32)
        kept = random.random(len(values), dtype=np.float32) >= view.augmentation.masked
        return {"values": (changed * kept).astype(np.float32)}, placement

    def itself(self, preparation: Any, parts: str) -> Any:
        if parts not in ("", "values"):
            return super().itself(preparation, parts)
        asked = bool(parts)
        return preparation if asked == preparation.reconstructed else replace(preparation, reconstructed=asked)

    def varies(self, augmentation: Any, preparation: Any) -> bool:
        return bool(augmentation.varies or preparation.reconstructed)  # in every view other cells are hidden

    def placements(self, preparation: Any, augmentation: Any = None) -> Shapes:
        return {"truth": ((len(preparation.columns),), "float32")} if preparation.reconstructed else {}

    def shapes(self, preparation: Any) -> Shapes:
        return {"values": ((len(preparation.columns),), "float32")}

    def standalone(self) -> str:
        from regraft.modalities.table.standalone import SCRIPT

        return SCRIPT

    def outside(self, preparation: Any) -> Any:
        return replace(preparation, means=(), deviations=())

    def inside(self, preparation: Any) -> "nn.Module":
        from regraft.modalities.table.inside import Standardised

        return Standardised(preparation)

    def filed(self, contents: Contents, preparation: Any) -> tuple[str, bytes]:
        file, row = io.StringIO(), _row(contents)
        names = row.header.names if row.header else preparation.columns
        csv.writer(file).writerows([names, ["" if math.isnan(one) else repr(one) for one in row.values.tolist()]])
        return ".csv", file.getvalue().encode()

    def golden(self, seed: int, preparation: Any) -> list[Contents]:
        from regraft.modalities.table.prepare import Row

        scale = np.array(preparation.means), np.array(preparation.deviations)
        rows = _golden(seed, len(preparation.columns))
        return [{"row": Inline(Row(None, (scale[0] + scale[1] * steps / 2).astype(np.float32)))} for steps in rows]

    def golden_digests(self, seed: int, preparation: Any) -> list[str]:
        return [digest_bytes(steps.tobytes()) for steps in _golden(seed, len(preparation.columns))]

    def given(self, value: Any) -> Contents:
        from regraft.modalities.table.prepare import Row

        try:
            numbers = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError):
            numbers = np.zeros((), dtype=np.float32)
        if isinstance(value, str | bytes) or numbers.ndim != 1:
            raise Undecodable(f"it is a {type(value).__name__}; expected the numbers of one row, in the network's "
                              "order of columns, or a table")  # fmt: skip
        return {"row": Inline(Row(None, numbers))}

    def is_one(self, value: Any) -> bool:
        return isinstance(value, np.ndarray | list | tuple) and len(value) > 0 and np.ndim(value[0]) == 0 and not (
            isinstance(value[0], Mapping | str)
        )  # fmt: skip

    def preview(self, content: Content) -> bytes | str:
        row = _row({"row": content})
        names = row.header.names if row.header else map(str, range(len(row.values)))
        return ", ".join(f"{name} {value:.4g}" for name, value in zip([*names][:6], row.values.tolist(), strict=False))


def _row(contents: Contents) -> "Row":
    from regraft.modalities.table.prepare import Row

    (content,) = contents.values()
    if not isinstance(content, Inline) or not isinstance(content.value, Row):
        raise Undecodable("it is not a row of a table")
    return content.value


def _golden(seed: int, count: int) -> list[Int[np.ndarray, " d"]]:
    """Return integers from -4 to 3, generated from raw PCG64 output only."""
    source = np.random.PCG64(derive_seed(seed, "golden rows"))
    return [(source.random_raw(count) >> np.uint64(61)).astype(np.int64) - 4 for _ in range(4)]


ENTRY = TableModality()
