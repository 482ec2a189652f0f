"""Read a table's rows as text: CSV, TSV and JSON lines by the standard library; parquet by pyarrow and AnnData by h5py,
if installed."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from regraft.contracts.example import Columns
from regraft.contracts.modality import MODALITIES
from regraft.errors import BadData, MissingExtra, RegraftError, UnknownName
from regraft.files import decoded_text, head
from regraft.words import named

_MISSING = ("nan", "<NA>", "NaT")
_DELIMITERS = (",", ";", "\t", "|")
NAMED = 100
"""Number of columns among which the nearest name is searched."""
_SEP = re.compile(r"\s*sep=(.)[^\S\r\n]*[\r\n]", re.IGNORECASE)
"""Line above the header that sets Excel's delimiter."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The requested columns of a table, as text."""

    unused: tuple[str, ...]
    """Columns of the table that are not read."""
    columns: dict[str, list[str]]
    """The requested columns that exist, by requested name; empty cells are empty text."""
    rows: list[int]
    """Row numbers: in text files the first line is row 1 and blank lines count; elsewhere the first row is 0."""
    inline: tuple[str, ...] = ()
    """Columns whose cells are the content itself, requested or recognised by name."""
    notes: tuple[str, ...] = ()
    """Assumptions made in reading."""


def read_table(path: Path, columns: Columns, frame: Any = None) -> Table:
    """Read the requested columns of the file at `path`, or of a data frame given that name in errors.

    Raises:
        UnknownName: a required column does not exist; the error suggests the nearest.
        BadData: the file cannot be read, is not UTF-8, has no header, has rows of another length than the header, or
            cells that are not text or numbers.
        MissingExtra: parquet without pyarrow.
    """
    if frame is None and path.suffix.lower() == ".h5ad":
        from regraft.data.sources._annotated import Annotated

        given = Annotated(path, columns)
        return _of_columns(path, [*given.columns], columns, lambda at: list(given[given.columns[at]]), given.rows)
    if frame is not None:
        own = list(frame.columns)
        return _of_columns(path, list(map(str, own)), columns, lambda at: list(frame[own[at]]))
    read = {".parquet": _parquet, ".jsonl": _lines, ".ndjson": _lines}.get(path.suffix.lower(), _text)
    return read(path, columns)


def header_of(path: Path) -> set[str]:
    """Return the column names of a CSV or TSV file, read from its first line only; empty if `path` is no such file or
    cannot be read."""
    if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
        return set()
    line = head(path).partition(b"\n")[0].decode("utf-8", "replace")
    return {cell.strip('\ufeff \r\n"') for cell in re.split("[,;\t]", line)}


def inline_in(names: Sequence[str], columns: Columns) -> tuple[str, ...]:
    """Return the columns whose cells are the content itself: those requested, or, in a table without a column of paths,
    one with a name known to a modality."""
    if columns.text_columns or columns.path_column.casefold() in map(str.casefold, names):
        return columns.text_columns
    usual = {one for name in MODALITIES for one in MODALITIES.get(name).columns}
    found = [name for name in names if name.casefold() in usual and name not in columns.named]
    return tuple(found) if len(found) == 1 else ()


