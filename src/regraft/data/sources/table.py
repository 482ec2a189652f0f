"""Tables: CSV, TSV, JSON lines, parquet or AnnData with a column of files (or texts), one or several of labels, and
optionally columns of splits and groups."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.contracts.example import Columns, Content, Contents, DataSource, Example, File, Found, Inline, in_file
from regraft.contracts.modality import MODALITIES, Modality
from regraft.data.sources._rows import Table, read_table, wanted
from regraft.errors import BadData, UnknownName, nearest
from regraft.values import Notice, notices
from regraft.words import SPLIT_WORDS, counted, joined, named, splits_in

PATHS = Columns(unlabelled=True, split_column="", group_column="")
"""Columns of a table without labels."""
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".h5ad")
"""Suffixes of tables."""


def accepts(path: Path) -> bool:
    """Return whether `path` is a file with the suffix of a table."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def open_source(path: Path, columns: Columns, frame: Any = None) -> Found:
    """Return the examples in the table at `path`, or in a data frame given that name in errors.

    Raises:
        UnknownName: a column does not exist.
        BadData: there are no rows; cells are empty; files do not exist; labels or splits are misspelt; one file has two
            labels.
    """
    table, kind, names, contents, notes = _read(path, columns, frame)
    notes = [*table.notes, *notes]
    if frame is not None:
        notes.append(
            "The examples are in memory: to rerun recipe.toml, save the data frame as a table and set its path."
        )
    labels, more = _labels(path, table, columns)
    notes += more
    splits = splits_of(path, table, columns)
    groups = table.columns.get(columns.group_column, [""] * len(table.rows))
    examples = [
        Example(id=name, contents=content, label=label, group=group.strip() or None, split=split, row=row)
        for name, content, label, group, split, row in zip(
            names, contents, labels, groups, splits, table.rows, strict=True
        )
    ]
    kept, repeated = _without_repeats(path, examples)
    if repeated:
        notes.append(f"{path.name} row {named(repeated)}: the same file with the same label again, read once.")
    if table.unused:
        notes.append(f"Columns of {path.name} not used: {named(table.unused, 8)}.")
    alone = sum(example.group is None for example in kept)
    if columns.group_column in table.columns and alone:
        notes.append(f"{counted(alone, 'row')} of {path.name} without a group: each counts as a separate group.")
    return Found(
        examples=tuple(kept),
        modality=columns.modality or kind or _modality(path, [example.content for example in kept]),
        notes=notices(notes),
    )


def is_frame(value: Any) -> bool:
    """Return whether `value` is a data frame (pandas, polars)."""
    return hasattr(value, "columns") and hasattr(value, "to_numpy")


def rows_in(given: Any, kind: Modality, columns: Columns | None = None) -> tuple[list[str], Sequence[Contents], Any]:
    """Return a name and the contents of every row of an unlabelled table with an example per row, and notices.

    Raises:
        BadData: the table cannot be used; the message says why.
    """
    from regraft.data.sources._numbers import read_numbers

    path, frame = (Path("the data frame"), given) if is_frame(given) else (Path(given), None)
    read = read_numbers(path, replace(columns or PATHS, unlabelled=True, split_column="", group_column=""), frame)
    assert read is not None, "columns of text are left out"
    return [f"row {row}" for row in read.table.rows], kind.of_rows(read.names, read.values), notices(read.table.notes)


def listed(given: Any, kind: Modality | None = None) -> Any:
    """Return an input that stands for several as a list: the files in a table, the column `path` or the only column of
    a data frame, the items of an array of paths, or the rows if these are examples of this modality. Anything else is
    returned unchanged.

    Raises:
        UnknownName: the data frame has several columns, and none is called `path`.
        BadData: the table cannot be used; the message says why.
    """
    if kind is not None and kind.rows:
        is_table = is_frame(given) or (isinstance(given, str | Path) and accepts(Path(given)))
        return rows_in(given, kind)[1] if is_table else given
    if is_frame(given):
        own = list(given.columns)
        try:
            return list(given[own[next(iter(wanted(Path("the data frame"), list(map(str, own)), PATHS).values()))]])
        except UnknownName as error:
            error.fix = f"pass one of its columns, for example frame[{own[0]!r}]." if own else "pass one with columns."
            raise
    if isinstance(given, np.ndarray) and given.dtype.kind in "OUST" and (given.ndim < 2 or given.shape[1:] == (1,)):
        cells = given.ravel().tolist()
        return [os.fsdecode(cell) for cell in cells] if given.dtype.kind == "S" else cells
    return files_in(Path(given))[1] if isinstance(given, str | Path) and accepts(Path(given)) else given


