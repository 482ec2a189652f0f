"""Folders: `class/…`, or `train/class/…` beside `val/class/…` and `test/class/…`; deeper folders belong to their class.

A folder is divided when all its sub-folders with pictures carry split names and hold class folders themselves; so a
class may well be called `train`, if its pictures lie directly in it. Hidden files and those of unknown kind are left
out and counted.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from regraft.contracts.source import Columns, DataSource, Found
from regraft.data.dataset import Example
from regraft.errors import BadData
from regraft.modalities.image.dicom import HEAD_BYTES, is_dicom
from regraft.values import Notice
from regraft.words import SPLIT_WORDS, counted, named

EXTENSIONS = frozenset((
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "bmp", "dib", "tif", "tiff", "webp", "avif", "ppm", "pgm",
    "pbm", "pnm", "jp2", "j2k", "jpx", "dcm", "dicom", "npy",
))  # fmt: skip
"""Files with these endings, in any case, are taken for pictures; what they are is decided on decoding. DICOM files
often have none, or a number: of such files the first bytes decide."""

_CLUTTER = frozenset(("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"))
_TABLES = frozenset(("csv", "tsv", "parquet"))


@dataclass
class _Listing:
    pictures: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    """Names from the root down to the file, and the absolute path."""
    folders: list[tuple[str, ...]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    tables: list[str] = field(default_factory=list)


def accepts(path: Path) -> bool:
    """Whether `path` is a folder."""
    return path.is_dir()


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over."""
    return name.startswith(".") or name.lower() in _CLUTTER


def pictures(root: Path) -> list[Path]:
    """Every picture file under a folder, labelled or not, in the order of their names; hidden ones left out."""
    return [Path(path) for _, path in _list(root).pictures]


def open_source(path: Path, columns: Columns) -> Found:
    """The examples in a folder of class folders.

    Raises:
        BadData: no pictures, no class folders, split folders mixed with others, or splits inside the classes.
    """
    del columns
    return found_under(path, called=path)


def found_under(root: Path, *, called: Path) -> Found:
    """The examples in the folder `root`, which the user knows as `called`; raises as `open_source` does."""
    listing = _list(root)
    notes = _left_out(listing, called)
    if not listing.pictures:
        seen = f" ({', '.join(f'{count} {kind}' for kind, count in listing.others.most_common(3))})"
        raise BadData(
            f"{called} holds no pictures{seen if listing.others else ''}.",
            fix="give a folder with one sub-folder of pictures per class, or a table with the columns path and label.",
        )
    divided = _is_divided(called, listing)
    depth = 2 if divided else 1
    stray = [names for names, _ in listing.pictures if len(names) <= depth]
    if len(stray) == len(listing.pictures):
        raise BadData(
            f"{called} holds {counted(len(stray), 'picture')} but no class folders.",
            fix="put the pictures of each class into a folder of its own, or give a table (path, label).",
        )
    if stray:
        notes += _told(f"{counted(len(stray), 'picture')} in no class folder left out: {_joined(stray)}.")
    examples = tuple(_examples(listing, divided))
    notes += _merged(listing, divided) + _empty(listing, depth)
    return Found(examples=examples, notes=notes)


def _list(root: Path) -> _Listing:
    listing = _Listing()
    _walk(str(root), (), listing, frozenset())
    listing.pictures.sort()
    return listing


def _walk(folder: str, names: tuple[str, ...], listing: _Listing, above: frozenset[tuple[int, int]]) -> None:
    try:
        here = Path(folder).stat()
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise BadData(
            f"The folder {folder} cannot be read ({error.strerror}).",
            fix="allow reading it, or move it out of the data.",
        ) from error
    me = (here.st_dev, here.st_ino)
    if me in above:
        return  # a link to a folder that we are in
    for entry in found:
        inner = (*names, entry.name)
        if is_hidden(entry.name):
            listing.hidden.append("/".join(inner))
        elif entry.is_dir():
            listing.folders.append(inner)
            _walk(entry.path, inner, listing, above | {me})
        elif _is_picture(entry, ending := entry.name.rpartition(".")[2].lower()):
            listing.pictures.append((inner, entry.path))
        else:
            listing.others[f".{ending}" if "." in entry.name else "without ending"] += 1
            if ending in _TABLES:
                listing.tables.append("/".join(inner))


def _is_picture(entry: "os.DirEntry[str]", ending: str) -> bool:
    if "." in entry.name and not ending.isdecimal():
        return ending in EXTENSIONS
    try:
        with open(entry.path, "rb") as file:  # noqa: PTH123 - a tenth of the time
            return is_dicom(file.read(HEAD_BYTES))
    except OSError:
        return False


