"""Rows of a table as text: CSV and TSV by the standard library, parquet by pyarrow where it is installed."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.contracts.modality import MODALITIES
from regraft.contracts.source import Columns
from regraft.errors import BadData, MissingExtra, RegraftError, UnknownName
from regraft.words import named

_DELIMITERS = (",", ";", "\t", "|")
_SEP = re.compile(r"\s*sep=(.)[^\S\r\n]*[\r\n]", re.IGNORECASE)
"""The line above the header by which Excel is told the delimiter."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The wanted columns of a table, as text."""

    unused: tuple[str, ...]
    """Columns of the table that are not read."""
    columns: dict[str, list[str]]
    """The wanted columns that the table has, by the name that was asked for; empty cells are empty text."""
    rows: list[int]
    """The number of every row: in text the first line is row 1 and blank lines count; elsewhere the first row is 0."""
    notes: tuple[str, ...] = ()
    """What was assumed to read it."""


def read_table(path: Path, columns: Columns, frame: Any = None) -> Table:
    """Read the columns that `columns` asks for, of the file at `path`, or of a data frame that errors call so.

    Raises:
        UnknownName: a column that must be there is not; the nearest is offered.
        BadData: the file cannot be read, is not UTF-8, does not begin with a header, has rows of another length than
            it, or cells that are not text or numbers.
        MissingExtra: parquet without pyarrow.
    """
    if frame is not None:
        own = list(frame.columns)
        return _of_columns(path, list(map(str, own)), columns, lambda at: list(frame[own[at]]))
    return _parquet(path, columns) if path.suffix.lower() == ".parquet" else _text(path, columns)


def wanted(
    path: Path, names: list[str], columns: Columns, below: Sequence[tuple[int, list[str]]] = ()
) -> dict[str, int]:
    """Where each wanted column stands, by the name that was asked for; case matters only between two of a name.

    `below`: the first rows under the header of a text table, with their numbers.
    """
    found = {}
    asked = dict.fromkeys(columns.inline or (columns.path,), "--path-column")
    asked |= dict.fromkeys(columns.named, "--label-column")
    asked |= {columns.split or "": "--split-column", columns.group or "": "--group-column"}
    for name, flag in asked.items():
        same = [at for at, other in enumerate(names) if other == name]
        same = same or [at for at, other in enumerate(names) if other.casefold() == name.casefold()]
        if not name:
            continue
        if len(same) > 1:
            raise BadData(f"{path.name} has two columns named {name!r}.", fix="rename one of them.")
        if same:
            found[name] = same[0]
        elif len(names) == 1 and not any(columns.named) and not _is_path(names[0]):
            found[name] = 0
        elif name not in columns.optional:
            raise _no_column(path, name, flag, names, columns, below)
    return found


def _no_column(
    path: Path, name: str, flag: str, names: list[str], columns: Columns, below: Sequence[tuple[int, list[str]]]
) -> RegraftError:
    """What to say of a column that is not there: that the header is missing or lies lower, or which there are."""
    header = f"a line such as {','.join(filter(None, (columns.path, *columns.named)))}"
    flags = "--path-column and --label-column" if any(columns.named) else "--path-column"
    lower = next((row for row, record in below if name in map(str.strip, record)), None)
    if lower is None and not any(map(_is_path, names)):
        error = UnknownName(f"column in {path.name}", name, names)
        error.fix += f" The name is given by {flag}"
        error.fix += f"; if the first line is not a header, begin the table with one, {header}." if below else "."
        return error
    return BadData(
        f"The first line of {path.name} is not a header: it reads {named(map(repr, names), 3)}, and a column named "
        f"{name!r} is expected.",
        fix=f"delete what stands above line {lower}, the header."
        if lower
        else f"begin the table with {header}; columns with other names are given by {flags}.",
    )


def _is_path(cell: str) -> bool:
    return "/" in cell or "\\" in cell or any(MODALITIES.get(name).claims(cell, bytes) for name in MODALITIES)


def _text(path: Path, columns: Columns) -> Table:
    text = _decoded(path)
    said = _SEP.match(text)
    delimiter = columns.delimiter or (said[1] if said else _delimiter(path, text, columns))
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise BadData(f"{path.name} is not a table: {error}.", fix="save it again as CSV in UTF-8.") from error
    filled = [at for at, record in enumerate(records) if any(map(str.strip, record))][bool(said) :]
    if not filled:
        raise BadData(
            f"{path.name} has no header line.",
            fix=f"begin it with a line like {columns.path},{','.join(columns.named)}.",
        )
    names = [name.strip() for name in records[filled[0]]]
    rows = [(at + 1, records[at]) for at in filled[1:]]
    places = wanted(path, names, columns, rows[:20])
    if ragged := [row for row, record in rows if len(record) != len(names)]:
        found = len(records[ragged[0] - 1])
        raise BadData(
            f"{path.name} row {named(ragged)}: {found} fields where the header has {len(names)}.",
            fix="put fields that contain the delimiter in double quotes, or correct these rows.",
        )
    return Table(
        unused=tuple(name for at, name in enumerate(names) if name and at not in places.values()),
        columns={name: [record[at] for _, record in rows] for name, at in places.items()},
        rows=[row for row, _ in rows],
        notes=(f"The first line of {path.name} is not the header: it says that {said[1]!r} is the delimiter.",)
        if said
        else (),
    )


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror}).", fix="allow reading it.") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if data[1:2] == b"\0" and data[:1].strip(b"\0"):  # as some systems write it, without a mark
        encoding = "utf-16-le"
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
        with pyarrow.parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            return _of_columns(
                path, names, columns, lambda at: file.read([names[at]], use_threads=False).column(0).to_pylist()
            )
    except (pyarrow.ArrowException, OSError) as error:
        raise BadData(f"{path} cannot be read as parquet: {error}.", fix="write the file again.") from error


def _of_columns(path: Path, names: list[str], columns: Columns, read: Callable[[int], list[Any]]) -> Table:
    """A table whose columns are `read` one by one, by position."""
    places = wanted(path, names, columns)
    found = {name: [_plain(path, name, *one) for one in enumerate(read(at))] for name, at in places.items()}
    return Table(
        unused=tuple(name for at, name in enumerate(names) if at not in places.values()),
        columns=found,
        rows=list(range(max(map(len, found.values()), default=0))),
    )


def _plain(path: Path, column: str, row: int, value: Any) -> str:
    """A cell as text: bytes as the UTF-8 that they hold, whole numbers without a fraction, missing ones empty."""
    if value is None or (not isinstance(value, str) and str(value) in ("nan", "<NA>", "NaT")):
        return ""
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            value = [value]  # as little a text as a list is
    if hasattr(value, "__len__") and not isinstance(value, str):
        raise BadData(
            f"{path.name} row {row}: {column} is {value!r:.40}; text or a number is expected.",
            fix="write one value a cell; several labels as text with a delimiter between them (--label-delimiter ';').",
        )
    return str(value)