def contents_in(path: Path, columns: Columns) -> tuple[list[str], list[Contents], list[Notice]]:
    """Return names and contents of the rows of an unlabelled table, from its cells or their files, and notices about
    assumptions.

    Raises:
        UnknownName: no column contains them.
        BadData: a file does not exist, a cell is empty, or the table cannot be read.
    """
    asked = replace(columns, unlabelled=True, split_column="", group_column="")
    table = read_table(path, asked)
    names, contents, notes = _contents(path, table, asked)
    return names, contents, [*notices((*table.notes, *notes))]


def files_in(path: Path, columns: Columns | None = None) -> tuple[list[str], list[Path], list[Notice]]:
    """Return the names of the files in the rows of an unlabelled table, their paths, and notices about assumptions.

    Raises:
        UnknownName: no column contains paths.
        BadData: a file does not exist, or the table cannot be read.
    """
    asked = replace(columns or PATHS, unlabelled=True, split_column="", group_column="", text_columns=())
    table = read_table(path, asked)
    files, notes = _files(path, table, asked)
    return (table.columns[asked.path_column], list(map(Path, files)), [*notices((*table.notes, *notes))])


def _read(path: Path, columns: Columns, frame: Any) -> tuple[Table, str, list[str], Sequence[Contents], list[str]]:
    """Return the table, the modality if known, a name and the contents of every row, and the assumptions made.

    If no column contains paths and the user named none, rows of numbers are the examples.
    """
    kinds = [name for name in ([columns.modality] if columns.modality else MODALITIES) if MODALITIES.get(name).rows]
    try:
        table = read_table(path, columns, frame)
    except (UnknownName, BadData) as error:  # gene names may look like paths
        if not kinds or columns.text_columns or columns.path_column != Columns.path_column:
            raise
        from regraft.data.sources._numbers import read_numbers

        read = read_numbers(path, columns, frame, mixed=bool(columns.modality))
        if read is None:
            if isinstance(error, UnknownName):
                error.fix += " For a numeric table, name the label column (--label-column); text columns "
                error.fix += "are left out with --set modality=table."
            raise
        rows = MODALITIES.get(kinds[0]).of_rows(read.names, read.values)
        return read.table, kinds[0], [f"row {row}" for row in read.table.rows], rows, []
    if not table.rows:
        raise BadData(f"{path.name} has a header and no rows.", fix="pass a table with one row per example.")
    names, contents, notes = _contents(path, table, columns)
    return table, "", names, contents, notes


def _contents(path: Path, table: Table, columns: Columns) -> tuple[list[str], list[Contents], list[str]]:
    """Return a name and the contents of every row, and the assumptions made."""
    if not table.inline:
        files, notes = _files(path, table, columns)
        return table.columns[columns.path_column], [in_file(Path(file)) for file in files], notes
    for name in table.inline:
        _refuse_empty(path, table, table.columns[name], name)
    cells = zip(*(table.columns[name] for name in table.inline), strict=True)
    contents: list[Contents] = [dict(zip(table.inline, map(Inline, row), strict=True)) for row in cells]
    guessed = f"The cells of the column {table.inline[0]!r} of {path.name} are the examples."
    notes = [] if columns.text_columns else [guessed]
    return [f"row {row}" for row in table.rows], contents, notes


