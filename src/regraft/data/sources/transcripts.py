"""Recordings with transcripts: beside each file a text of the same name, `clip.wav` and `clip.txt`.

Splits are outer folders (`train/…`, `test/…`); other folders have no meaning.
"""

from dataclasses import replace
from pathlib import Path

from regraft.contracts.example import Columns, DataSource, Found
from regraft.contracts.modality import MODALITIES
from regraft.data.sources.folder import found_under
from regraft.errors import BadData
from regraft.files import decoded_text
from regraft.values import notices
from regraft.words import counted, named

HOLDS = ("*.txt", "train/*.txt")
KIND, ENDING = "sound", ".txt"


def accepts(path: Path) -> bool:
    """Return whether `path`, or the folder `train` in it, has a recording beside a text of the same name."""
    heard = MODALITIES.get(KIND)
    names = [one for folder in (path, path / "train") if folder.is_dir() for one in folder.iterdir()]
    return any(heard.claims(one.name, bytes) and one.with_suffix(ENDING).is_file() for one in names)


def open_source(path: Path, columns: Columns) -> Found:
    """Return the recordings with their transcripts.

    Raises:
        BadData: a recording has no text beside it, or one that is empty or has an unknown encoding.
    """
    found = found_under(path, replace(columns, modality=KIND, unlabelled=True), called=path, beside=ENDING)
    files = [one.path.with_suffix(ENDING) for one in found.examples]
    if columns.unlabelled:
        return found
    if lacking := [one.id for one, file in zip(found.examples, files, strict=True) if not file.is_file()]:
        raise BadData(
            f"{path}: {counted(len(lacking), 'recording')} of {len(files):,} without a transcript: {named(lacking)}.",
            fix=f"put a text of the same name beside each, {files[0].name} for instance, or take them out.",
        )
    texts, notes = list[str](), list[str]()
    for file in files:
        decoded = decoded_text(file.read_bytes())
        if decoded is None or not decoded[0].strip():
            what = "its encoding cannot be told" if decoded is None else "it is empty"
            raise BadData(f"{file}: {what}.", fix="write down what is said, in UTF-8, or take the recording out.")
        texts.append(decoded[0].strip())
        notes += [f"{file.name} is not UTF-8 and read as {decoded[1]}."] if decoded[1] else []
    if alone := sorted(one.name for one in set(path.rglob(f"*{ENDING}")) - set(files)):
        notes.append(f"{counted(len(alone), 'text')} of no recording left out: {named(alone)}.")
    examples = tuple(replace(one, label=text) for one, text in zip(found.examples, texts, strict=True))
    return replace(found, examples=examples, task="transcription", notes=(*found.notes, *notices(notes)))


ENTRY = DataSource(accepts=accepts, open=open_source)
