"""Tables with an example per row, all its numbers together; read in one pass, so that 20,000 columns are feasible.

Columns of labels, splits and groups are read as text, labels that are not asked for not at all; columns without any
number are left out and reported; all others are numbers. Letters: n rows, d columns.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32

from regraft.contracts.example import Columns
from regraft.data.sources._annotated import SUFFIX, Annotated
from regraft.data.sources._rows import Table, _decoded, numbered, read_table, wanted
from regraft.errors import BadData, UnknownName
from regraft.words import EMPTY, counted, named

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """The numbers of a table."""

    names: tuple[str, ...]
    """Names of the columns."""
    values: Float32[np.ndarray, "n d"]
    """NaN for empty cells."""
    table: Table
    """The columns of labels, splits and groups."""


def read_numbers(path: Path, columns: Columns, frame: Any = None, *, mixed: bool = True) -> Numbers | None:
    """Read the table at `path`, or a data frame given that name in errors. Unless `mixed`, returns None if a column has
    no number, no column is left, or the column of labels is missing.

    Raises:
        UnknownName: the column of labels does not exist.
        BadData: the file cannot be read; two columns have the same name; a column mixes text and numbers; there are no
            numbers.
        MissingExtra: parquet without pyarrow.
    """
    asked = replace(columns, path_column="")
    try:
        return _read(path, asked, frame, mixed)
    except _NoColumn as error:
        if not mixed:
            return None
        raise error.args[0] from None


class _NoColumn(Exception):
    """Wraps the error for a column that does not exist."""


def _read(path: Path, asked: Columns, frame: Any, mixed: bool) -> Numbers | None:
    suffix = path.suffix.lower() if frame is None else ""
    if frame is None and suffix not in (".parquet", SUFFIX):
        return _of_text(path, asked, mixed)
    if suffix == ".parquet":
        import pyarrow.parquet

        table, frame = _named_columns(read_table, path, asked), pyarrow.parquet.read_table(path)
        names, arrays = list(frame.column_names), [column.to_numpy() for column in frame.columns]
    else:
        table = _named_columns(read_table, path, asked, frame)
        frame = Annotated(path, asked) if suffix == SUFFIX else frame
        names = list(map(str, frame.columns))
        arrays = [frame[name].to_numpy() for name in frame.columns]
    places = _numeric_places(path, names, table, asked)
    cells = [[str(cell) for cell in arrays[at]] if arrays[at].dtype.kind in "OSU" else arrays[at] for at in places]
    numbers = [_number_column(path, names[at], table.rows, column) for at, column in zip(places, cells, strict=True)]
    return _checked(path, [names[at] for at in places], numbers, table, mixed)


def _of_text(path: Path, columns: Columns, mixed: bool) -> Numbers | None:
    records = numbered(path, _decoded(path)[0], columns)
    header = next(records, None)
    if header is None:
        raise BadData(f"{path.name} has no header line.", fix="start it with a line of column names.")
    names = [name.strip() for name in header[1]]
    kept = _named_columns(wanted, path, names, columns)
    places = [at for at, name in enumerate(names) if at not in kept.values() and not _is_label(name, columns)]
    _refuse_repeated(path, [names[at] for at in places])
    cells: dict[str, list[str]] = {name: [] for name in kept}
    lines, rows, odd = list[int](), list[np.ndarray](), dict[int, tuple[int, str]]()
    for line, record in records:
        if len(record) != len(names):
            raise BadData(
                f"{path.name} row {line}: {len(record):,} fields where the header has {len(names):,}.",
                fix="put fields that contain the delimiter in double quotes, or correct this row.",
            )
        lines.append(line)
        for name, at in kept.items():
            cells[name].append(record[at])
        rows.append(_row(record, places, line, odd))
    table = Table(unused=(), columns=cells, rows=lines)
    if not rows:
        raise BadData(f"{path.name} has a header and no rows.", fix="provide a table with one row per example.")
    values = np.stack(rows)
    columns_of_numbers = [
        _refused_text(path, names[at], odd[at], values[:, index]) if at in odd else values[:, index]
        for index, at in enumerate(places)
    ]
    return _checked(path, [names[at] for at in places], columns_of_numbers, table, mixed)


def _named_columns(read: Callable[..., T], *arguments: Any) -> T:
    try:
        return read(*arguments)
    except (UnknownName, BadData) as error:
        raise _NoColumn(error) from error


def _row(record: list[str], places: Sequence[int], line: int, odd: dict[int, tuple[int, str]]) -> np.ndarray:
    """Return the numbers in one line; `odd` records the first text cell of each column."""
    try:
        found = np.array([float(record[at]) for at in places], dtype=np.float64)
        if np.isfinite(found).all():
            return found.astype(np.float32)
    except ValueError:
        pass
    found = np.empty(len(places))
    for index, at in enumerate(places):
        found[index] = number = _number(record[at])
        if np.isinf(number):
            found[index] = np.nan
            odd.setdefault(at, (line, record[at]))
    return found.astype(np.float32)


def _number(cell: str) -> float:
    """Return the number in a cell, NaN if it is empty, infinity if it is not a number."""
    text = cell.strip()
    if text.lower() in EMPTY:
        return np.nan
    try:
        return float(text)
    except ValueError:
        return np.inf


def _number_column(path: Path, name: str, rows: Sequence[int], cells: Any) -> np.ndarray:
    if isinstance(cells, np.ndarray):
        return np.asarray(cells, dtype=np.float32)
    values = np.array([_number(cell) for cell in cells])
    wrong = np.flatnonzero(np.isinf(values)).tolist()
    values[wrong] = np.nan
    column = values.astype(np.float32)
    return _refused_text(path, name, (rows[wrong[0]], cells[wrong[0]]), column) if wrong else column


def _refused_text(path: Path, name: str, first: tuple[int, str], column: np.ndarray) -> np.ndarray:
    """Return a column of text as NaN.

    Raises:
        BadData: it contains numbers as well.
    """
    if not np.isnan(column).all():
        raise BadData(
            f"{path.name} row {first[0]}: the column {name!r} holds {first[1]!r:.40} among numbers.",
            fix="correct the cell, or leave it empty if the value is unknown; if the column is a group or a split, "
            "name it (--group-column, --split-column).",
        )
    return column


def _is_label(name: str, columns: Columns) -> bool:
    """Return whether a column holds labels that are not asked for: they would tell what is to be learned later."""
    return columns.unlabelled and name in (columns.label_columns or (columns.label_column,))


def _numeric_places(path: Path, names: Sequence[str], table: Table, asked: Columns) -> list[int]:
    places = [at for at, name in enumerate(names) if name not in table.columns and not _is_label(name, asked)]
    _refuse_repeated(path, [names[at] for at in places])
    return places


def _refuse_repeated(path: Path, names: Sequence[str]) -> None:
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise BadData(
            f"{path.name} has {counted(len(repeated), 'column name')} more than once: {named(map(repr, repeated), 3)}.",
            fix="rename or delete these columns: models identify columns by name.",
        )


def _checked(
    path: Path, names: Sequence[str], columns: Sequence[np.ndarray], table: Table, mixed: bool
) -> Numbers | None:
    full = [at for at, column in enumerate(columns) if not np.isnan(column).all()]
    kept = set(full)
    left = [names[at] for at in range(len(names)) if at not in kept]
    if not mixed and (left or not full):
        return None
    if not full:
        raise BadData(f"{path.name} has no numeric column besides {named(map(repr, table.columns), 3)}.",
                      fix="provide a table with one column per measurement.")  # fmt: skip
    notes = (
        [f"{counted(len(left), 'column')} of {path.name} without any number left out: {named(left, 5)}."]
        if left
        else []
    )
    values = np.stack([columns[at] for at in full], axis=1)
    counting = np.arange(len(values))
    for at, name in zip(full, [names[at] for at in full], strict=True):
        if len(values) > 9 and name.casefold() in ("", "id", "index", "row", "patient", "subject") and (
            np.array_equal(columns[at] - columns[at][0], counting)
        ):  # fmt: skip
            notes.append(f"The column {name!r} of {path.name} counts the rows and is read as a number like the others; "
                         "to use it as a group instead, pass --group-column.")  # fmt: skip
    return Numbers(
        names=tuple(names[at] for at in full), values=values, table=replace(table, unused=(), notes=tuple(notes))
    )