def _modality(path: Path, contents: Sequence[Content]) -> str:
    """Return the only modality that can read these contents, or the one that accepts most of the files by name."""
    inline = not isinstance(contents[0], File)
    able = [name for name in MODALITIES if MODALITIES.get(name).inline == inline or not inline]
    claims = Counter(
        name
        for content in contents
        for name in able
        if isinstance(content, File) and MODALITIES.get(name).claims(content.path.name, bytes)
    )
    if len(able) == 1 or claims:
        return claims.most_common(1)[0][0] if claims else able[0]
    raise BadData(
        f"{path.name}: the kind of its {'cells' if inline else 'files'} cannot be determined.",
        fix=f"use --set modality=NAME, with one of {', '.join(MODALITIES)}.",
    )


def _files(path: Path, table: Table, columns: Columns) -> tuple[list[str], list[str]]:
    """Return the absolute path of every row's file, and the assumptions made."""
    names, root = table.columns[columns.path_column], path.parent / columns.folder
    folder = str(root)
    _refuse_empty(path, table, names, columns.path_column)
    files = [os.path.normpath(os.path.join(folder, name)) for name in names]  # noqa: PTH118 - 20 times as fast
    missing = [at for at, file in enumerate(files) if not os.path.isfile(file)]  # noqa: PTH113
    seen, alike = dict[Path, dict[str, list[Path]]](), dict[int, list[Path]]()
    for at in missing:
        meant = Path(os.path.normpath(root / names[at].strip().replace("\\", "/")))
        alike[at] = [one for one in _alike(meant, seen) if one.is_file()]
    found = [at for at in missing if len(alike[at]) == 1]
    for at in found:
        files[at] = str(alike[at][0])
    if absent := [at for at in missing if at not in set(found)]:
        listed = named(f"{names[at]!r} (row {table.rows[at]})" for at in absent)
        raise BadData(
            f"{path.name}: {counted(len(absent), 'file')} of {len(files):,} cannot be found: {listed}.",
            fix=_elsewhere(root, names[absent[0]], alike[absent[0]]),
        )
    if not found:
        return files, []
    text = (
        f"{counted(len(found), 'path')} of {path.name} found under another spelling (extension, case, accents, "
        f"spaces or backslashes): {names[found[0]]!r} (row {table.rows[found[0]]}) is {Path(files[found[0]]).name}."
    )
    return files, [text]


def _alike(path: Path, seen: dict[Path, dict[str, list[Path]]]) -> list[Path]:
    """Return files with the same name as `path` up to case, accents' encoding, and a missing suffix; `seen` caches the
    folder listings."""
    if os.path.exists(path) or path == path.parent:  # noqa: PTH110 - takes any text
        return [path]
    found = []
    for folder in _alike(path.parent, seen):
        if folder not in seen:
            seen[folder] = {}
            for name in os.listdir(folder) if folder.is_dir() else ():  # noqa: PTH208
                claimed = any(MODALITIES.get(one).claims(name, bytes) for one in MODALITIES)
                for key in {_key(name), _key(name.rpartition(".")[0] if claimed else name)}:
                    seen[folder].setdefault(key, []).append(folder / name)
        found += seen[folder].get(_key(path.name), [])
    return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _elsewhere(root: Path, name: str, alike: Sequence[Path]) -> str:
    """Return where a file with that name is instead, and what to do."""
    if os.path.isdir(root / name):  # noqa: PTH112
        return f"{name!r} is a folder; write a row for each of its files."
    if alike:
        return f"it could be any of {named(sorted(one.name for one in alike))}; write the full name."
    folders = sorted(one for one in root.iterdir() if one.is_dir()) if root.is_dir() else []
    if inside := [one.name for one in folders if os.path.isfile(one / name)]:  # noqa: PTH113
        return f"they seem to be in the folder {inside[0]} beside the table: use --set source.folder={inside[0]}."
    parts = name.replace("\\", "/").split("/")
    for at in range(1, len(parts)):
        if os.path.isfile(root / "/".join(parts[at:])):  # noqa: PTH113
            return f"{'/'.join(parts[at:])!r} is in {root}: remove {'/'.join(parts[:at])!r} from the paths."
    here = f"they seem to be relative to {Path.cwd()}: " if os.path.isfile(name) else ""  # noqa: PTH113
    return f"{here}paths are resolved in {root}; correct them, move the table, or set source.folder."


