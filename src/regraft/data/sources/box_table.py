"""A table with a row for each box: a path, a label, and the box's edges in pixels in columns `left,top,right,bottom`,
`xmin,ymin,xmax,ymax` or `x1,y1,x2,y2`. An image's rows need not be adjacent; a row with four empty edges marks an image
without boxes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from regraft.contracts.example import Columns, DataSource, Found
from regraft.data.sources._boxes import Box, Boxes
from regraft.data.sources._rows import header_of, read_table
from regraft.data.sources.table import splits_of
from regraft.errors import BadData
from regraft.modalities.image.masks import size_of

HOLDS = ("*.csv", "*.tsv")
EDGES = (("left", "top", "right", "bottom"), ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"))


def accepts(path: Path) -> bool:
    """Return whether `path` is a table whose header has columns for the four edges of a box."""
    return _edges(path) is not None


def _edges(path: Path) -> Sequence[str] | None:
    found = header_of(path)
    return next((names for names in EDGES if {*names} <= found), None)


def open_source(path: Path, columns: Columns) -> Found:
    """Return the images with their boxes.

    Raises:
        BadData: an edge is not a number, an image does not exist, or rows of an image differ in split or group.
    """
    edges = _edges(path) or EDGES[0]
    table = read_table(path, replace(columns, text_columns=(), label_columns=(columns.label_column, *edges)))
    names, splits = table.columns[columns.path_column], splits_of(path, table, columns)
    groups = table.columns.get(columns.group_column) or [""] * len(names)
    of_image, said = dict[str, list[Box]](), dict[str, tuple[str | None, str]]()
    for at, (name, split, group) in enumerate(zip(names, splits, groups, strict=True)):
        where = f"{path.name} row {table.rows[at]}"
        if said.setdefault(name, (split, group)) != (split, group):
            raise BadData(
                f"{where}: {name} has a different split or group in an earlier row.",
                fix="make the rows of this image consistent.",
            )
        cells = [table.columns[edge][at].strip() for edge in edges]
        boxes = of_image.setdefault(name, [])
        if not any(cells):
            continue
        label = table.columns[columns.label_column][at].strip()
        try:
            left, top, right, bottom = map(float, cells)
        except ValueError as error:
            raise BadData(
                f"{where}: {', '.join(edges)} are {', '.join(map(repr, cells))}; expected four numbers, in pixels.",
                fix="correct them, or leave all four empty for an image without boxes.",
            ) from error
        if not label:
            raise BadData(f"{where}: the box has no label.", fix=f"fill in the column {columns.label_column}.")
        boxes.append((label, left, top, right, bottom))
    found = Boxes(where=path)
    for name, some in of_image.items():
        file, (split, group) = path.parent / columns.folder / name, said[name]
        height, width = (size_of(file) if file.is_file() else None) or (0, 0)
        found.add(name, file, some, (width, height) if width else None, split, group=group or None)
    return found.found(table.notes)


ENTRY = DataSource(accepts=accepts, open=open_source)
"""A row for each box."""
