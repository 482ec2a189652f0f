"""Shards: a folder of archives named after splits, `train-0.tar.gz` … `train-3.tar.gz` beside `val.tar.gz`.

Large data sets are published like this. An archive's name says which split it holds (`words.splits_in`); inside it are
class folders, or that split's folder with them. Every archive is unpacked into the cache once (`data/archives.py`) and
read as a folder: examples then come in any order, so that every epoch is shuffled over all of them, copies are found
across shards, and a killed run goes on exactly. Reading archives from front to back could do none of that.
"""

import os
from dataclasses import replace
from pathlib import Path

from regraft.contracts.example import Example
from regraft.contracts.source import Columns, DataSource, Found
from regraft.data.archives import is_archive, unpacked
from regraft.data.sources import folder
from regraft.data.sources.archive import enclosed
from regraft.errors import BadData
from regraft.values import Notice
from regraft.words import counted, named, splits_in


def accepts(path: Path) -> bool:
    """Whether `path` is a folder with archives that are named after splits, one of them `train`."""
    return "train" in shards_in(path)


def open_source(path: Path, columns: Columns) -> Found:
    """The examples in all the archives.

    Raises:
        BadData: an archive is damaged, may not be unpacked or holds no class folders, two archives of a split hold the
            same file, or there is a folder of examples beside the archives.
        OutOfSpace: there is no room to unpack them.
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
                    f"{archive} is called after the split {split} and holds the folder {folder_!r}.",
                    fix="give that archive alone, or pack the class folders without the split's folder around them.",
                )
            name = f"{split}/{inner if example.split else example.id}"
            if name in examples:
                raise BadData(
                    f"{example.id} is in {origin[name]} and in {archive.name}.", fix="take it out of one of them."
                )
            examples[name] = replace(example, id=name, split=split)
            origin[name] = archive.name
    if len(kinds) > 1:
        raise BadData(
            f"The archives of {path} hold examples of several kinds: {', '.join(sorted(kinds))}.",
            fix="give archives of one kind, or say which to use: --set modality=NAME.",
        )
    return Found(examples=tuple(examples[name] for name in sorted(examples)), modality=kinds.pop(), notes=tuple(notes))


def archives_in(path: Path) -> list[Path]:
    """The archives that are unpacked before the path is opened.

    Raises:
        BadData: there is a folder of examples beside them.
    """
    _refuse_folders(path)
    return [archive for archives in shards_in(path).values() for archive in archives]


def shards_in(path: Path) -> dict[str, list[Path]]:
    """The archives in a folder by the split that they are called after; empty if `path` is not a folder."""
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
            f"{path} holds archives named after splits and beside them folders of examples: {named(beside)}.",
            fix="move either elsewhere: what is unpacked already would count twice.",
        )


ENTRY = DataSource(accepts=accepts, open=open_source, archives_in=archives_in)