def _labels(path: Path, table: Table, columns: Columns) -> tuple[list[str], list[str]]:
    """Return the label of every row, with several columns joined, and the assumptions made. Values are checked
    later."""
    if columns.unlabelled:
        return [""] * len(table.rows), []
    if columns.label_columns:
        together = zip(*(table.columns[name] for name in columns.label_columns), strict=True)
        return [joined(map(str.strip, cells)) for cells in together], []
    raw = table.columns[columns.label_column]
    if columns.label_delimiter:
        return [unicodedata.normalize("NFC", cell) for cell in raw], []
    _refuse_empty(path, table, raw, columns.label_column)
    labels = [unicodedata.normalize("NFC", label.strip() if columns.strip_labels else label) for label in raw]
    known = set(labels)
    spaced = [at for at, label in enumerate(labels) if label != label.strip() and label.strip() in known]
    if spaced:
        label, rows = labels[spaced[0]], counted(len(spaced), "row")
        where = "leading" if label.endswith(label.strip()) else "trailing"
        raise BadData(
            f"{path.name} row {table.rows[spaced[0]]} has label {label!r} (with a {where} space); "
            f"the table also contains {label.strip()!r}.",
            fix=f"set strip_labels=true, or correct the {rows}: {named(table.rows[at] for at in spaced)}.",
        )
    stripped = list(map(str.strip, labels))
    changed = next((label for label in labels if label != label.strip()), None)
    text = f"Spaces around the labels of {path.name} are removed: {changed!r} is read as {(changed or '').strip()!r}."
    return stripped, [text] if changed else []


def splits_of(path: Path, table: Table, columns: Columns) -> list[str | None]:
    """Return the split of every row; None if the table has none.

    Raises:
        BadData: a cell is not the name of a split.
    """
    raw = [value.strip() for value in table.columns.get(columns.split_column, [])]
    if not any(raw):
        return [None] * len(table.rows)
    _refuse_empty(path, table, raw, columns.split_column)
    splits = splits_in(set(raw))
    wrong = [at for at, value in enumerate(raw) if value not in splits]
    if wrong:
        value, rows = raw[wrong[0]], named(table.rows[at] for at in wrong)
        raise BadData(
            f"{path.name} row {rows}: the split is {value!r}; expected train, val (valid, validation) or test.",
            fix=f"{nearest(value.casefold(), sorted(SPLIT_WORDS))} If the column means something else, choose another "
            "(--split-column).",
        )
    return [splits[value] for value in raw]


def _refuse_empty(path: Path, table: Table, values: list[str], column: str) -> None:
    empty = [table.rows[at] for at, value in enumerate(values) if not value.strip()]
    if empty:
        raise BadData(
            f"{path.name} row {named(empty)}: the column {column!r} is empty ({counted(len(empty), 'row')} in all).",
            fix="fill in these cells, or delete the rows.",
        )


def _without_repeats(path: Path, examples: Iterable[Example]) -> tuple[list[Example], list[int | None]]:
    """Return the examples, each file once, and the rows that repeat others."""
    first: dict[Any, Example] = {}
    repeated = []
    for example in examples:
        same = example.content.path if isinstance(example.content, File) else example.id
        before = first.setdefault(same, example)
        if before is example:
            continue
        for what in ("label", "split", "group"):
            if getattr(before, what) != getattr(example, what):
                raise BadData(
                    f"{path.name} rows {before.row} and {example.row} give {example.id!r} two {what}s: "
                    f"{getattr(before, what)!r} and {getattr(example, what)!r}.",
                    fix="keep the row that is right.",
                )
        repeated.append(example.row)
    return list(first.values()), repeated


ENTRY = DataSource(accepts=accepts, open=open_source)
