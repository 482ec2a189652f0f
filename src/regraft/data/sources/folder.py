"""Folders: `class/…`, or `train/class/…` beside `val/class/…` and `test/class/…`; deeper folders belong to their class.

A folder has splits if all its sub-folders with examples have split names (`words.splits_in`) and contain class folders
themselves; so a class may be called `train` if its examples are directly in it and there are other classes. A level
that repeats the split (`train/train/…`, `train/images/…`) is skipped. Hidden files and files of unknown type are left
out and counted; so are broken links, unless their names show that an example is missing. Unlabelled folders
(`files_in`) follow the same rule.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from regraft.contracts.example import Columns, DataSource, Example, Found, in_file
from regraft.contracts.modality import MODALITIES, Modality
from regraft.data.sources.table import SUFFIXES
from regraft.errors import BadData
from regraft.values import Notice, notices
from regraft.words import counted, named, splits_in

HEAD_BYTES = 256
"""Number of bytes read from a file whose name does not reveal its type."""
_CLUTTER = frozenset(("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "dicomdir"))
_MAX_DEPTH = 64
"""Maximum depth of nested folders."""


@dataclass
class _Listing:
    files: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    """Files of examples: path components below the root, and the absolute path."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Number of examples by modality."""
    folders: list[tuple[str, ...]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    tables: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    """Entries that are read neither as file nor as folder, and why."""


def accepts(path: Path) -> bool:
    """Return whether `path` is a folder."""
    return path.is_dir()


def is_hidden(name: str) -> bool:
    """Return whether a file or folder with this name is skipped."""
    return name.startswith(".") or name.lower() in _CLUTTER


def files_in(root: Path, modality: str = "") -> tuple[list[Path], list[Notice]]:
    """Return the files of all examples under a folder, labelled or not, sorted by name, and notices about files left
    out."""
    listing = _list(root, modality)
    return [Path(path) for _, path in listing.files], [*notices(_left_out(listing, root))]


def open_source(path: Path, columns: Columns) -> Found:
    """Return the examples in a folder of class folders.

    Raises:
        BadData: there are no examples or no class folders, split folders are mixed with others, or splits are inside
            the classes.
    """
    return found_under(path, columns, called=path)


def found_under(root: Path, columns: Columns, *, called: Path, beside: str = "") -> Found:
    """Return the examples in the folder `root`, which errors call `called`; raises as `open_source`. Files with the
    ending `beside` belong to examples, and are not counted as left out."""
    modality = columns.modality
    listing = _list(root, modality)
    listing.others.pop(beside, None)
    if not listing.files:
        readers = map(MODALITIES.get, [modality] if modality else MODALITIES)
        wanted = " or ".join(one.many for one in readers if not one.rows)
        seen = f" ({', '.join(f'{count} {kind}' for kind, count in listing.others.most_common(3))})"
        raise BadData(
            f"{called} holds no {wanted}{seen if listing.others else ''}.",
            fix="pass a folder with one subfolder of files per class, or a table with the columns path and label.",
        )
    if len(listing.kinds) > 1:
        kinds = ", ".join(f"{count} {MODALITIES.get(kind).many}" for kind, count in listing.kinds.most_common())
        raise BadData(
            f"{called} contains several kinds of examples: {kinds}.",
            fix=f"choose the kind to use, for example --set modality={listing.kinds.most_common()[0][0]}.",
        )
    (kind,) = listing.kinds
    if columns.unlabelled:
        told = tuple(Notice(text=text, topic="data") for text in _left_out(listing, called))
        return Found(examples=tuple(_unlabelled(listing)), modality=kind, notes=told)
    reads = MODALITIES.get(kind)
    passed = list[str]()
    while more := _pass_through(listing):
        passed += more
    splits = _splits(called, listing, reads.many)
    depth = 2 if splits else 1
    stray = [names for names, _ in listing.files if len(names) <= depth]
    if len(stray) == len(listing.files):
        raise BadData(
            f"{called} holds {counted(len(stray), reads.one, reads.many)} but no class folders.",
            fix=f"put the {reads.many} of each class into a separate folder, or pass a table (path, label); to learn "
            "without labels, from another network, use --strategy distill --task features.",
        )
    notes = [*passed, *([] if splits else _repeating(listing)), *_left_out(listing, called)]
    if stray:
        notes.append(f"{counted(len(stray), reads.one, reads.many)} in no class folder left out: {_joined(stray)}.")
    full = {names[:depth] for names, _ in listing.files}
    empty = [names for names in listing.folders if len(names) == depth and names not in full]
    notes += _merged(listing, splits)
    if empty:
        notes.append(f"{counted(len(empty), 'folder')} without {reads.many} left out: {_joined(empty)}.")
    return Found(examples=tuple(_examples(listing, splits)), modality=kind, notes=notices(notes))


def _list(root: Path, modality: str = "") -> _Listing:
    every = [MODALITIES.get(name) for name in ([modality] if modality else MODALITIES)]
    for reading in ([one for one in every if not one.gives_way], every):
        listing = _Listing()
        if reading:
            _walk(str(root), (), listing, frozenset(), reading)
        if listing.files:
            break
    listing.files.sort()
    return listing


def _walk(
    folder: str,
    names: tuple[str, ...],
    listing: _Listing,
    above: frozenset[tuple[int, int]],
    reading: Sequence[Modality],
) -> None:
    try:
        here = Path(folder).stat()
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise BadData(
            f"The folder {folder} cannot be read ({error.strerror}).",
            fix="grant read permission, or move it out of the data.",
        ) from error
    me = (here.st_dev, here.st_ino)
    if me in above or len(names) > _MAX_DEPTH:
        why = "a link to a folder that contains it" if me in above else f"more than {_MAX_DEPTH} folders deep"
        listing.odd.append(f"{'/'.join(names)} ({why})")
        return
    for entry in found:
        inner = (*names, entry.name)
        is_file = _is(entry.is_file)
        # A link to a missing image counts as an unreadable example.
        dead = not is_file and entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110
        if is_hidden(entry.name):
            listing.hidden.append("/".join(inner))
        elif _is(entry.is_dir):
            listing.folders.append(inner)
            _walk(entry.path, inner, listing, above | {me}, reading)
        elif kind := _kind(entry, reading, is_file) if is_file or dead else "":
            listing.files.append((inner, entry.path))
            listing.kinds[kind] += 1
        elif not is_file:
            why = "a broken link" if dead else "neither a file nor a folder"
            listing.odd.append(f"{'/'.join(inner)} ({why})")
        else:
            ending = entry.name.rpartition(".")[2].lower()
            listing.others[f".{ending}" if "." in entry.name else "no extension"] += 1
            if f".{ending}" in SUFFIXES:
                listing.tables.append("/".join(inner))


def _is(question: Callable[[], bool]) -> bool:
    """Return the system's reply; False if it raises an error, as for a link to itself."""
    try:
        return question()
    except OSError:
        return False


def _kind(entry: "os.DirEntry[str]", reading: Sequence[Modality], is_file: bool) -> str:
    """Return the first modality that accepts the file; empty for none."""

    def head() -> bytes:
        return _head(entry.path) if is_file else b""

    return next((one.name for one in reading if one.claims(entry.name, head)), "")


def _head(path: str) -> bytes:
    """Return the first bytes of a file; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a tenth of the time
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _pass_through(listing: _Listing) -> list[str]:
    """Remove a level that repeats the split from the names; return a sentence for every skipped folder."""
    below = dict[str, set[str]]()
    for names, _ in listing.files:
        if len(names) > 1:
            below.setdefault(names[0], set()).add(names[1] if len(names) > 2 else "")
    doubled = dict[str, str]()
    for top, split in splits_in(below).items():
        inner = next(iter(below[top]))
        again = inner.casefold() == top.casefold() or splits_in([f"{top} {inner}"]).get(f"{top} {inner}") == split
        if inner and len(below[top]) == 1 and again:
            doubled[top] = inner

    def without(names: tuple[str, ...]) -> tuple[str, ...]:
        return (names[0], *names[2:]) if names[1:2] == (doubled.get(names[0]),) else names

    listing.files = [(without(names), path) for names, path in listing.files]
    listing.folders = list(dict.fromkeys(map(without, listing.folders)))
    return [
        f"The folder {top}/{inner} holds all of {top}; its subfolders are read instead."
        for top, inner in doubled.items()
    ]


def _splits(root: Path, listing: _Listing, many: str) -> dict[str, str]:
    """Return the split of every top folder; empty if the top folders are the classes."""
    tops = sorted({names[0] for names, _ in listing.files if len(names) > 1})
    deep = {names[0] for names, _ in listing.files if len(names) > 2}
    below = {names[1] for names, _ in listing.files if len(names) > 2}
    splits = splits_in(tops)
    others, divided = [top for top in tops if top not in splits], {splits[top] for top in deep if top in splits}
    if len(tops) == 1 and len(below) > 1 and others:
        raise BadData(
            f"{root} contains a single folder, {tops[0]!r}, with {named(sorted(below), 3)} inside.",
            fix=f"pass {root / tops[0]}",
        )
    if "train" in divided and others:
        raise BadData(
            f"{root} contains the splits {named(splits)} and also {named(others)}, with {many}.",
            fix=f"move {named(others)} elsewhere, or assign the splits in a table.",
        )
    flat = [top for top in splits if top not in deep]
    if flat and not others and (not divided or ("train" not in divided and "train" in map(splits.get, flat))):
        raise BadData(
            f"{root}: {named(flat)} {'is the name of a split' if len(flat) == 1 else 'are names of splits'}, not of "
            f"{'a class' if len(flat) == 1 else 'classes'}, and no class folders are inside, only {many}.",
            fix=f"sort the {many} of each split into a folder per class ({flat[0]}/CLASS/…), or use a table with the "
            "columns path, label and split.",
        )
    if splits and not others:
        return splits
    for top in tops:
        inside = splits_in({names[1] for names, _ in listing.files if names[0] == top and len(names) > 2})
        if len(set(inside.values())) > 1:
            split = min(inside, key=lambda name: (inside[name] != "train", name))
            raise BadData(
                f"{root} has its splits inside the folder {top} ({top}/{split}); splits must be the outermost folders.",
                fix=f"pass {root / top}; if {top} is a class, move {top}/{split} to {split}/{top} and so on, or assign "
                "the splits in a table.",
            )
    return {}


def _repeating(listing: _Listing) -> list[str]:
    """Return a sentence if the presumed class folders contain folders of equal names, which may be the classes."""
    above = dict[str, set[str]]()
    for names, _ in listing.files:
        if len(names) > 2:
            above.setdefault(names[1], set()).add(names[0])
    again = [name for name, tops in above.items() if len(tops) > 1]
    if not again or len(above) < 2:
        return []
    tops = sorted(set().union(*(above[name] for name in again)))
    text = (
        f"The folders {named(tops)}, treated as classes, contain folders of the same names ({named(sorted(again))}). "
        f"If those are the classes and {named(tops)} are splits, rename them train, val and test; if they are sites or "
        "similar, use a table with the columns path, label and group."
    )
    return [text]


def _examples(listing: _Listing, splits: dict[str, str]) -> Iterator[Example]:
    for names, path in listing.files:
        if len(names) > (2 if splits else 1):
            yield Example(
                id=_text("/".join(names)),
                contents=in_file(Path(path)),
                label=_label(names[1] if splits else names[0]),
                split=splits.get(names[0]),
            )


def _unlabelled(listing: _Listing) -> Iterator[Example]:
    """Yield every file; with splits if all files are in folders named after splits."""
    tops = {names[0] if len(names) > 1 else "" for names, _ in listing.files}
    splits = splits_in(tops) if tops == splits_in(tops).keys() else {}
    for names, path in listing.files:
        yield Example(id=_text("/".join(names)), contents=in_file(Path(path)), label="", split=splits.get(names[0]))


def _label(name: str) -> str:
    """Return the class name of a folder, in composed Unicode form, since systems write the same accents in two ways."""
    return unicodedata.normalize("NFC", _text(name))


def _text(name: str) -> str:
    """Return the name as valid Unicode, with invalid bytes escaped: `caf\\xe9`."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def _merged(listing: _Listing, splits: dict[str, str]) -> list[str]:
    """Return sentences about folders that stand for the same class or split."""
    depth = 1 if splits else 0
    spellings, folders = dict[str, set[str]](), dict[str, list[str]]()
    for names in listing.folders:
        if len(names) == depth + 1:
            spellings.setdefault(_label(names[depth]), set()).add(names[depth])
        if len(names) == 1 and names[0] in splits:
            folders.setdefault(splits[names[0]], []).append(names[0])
    notes = [f"Two spellings of the class {label!r} were merged." for label, some in spellings.items() if len(some) > 1]
    return notes + [f"{named(some)} together form the {split} split." for split, some in folders.items() if some[1:]]


def _left_out(listing: _Listing, called: Path) -> list[str]:
    hidden, others, tables, odd = listing.hidden, listing.others, listing.tables, listing.odd
    kinds = named(f"{count} {kind}" for kind, count in others.most_common())
    return [
        *([f"{counted(len(hidden), 'hidden entry', 'hidden entries')} left out: {named(hidden)}."] if hidden else []),
        *([f"{counted(len(odd), 'entry', 'entries')} left out: {named(odd)}."] if odd else []),
        *([f"{counted(others.total(), 'file')} of unknown type left out: {kinds}."] if others else []),
        *([f"{named(tables)} was not read; to use a table, pass it: {called.name}/{tables[0]}."] if tables else []),
    ]


def _joined(names: list[tuple[str, ...]]) -> str:
    return named("/".join(one) for one in names)


ENTRY = DataSource(accepts=accepts, open=open_source, last=True)
