"""Archives of a folder: `photos.tar.gz` (tar; gz, bz2, xz; zip), read as the folder would be that was packed.

A path may go on inside: `photos.tar.gz/metadata.csv` is a table in the archive, `photos.tar.gz/train` a folder of it.
Folders that only enclose the others are passed through: as long as one folder lies alone, is not called like a split
and holds folders itself, the examples begin in it. So names of examples are those of the folder that was packed.
"""

from dataclasses import replace
from pathlib import Path

from regraft.contracts.source import Columns, DataSource, Found
from regraft.data.archives import is_archive, unpacked
from regraft.data.sources import folder, table
from regraft.errors import BadData, nearest
from regraft.values import Notice
from regraft.words import splits_in


def accepts(path: Path) -> bool:
    """Whether `path` is an archive, or goes on inside one."""
    return _archive_of(path) is not None


def open_source(path: Path, columns: Columns) -> Found:
    """The examples in an archive, or in a folder or table inside it.

    Raises:
        BadData: the archive is damaged or may not be unpacked, nothing is there at that path inside, or what is there
            cannot be used.
        UnknownName: a column of the table is not there.
        OutOfSpace: there is no room to unpack it.
    """
    archive = _archive_of(path)
    assert archive is not None, "a path that was accepted"
    top = unpacked(archive)
    inner = enclosed(top)
    inside = path.relative_to(archive)
    where = _inside(archive, inside, (inner, top)) if inside.parts else inner
    found = (
        table.open_source(where, columns) if table.accepts(where) else folder.found_under(where, columns, called=path)
    )
    text = f"{archive.name} is read from a copy unpacked in the cache, until `regraft cache --clear`."
    return replace(found, notes=(Notice(text=text, topic="data"), *found.notes))


def archives_in(path: Path) -> list[Path]:
    """The archive that is unpacked before the path is opened."""
    return [] if (archive := _archive_of(path)) is None else [archive]


def _archive_of(path: Path) -> Path | None:
    """The archive that `path` is or lies in."""
    return next((above for above in (path, *path.parents) if is_archive(above)), None)


def enclosed(root: Path) -> Path:
    """The folder in which the examples begin."""
    while True:
        seen = [one for one in root.iterdir() if not folder.is_hidden(one.name)]
        if len(seen) != 1 or not seen[0].is_dir() or splits_in([seen[0].name]):
            return root
        if not any(one.is_dir() and not folder.is_hidden(one.name) for one in seen[0].iterdir()):
            return root
        root = seen[0]


def _inside(archive: Path, inside: Path, roots: tuple[Path, ...]) -> Path:
    for root in roots:
        if (root / inside).exists():
            return root / inside
    names = sorted(one.name for one in roots[0].iterdir() if not folder.is_hidden(one.name))
    raise BadData(f"There is nothing at {inside} in {archive}.", fix=nearest(inside.parts[0], names))


ENTRY = DataSource(accepts=accepts, open=open_source, archives_in=archives_in)