def wanted(
    path: Path, names: list[str], columns: Columns, below: Sequence[tuple[int, list[str]]] = ()
) -> dict[str, int]:
    """Return the position of each requested column, by requested name; case matters only to distinguish two columns.

    `below`: the first rows below the header of a text table, with their numbers.
    """
    found = {}
    inline = inline_in(names, columns)
    asked = dict.fromkeys(inline, "--text-column") or {columns.path_column: "--path-column"}
    asked |= dict.fromkeys(columns.named, "--label-column")
    asked |= {columns.split_column: "--split-column", columns.group_column: "--group-column"}
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
    """Return the error for a missing column: there is no header, it is further down, or the existing columns."""
    content = columns.text_columns or (columns.path_column,)
    one = "--text-column" if columns.text_columns else "--path-column"
    header = f"a line such as {','.join(filter(None, (*content, *columns.named)))}"
    flags = f"{one} and --label-column" if any(columns.named) else one
    lower = next((row for row, record in below if name in map(str.strip, record)), None)
    if lower is None and not _is_path(*names):
        error = UnknownName(f"column in {path.name}", name, names[:NAMED])  # tables of genes have thousands
        error.fix += f" Set the name with {flag}"
        error.fix += f"; if the first line is not a header, add one, {header}." if below else "."
        error.fix += " Name a text column with --text-column." if flag == "--path-column" else ""
        return error
    return BadData(
        f"The first line of {path.name} is not a header: it reads {named(map(repr, names), 3)}, but a column named "
        f"{name!r} is expected.",
        fix=f"delete the lines above line {lower}, the header."
        if lower
        else f"start the table with {header}; for other column names, use {flags}.",
    )


def _is_path(*cells: str) -> bool:
    """Return whether any of these is a path."""
    kinds = [MODALITIES.get(name) for name in MODALITIES]
    return any("/" in cell or "\\" in cell or any(kind.claims(cell, bytes) for kind in kinds) for cell in cells)


def _text(path: Path, columns: Columns) -> Table:
    text, encoding = _decoded(path)
    said, records = _SEP.match(text), list(numbered(path, text, columns))
    if not records:
        raise BadData(
            f"{path.name} has no header line.",
            fix=f"start it with a line such as {columns.path_column},{','.join(columns.named)}.",
        )
    names, rows = [name.strip() for name in records[0][1]], records[1:]
    places = wanted(path, names, columns, rows[:20])
    if ragged := [(row, len(record)) for row, record in rows if len(record) != len(names)]:
        rows_told, found = named(row for row, _ in ragged), ragged[0][1]
        raise BadData(
            f"{path.name} row {rows_told}: {found} fields where the header has {len(names)}.",
            fix="put fields that contain the delimiter in double quotes, or correct these rows.",
        )
    notes, inline = list[str](), inline_in(names, columns)
    if said:
        notes.append(f"The first line of {path.name} is not the header: it declares {said[1]!r} as the delimiter.")
    if encoding.startswith("Windows"):
        if not inline:  # file names must be exact
            raise _not_utf8(path)
        odd = next(cell for _, record in [(0, names), *rows] for cell in record if not cell.isascii())
        notes.append(f"{path.name} is not UTF-8 and is read as {encoding}; check that this is right: {odd:.60}")
    elif encoding:
        notes.append(f"{path.name} is read as {encoding}.")
    return Table(
        unused=tuple(name for at, name in enumerate(names) if name and at not in places.values()),
        columns={name: [record[at] for _, record in rows] for name, at in places.items()},
        rows=[row for row, _ in rows],
        inline=inline,
        notes=tuple(notes),
    )


