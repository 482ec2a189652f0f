"""Parallel files: `train.en` beside `train.de`, with one text per line; the same line of both is a pair.

The part before the dot names the split (`val.en`, `test_2016.en`), the part after it the language, in two letters. The
user chooses the source and the target language by the flags of a table's columns.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from regraft.contracts.example import Columns, DataSource, Example, Found, Inline
from regraft.errors import BadData, UnknownName
from regraft.files import decoded_text, unreadable
from regraft.values import notices
from regraft.words import counted, named, splits_in

HOLDS = ("*.[a-z][a-z]",)
_LANGUAGE = re.compile(r"\.[a-z]{2}")


def accepts(path: Path) -> bool:
    """Return whether `path` is a folder with a file in two languages."""
    return path.is_dir() and bool(_files(path))


def _files(folder: Path) -> dict[str, dict[str, Path]]:
    """Return files by the part before the dot, then by language: a suffix that occurs beside another one."""
    found = dict[str, dict[str, Path]]()
    for one in sorted(folder.iterdir()):
        if _LANGUAGE.fullmatch(one.suffix) and one.is_file():
            found.setdefault(one.stem, {})[one.suffix[1:]] = one
    languages = {language for some in found.values() if len(some) > 1 for language in some}
    return {stem: some for stem, some in found.items() if languages & some.keys()}


def open_source(path: Path, columns: Columns) -> Found:
    """Return the pairs of lines.

    Raises:
        UnknownName: the language does not exist.
        BadData: the languages are not specified; a file is missing, cannot be read, or has another number of lines than
            its counterpart; a line is empty; some files name a split and others do not.
    """
    files, given = _files(path), (*columns.text_columns, *columns.named)
    languages = sorted({language for some in files.values() for language in some})
    if len(columns.text_columns) != 1 or (columns.named == (Columns().label_column,) and given[1] not in languages):
        raise BadData(
            f"{path} contains texts in {named(languages)}; the source and target languages are not specified.",
            fix=f"use --text-column {languages[0]} --label-column {languages[1]}, or the reverse.",
        )
    if odd := [one for one in given if one not in languages]:
        raise UnknownName(f"language in {path}", odd[0], languages)
    examples, notes = list[Example](), list[str]()
    first = {stem: re.split(r"[\W\d_]", stem)[0] for stem in files}
    known = splits_in(first.values())
    splits = {stem: known[word] for stem, word in first.items() if word in known}
    if splits and (odd := [stem for stem in files if stem not in splits]):
        raise BadData(
            f"{path}: splits ({named(splits)}) are mixed with other names ({named(odd)}).",
            fix="name the files train, val and test, or use one pair of files.",
        )
    for stem, some in files.items():
        rows, more = _lines(path, stem, some, given)
        notes += more
        source, *target = given
        examples += [
            Example(
                id=f"{stem} line {number}", contents={source: Inline(texts[0])},
                label="" if columns.unlabelled or not target else texts[1], split=splits.get(stem), row=number,
            )
            for number, texts in enumerate(rows, start=1)
        ]  # fmt: skip
    read = {files[stem][language].name for stem in files for language in given}
    if unused := sorted(one.name for one in path.iterdir() if one.name not in read):
        notes.append(f"Files of {path.name} not used: {named(unused)}.")
    return Found(examples=tuple(examples), modality="text", task="sequence", notes=notices(notes))


def _lines(
    path: Path, stem: str, files: Mapping[str, Path], languages: tuple[str, ...]
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the texts of every line in these languages, and the assumptions made."""
    columns, notes = dict[str, list[str]](), list[str]()
    for language in languages:
        if language not in files:
            raise BadData(
                f"{path} contains {named(one.name for one in files.values())}, but not {stem}.{language}.",
                fix="add it, or remove the others.",
            )
        file = files[language]
        try:
            found = decoded_text(file.read_bytes())
        except OSError as error:
            raise BadData(f"{file}: {unreadable(file, error)}.", fix="grant read permission.") from error
        if found is None:
            raise BadData(f"{file}: its encoding cannot be determined.", fix="save it as UTF-8.")
        text, encoding = found
        if encoding:
            notes.append(f"{file.name} is not UTF-8 and is read as {encoding}.")
        # not splitlines: other line separators may occur inside sentences
        columns[language] = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    counts = {language: len(lines) for language, lines in columns.items()}
    if len(set(counts.values())) > 1:
        told = " and ".join(f"{stem}.{language} {count:,}" for language, count in counts.items())
        raise BadData(
            f"{path}: line N of one file is paired with line N of the other, but the numbers of lines differ: {told}.",
            fix="find the line that is missing in the shorter file.",
        )
    for language, lines in columns.items():
        if empty := [at for at, line in enumerate(lines, start=1) if not line.strip()]:
            raise BadData(
                f"{files[language]} line {named(empty)}: it is empty ({counted(len(empty), 'line')} in all).",
                fix=f"fill in these lines, or delete them in every file named {stem}.",
            )
    return list(zip(*columns.values(), strict=True)), notes


ENTRY = DataSource(accepts=accepts, open=open_source)