def _is_divided(root: Path, listing: _Listing) -> bool:
    """Whether the top folders are splits."""
    tops = sorted({names[0] for names, _ in listing.pictures if len(names) > 1})
    deep = {names[0] for names, _ in listing.pictures if len(names) > 2}
    if len(tops) == 1 and len(inner := {names[1] for names, _ in listing.pictures if len(names) > 2}) > 1:
        if tops[0].casefold() not in SPLIT_WORDS:
            raise BadData(
                f"{root} holds one folder, {tops[0]!r}, with {named(sorted(inner), 3)} inside.",
                fix=f"give {root / tops[0]}",
            )
        return True
    splits = [top for top in tops if top.casefold() in SPLIT_WORDS]
    others = [top for top in tops if top.casefold() not in SPLIT_WORDS]
    if any(SPLIT_WORDS[top.casefold()] == "train" and top in deep for top in splits) and others:
        raise BadData(
            f"{root} holds the splits {named(splits)} and beside them {named(others)}, with pictures too.",
            fix=f"move {named(others)} elsewhere, or say in a table which picture belongs where.",
        )
    if splits and not others and any(top in deep for top in splits):
        return True
    below = {names[1].casefold() for names, _ in listing.pictures if len(names) > 2}
    flat = any(len(names) == 2 for names, _ in listing.pictures)
    if not flat and len(below) > 1 and all(name in SPLIT_WORDS for name in below):
        raise BadData(
            f"{root} has the splits inside the classes ({tops[0]}/{sorted(below)[0]}); the classes inside the splits "
            "are expected.",
            fix=f"move {tops[0]}/train to train/{tops[0]} and so on, or say in a table which picture belongs where.",
        )
    return False


def _examples(listing: _Listing, divided: bool) -> Iterator[Example]:
    for names, path in listing.pictures:
        if len(names) > (2 if divided else 1):
            yield Example(
                id=_text("/".join(names)),
                path=Path(path),
                label=_label(names[1] if divided else names[0]),
                split=SPLIT_WORDS[names[0].casefold()] if divided else None,
            )


def _label(name: str) -> str:
    """The class that a folder stands for: systems write the same accents in two ways, so in composed form."""
    return unicodedata.normalize("NFC", _text(name))


def _text(name: str) -> str:
    """The name as valid Unicode; bytes that are none are replaced by a mark."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "replace")


def _merged(listing: _Listing, divided: bool) -> tuple[Notice, ...]:
    at = 1 if divided else 0
    spellings: dict[str, set[str]] = {}
    for names in listing.folders:
        if len(names) == at + 1:
            spellings.setdefault(_label(names[at]), set()).add(names[at])
    notes = [f"Two spellings of the class {label!r} were merged." for label, some in spellings.items() if len(some) > 1]
    folders: dict[str, list[str]] = {}
    for names in listing.folders:
        if divided and len(names) == 1 and names[0].casefold() in SPLIT_WORDS:
            folders.setdefault(SPLIT_WORDS[names[0].casefold()], []).append(names[0])
    notes += [f"{named(some)} together are the {split} part." for split, some in folders.items() if len(some) > 1]
    return _told(*notes)


def _empty(listing: _Listing, depth: int) -> tuple[Notice, ...]:
    full = {names[:depth] for names, _ in listing.pictures}
    empty = [names for names in listing.folders if len(names) == depth and names not in full]
    if not empty:
        return ()
    return _told(f"{counted(len(empty), 'folder')} without pictures left out: {_joined(empty)}.")


def _left_out(listing: _Listing, called: Path) -> tuple[Notice, ...]:
    notes = []
    if listing.hidden:
        notes.append(
            f"{counted(len(listing.hidden), 'hidden entry', 'hidden entries')} left out: {named(listing.hidden)}."
        )
    if listing.others:
        kinds = named(f"{count} {kind}" for kind, count in listing.others.most_common())
        notes.append(f"{counted(sum(listing.others.values()), 'file')} of unknown kind left out: {kinds}.")
    if listing.tables:
        notes.append(
            f"{named(listing.tables)} was not read; to use a table, give it: {called.name}/{listing.tables[0]}."
        )
    return _told(*notes)


def _joined(names: list[tuple[str, ...]]) -> str:
    return named("/".join(one) for one in names)


def _told(*texts: str) -> tuple[Notice, ...]:
    return tuple(Notice(text=text, topic="data") for text in texts)


ENTRY = DataSource(accepts=accepts, open=open_source, last=True)