def numbered(path: Path, text: str, columns: Columns) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of all lines of a table that are not blank; a line that sets the delimiter is skipped."""
    said = _SEP.match(text)
    delimiter = said[1] if said else _delimiter(path, text, columns)
    csv.field_size_limit(1 << 30)  # a cell may hold a long text, or a line all columns of a wide table
    try:
        lines = enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=1)
        yield from islice(((line, one) for line, one in lines if any(map(str.strip, one))), bool(said), None)
    except csv.Error as error:
        raise BadData(f"{path.name} is not a table: {error}.", fix="save it again as CSV in UTF-8.") from error


def _decoded(path: Path) -> tuple[str, str]:
    """Return the text of a table, and its encoding unless UTF-8."""
    try:
        found = decoded_text(path.read_bytes())
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror}).", fix="grant read permission.") from error
    if found is None:
        raise _not_utf8(path)
    return found


def _not_utf8(path: Path) -> BadData:
    data = path.read_bytes()
    try:
        data.decode("utf-8-sig")
        where, byte = 1, 0
    except UnicodeDecodeError as error:
        where, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
    return BadData(f"{path.name} line {where} is not UTF-8 (byte 0x{byte:02x}).", fix="save the table as UTF-8.")


def _lines(path: Path, columns: Columns) -> Table:
    """Read JSON objects, one per line; missing names are empty cells."""
    text, _ = _decoded(path)
    rows, numbers = list[dict[str, Any]](), list[int]()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BadData(
                f"{path.name} line {number} is {line:.40}; expected a JSON object.",
                fix='write one object per line, such as {"text": "…", "label": "…"}.',
            )
        rows.append(value)
        numbers.append(number)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return _of_columns(path, names, columns, lambda at: [row.get(names[at]) for row in rows], numbers)


def _delimiter(path: Path, text: str, columns: Columns) -> str:
    """Return the delimiter with which the header contains the requested columns; otherwise the one implied by the
    file's suffix, or the one with the most fields."""
    header, said = text.lstrip("\r\n").splitlines()[:1], "\t" if path.suffix.lower() == ".tsv" else None

    def rank(delimiter: str) -> tuple[bool, bool, int]:
        names = [name.strip() for name in next(csv.reader(header, delimiter=delimiter), [])]
        content = columns.text_columns or inline_in(names, columns) or (columns.path_column,)
        return {*content, *columns.named} <= set(names), delimiter == said, len(names)

    return max(_DELIMITERS, key=rank)


def _parquet(path: Path, columns: Columns) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "tables", "Reading a Parquet table") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            return _of_columns(
                path, names, columns, lambda at: file.read([names[at]], use_threads=False).column(0).to_pylist()
            )
    except (pyarrow.ArrowException, OSError) as error:
        raise BadData(
            f"{path} is not a valid Parquet file: {str(error).rstrip('.')}.", fix="create the file again."
        ) from error


def _of_columns(
    path: Path,
    names: list[str],
    columns: Columns,
    read: Callable[[int], list[Any]],
    numbers: Sequence[int] | None = None,
) -> Table:
    """Return a table whose columns are `read` by position; `numbers` are its row numbers, None to count from 0."""
    places, inline = wanted(path, names, columns), inline_in(names, columns)
    read_ones = {name: read(at) for name, at in places.items()}
    rows = list(numbers) if numbers is not None else list(range(max(map(len, read_ones.values()), default=0)))
    found = dict[str, list[str]]()
    for name, cells in read_ones.items():
        if name in inline:
            _refuse_untold(path, name, rows, cells)
        found[name] = [_plain(path, name, row, cell) for row, cell in zip(rows, cells, strict=True)]
    return Table(
        unused=tuple(name for at, name in enumerate(names) if at not in places.values()),
        columns=found,
        rows=rows,
        inline=inline,
    )


def _refuse_untold(path: Path, column: str, rows: Sequence[int], cells: Sequence[Any]) -> None:
    """Raises: BadData: a cell of inline content is not text but a number, a list or similar."""
    others = [
        (row, cell) for row, cell in zip(rows, cells, strict=True)
        if not isinstance(cell, str | bytes) and cell is not None and str(cell) not in _MISSING
    ]  # fmt: skip
    if others:
        cell = others[0][1]
        raise BadData(
            f"{path.name} row {named(at for at, _ in others)}: {column} is {cell!r:.40} ({type(cell).__name__}); "
            "expected text.",
            fix="write text in every cell, or name another column (--text-column).",
        )


def _plain(path: Path, column: str, row: int, value: Any) -> str:
    """Return a cell as text: bytes decoded as UTF-8, integers without a fraction, missing values empty."""
    if value is None or (not isinstance(value, str) and str(value) in _MISSING):
        return ""
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            value = [value]  # not text either, like a list
    if hasattr(value, "__len__") and not isinstance(value, str):
        raise BadData(
            f"{path.name} row {row}: {column} is {value!r:.40}; expected text or a number.",
            fix="write one value per cell; write several labels as text with a delimiter (--label-delimiter ';').",
        )
    return str(value)
