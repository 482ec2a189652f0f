"""Rows of a table as text: CSV and TSV by the standard library, parquet by pyarrow where it is installed."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.contracts.source import Columns
from regraft.errors import BadData, MissingExtra, UnknownName
from regraft.words import named

_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, kw_only=True)
class Table:
    """The wanted columns of a table, as text."""

    names: tuple[str, ...]
    """Every column of the table, read or not."""
    columns: dict[str, list[str]]
    """The wanted columns that the table has, by the table's name; empty cells are empty text."""
    rows: list[int]
    """The number of every row: in text the header is row 1 and blank lines count; in parquet the first row is 0."""


def read_table(path: Path, columns: Columns) -> Table:
    """Read the columns that `columns` asks for.

    Raises:
        UnknownName: a column that must be there is not; the nearest is offered.
        BadData: the file cannot be read, is not UTF-8, or has rows of another length than its header.
        MissingExtra: parquet without pyarrow.
    """
    return _parquet(path, columns) if path.suffix.lower() == ".parquet" else _text(path, columns)


def _wanted(path: Path, names: list[str], columns: Columns) -> list[str]:
    wanted = []
    for name in (*(columns.inline or (columns.path,)), *columns.named, columns.split, columns.group):
        if name in names:
            if names.count(name) > 1:
                raise BadData(f"{path.name} has two columns named {name!r}.", fix="rename one of them.")
            wanted.append(name)
        elif name is not None and name not in columns.optional:
            raise UnknownName(f"column in {path.name}", name, names)
    return wanted


def _text(path: Path, columns: Columns) -> Table:
    text = _decoded(path)
    delimiter = columns.delimiter or _delimiter(path, text, columns)
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise BadData(f"{path.name} is not a table: {error}.", fix="save it again as CSV in UTF-8.") from error
    if not records or not any(records[0]):
        raise BadData(
            f"{path.name} has no header line.",
            fix=f"begin it with a line like {columns.path},{','.join(columns.named)}.",
        )
    names = [name.strip() for name in records[0]]
    rows = [(row, record) for row, record in enumerate(records[1:], start=2) if record]
    if ragged := [row for row, record in rows if len(record) != len(names)]:
        found = len(records[ragged[0] - 1])
        raise BadData(
            f"{path.name} row {named(ragged)}: {found} fields where the header has {len(names)}.",
            fix="put fields that contain the delimiter in double quotes, or correct these rows.",
        )
    places = {name: names.index(name) for name in _wanted(path, names, columns)}
    return Table(
        names=tuple(names),
        columns={name: [record[at] for _, record in rows] for name, at in places.items()},
        rows=[row for row, _ in rows],
    )


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror}).", fix="allow reading it.") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadData(
            f"{path.name} line {line} is not UTF-8 (byte 0x{data[error.start]:02x}).", fix="save the table as UTF-8."
        ) from error


def _delimiter(path: Path, text: str, columns: Columns) -> str:
    """The delimiter under which the header has the wanted columns; failing that, the most fields."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = text.lstrip("\r\n").splitlines()[:1]

    def rank(delimiter: str) -> tuple[bool, int]:
        names = [name.strip() for name in next(csv.reader(header, delimiter=delimiter), [])]
        return {columns.path, *columns.named} <= set(names), len(names)

    return max(_DELIMITERS, key=rank)


def _parquet(path: Path, columns: Columns) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "tables", "Reading a parquet table") from error
    try:
        names = list(pyarrow.parquet.read_schema(path).names)
        wanted = _wanted(path, names, columns)
        table = pyarrow.parquet.read_table(path, columns=wanted)
    except (pyarrow.ArrowException, OSError) as error:
        raise BadData(f"{path} cannot be read as parquet: {error}.", fix="write the file again.") from error
    return Table(
        names=tuple(names),
        columns={name: list(_plain(table.column(name).to_pylist())) for name in wanted},
        rows=list(range(table.num_rows)),
    )


def _plain(values: list[Any]) -> Iterator[str]:
    for value in values:
        if value is None or value != value:  # None, or not a number
            yield ""
        elif isinstance(value, float) and value.is_integer():
            yield str(int(value))
        else:
            yield str(value)
