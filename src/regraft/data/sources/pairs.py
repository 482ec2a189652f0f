"""A table of pairs beside folders of identities: `image_a,image_b,same`, and optionally a column `fold`.

The examples are those in the folders, one folder per identity. Identities that occur in a pair are used for testing,
all others for training, so tested identities are never trained on. Without a column of folds the pairs are assigned to
ten folds in turn.
"""

import json
from dataclasses import replace
from pathlib import Path

from regraft.contracts.example import Columns, DataSource, Found
from regraft.data.sources import folder
from regraft.data.sources._rows import header_of, read_table
from regraft.errors import BadData
from regraft.values import notices
from regraft.words import counted, named

HOLDS = ("*.csv", "*.tsv")
ENDS = ("image_a", "image_b")
FOLDS = 10
_TRUTH = {"1": True, "0": False, "true": True, "false": False}


def accepts(path: Path) -> bool:
    """Return whether `path` is a table whose header has the columns of a pair."""
    return {*ENDS, "same"} <= header_of(path)


def open_source(path: Path, columns: Columns) -> Found:
    """Return the examples in the folders, with their pairs for tested identities.

    Raises:
        BadData: an image of a pair does not exist, or a pair is marked as the same identity but is in two folders, or
            the reverse.
    """
    has_folds = "fold" in header_of(path)
    asked = replace(
        columns, text_columns=ENDS, label_column="same", label_columns=(), split_column="",
        group_column="fold" if has_folds else "",
    )  # fmt: skip
    table = read_table(path, asked)
    root = path.parent / columns.folder
    found = folder.found_under(root, replace(columns, unlabelled=False), called=root)
    of = {one.id: one for one in found.examples}
    numbered = {name: at for at, name in enumerate(sorted(set(table.columns.get("fold", []))))}
    pairs = dict[str, list[tuple[int, int]]]()
    for at, (one, other, same) in enumerate(zip(*(table.columns[name] for name in (*ENDS, "same")), strict=True)):
        where = f"{path.name} row {table.rows[at]}"
        if missing := [name for name in (one, other) if name not in of]:
            raise BadData(
                f"{where}: {missing[0]!r} is not an image under {root}.",
                fix="make the paths relative to the folder that contains the identity folders.",
            )
        truth, lies = _TRUTH.get(same.strip().casefold()), of[one].label == of[other].label
        if truth is None or truth != lies:
            raise BadData(
                f"{where}: same is {same!r}, but the images show {of[one].label} and {of[other].label}; "
                f"expected {int(lies)}.",
                fix="correct the table, or the folders.",
            )
        fold = numbered[table.columns["fold"][at]] if has_folds else at % FOLDS
        for name in (one, other):
            pairs.setdefault(name, []).append((fold, at))
    tested = {of[name].label for name in pairs}
    rest = [one for one in found.examples if one.label not in tested]
    alone = [one.id for one in found.examples if one.label in tested and one.id not in pairs]
    examples = [replace(one, split="train") for one in rest] + [
        replace(one, split="test", label=json.dumps([one.label, pairs[one.id]], ensure_ascii=False))
        for one in found.examples
        if one.id in pairs
    ]
    notes = [
        f"{counted(len(table.rows), 'pair')} of {counted(len(tested), 'identity', 'identities')} are used for testing."
    ]
    if alone:
        notes.append(f"{counted(len(alone), 'image')} of these identities in no pair left out: {named(alone)}.")
    return Found(
        examples=tuple(sorted(examples, key=lambda one: one.id)), modality=found.modality, task="verification",
        notes=(*(note for note in found.notes if path.name not in note.text), *notices(notes)),
    )  # fmt: skip


ENTRY = DataSource(accepts=accepts, open=open_source)
"""A table of pairs beside folders of identities."""
