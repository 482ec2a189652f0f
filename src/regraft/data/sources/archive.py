"""Archives of a folder: `photos.tar.gz` (tar; gz, bz2, xz; zip), read like the folder they contain.

A path may continue inside: `photos.tar.gz/metadata.csv` is a table in the archive, `photos.tar.gz/train` a folder.
Enclosing folders are skipped: while there is a single folder that is not named like a split and contains folders, the
examples begin inside it. So example names equal those of the original folder.

Shards: a folder of archives named after splits, `train-0.tar.gz` … `train-3.tar.gz` beside `val.tar.gz`.

Large data sets are published in this form. An archive's name determines its split (`words.splits_in`); it contains
class folders, or that split's folder with them. Every archive is unpacked into the cache once (`data/archives.py`) and
read as a folder: examples are then accessible in any order, so that every epoch is shuffled over all of them,
duplicates are found across shards, and an interrupted run resumes exactly. Streaming the archives allows none of that.
"""

import os
from dataclasses import replace
from pathlib import Path

from regraft.contracts.example import Columns, DataSource, Example, Found
from regraft.data.archives import is_archive, unpacked
from regraft.data.sources import folder, table
from regraft.errors import BadData, nearest
from regraft.values import Notice
from regraft.words import counted, named, splits_in

NAMES = ("archive", "shards")


def accepts(path: Path) -> bool:
    """Return whether `path` is an archive, or continues inside one."""
    return _archive_of(path) is not None


def open_source(path: Path, columns: Columns) -> Found:
    """Return the examples in an archive, or in a folder or table inside it.

    Raises:
        BadData: the archive is damaged or may not be unpacked, the path inside does not exist, or its content cannot be
            used.
        UnknownName: a column does not exist in the table.
        OutOfSpace: there is not enough space to unpack it.
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
    """Return the archive to unpack before opening the path."""
    return [] if (archive := _archive_of(path)) is None else [archive]


def _archive_of(path: Path) -> Path | None:
    """Return the archive at or above `path`."""
    return next((above for above in (path, *path.parents) if is_archive(above)), None)


def enclosed(root: Path) -> Path:
    """Return the folder in which the examples begin."""
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
    raise BadData(f"{inside} does not exist in {archive}.", fix=nearest(inside.parts[0], names))


def holds_shards(path: Path) -> bool:
    """Return whether `path` is a folder with archives named after splits, including `train`."""
    return "train" in shards_in(path)


def open_shards(path: Path, columns: Columns) -> Found:
    """Return the examples in all archives.

    Raises:
        BadData: an archive is damaged, may not be unpacked or has no class folders, two archives of a split contain the
            same file, or there is a folder of examples beside the archives.
        OutOfSpace: there is not enough space to unpack them.
    """
    archives = [(split, archive) for split, some in shards_in(path).items() for archive in some]
    _refuse_folders(path)
    examples: dict[str, Example] = {}
    origin: dict[str, str] = {}
    kinds: set[str] = set()
    text = (
        f"{counted(len(archives), 'archive')} of {path.name} ({named(archive.name for _, archive in archives)}) are "
        "read from copies unpacked in the cache, until `regraft cache --clear`."
    )
    notes = [Notice(text=text, topic="data")]
    for split, archive in archives:
        found = folder.found_under(enclosed(unpacked(archive)), columns, called=archive)
        notes += found.notes
        kinds.add(found.modality)
        for example in found.examples:
            folder_, _, inner = example.id.partition("/")
            if example.split not in (None, split):
                raise BadData(
                    f"{archive} is named after the split {split} but contains the folder {folder_!r}.",
                    fix="pass that archive alone, or pack the class folders without the enclosing split folder.",
                )
            name = f"{split}/{inner if example.split else example.id}"
            if name in examples:
                raise BadData(
                    f"{example.id} is in both {origin[name]} and {archive.name}.", fix="remove it from one of them."
                )
            examples[name] = replace(example, id=name, split=split)
            origin[name] = archive.name
    if len(kinds) > 1:
        raise BadData(
            f"The archives in {path} contain several kinds of examples: {', '.join(sorted(kinds))}.",
            fix="use archives of one kind, or choose the kind to use: --set modality=NAME.",
        )
    return Found(examples=tuple(examples[name] for name in sorted(examples)), modality=kinds.pop(), notes=tuple(notes))


def shards_before(path: Path) -> list[Path]:
    """Return the archives to unpack before opening the path.

    Raises:
        BadData: there is a folder of examples beside them.
    """
    _refuse_folders(path)
    return [archive for archives in shards_in(path).values() for archive in archives]


def shards_in(path: Path) -> dict[str, list[Path]]:
    """Return the archives in a folder by the split in their name; empty if `path` is not a folder."""
    found: dict[str, list[Path]] = {}
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208
    except OSError:
        return {}
    stems = {name: name.partition(".")[0] for name in names if is_archive(path / name)}
    splits = splits_in(stems.values())
    for name, stem in stems.items():
        if stem in splits:
            found.setdefault(splits[stem], []).append(path / name)
    return found


def _refuse_folders(path: Path) -> None:
    folders = [one for one in sorted(path.iterdir()) if one.is_dir() and not folder.is_hidden(one.name)]
    if beside := [one.name for one in folders if folder.files_in(one)[0]]:
        raise BadData(
            f"{path} contains both archives named after splits and folders of examples: {named(beside)}.",
            fix="move one or the other elsewhere; otherwise unpacked examples would count twice.",
        )


ENTRIES = {
    "archive": DataSource(accepts=accepts, open=open_source, archives_in=archives_in),
    "shards": DataSource(accepts=holds_shards, open=open_shards, archives_in=shards_before),
}
