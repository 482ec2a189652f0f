"""Open labelled data: read a source, interpret labels and groups, and check that the data can be learned from."""

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from regraft.contracts.example import SHOWN, SOURCES, Columns, DataSource, Example, Inline
from regraft.contracts.task import TASKS
from regraft.data.archives import unpacking
from regraft.data.dataset import Dataset, check_learnable
from regraft.data.labels import Asked, one_spelling, suggest_groups, suspect_masks, understood
from regraft.data.sources.table import is_frame
from regraft.data.sources.table import open_source as open_table
from regraft.errors import BadData, BadRequest
from regraft.values import Notice, Progress, notices
from regraft.words import counted, named


def open_dataset(
    path: Any, *, modality: str = "", task: str = "auto", order: tuple[str, ...] = (), known: tuple[str, ...] = (),
    learnable: bool = True, **source: Any,
) -> Dataset:  # fmt: skip
    """Open a folder of class folders, an archive of one, a table (CSV, TSV, JSON lines, parquet), or a data frame.

    Reads names and labels; decodes nothing. `source` takes fields of `recipe.Source`: `group_pattern` is a regular
    expression searched for in every id; its first group names examples that must stay together (a patient, a plant) and
    replaces a group column. `learnable=False` opens data to predict or evaluate on, which may have a single class.
    `task` sets how labels are read (see `data/labels.py` for `auto`): `label_delimiter` separates the labels in one
    cell, `label_columns` are several columns of labels (0 or 1) or regression targets, `order` lists the classes of an
    ordinal task from the lowest rank, `known` are the classes of a trained model.

    Raises:
        BadData: there is nothing at `path`, or the data cannot be used; the message says why.
        BadRequest: the pattern is not a regular expression, has no group or matches no id.
        UnknownName: a column is not in the table.
    """
    frame = path if is_frame(path) else None
    where = _absolute("DataFrame" if frame is not None else path)
    if frame is None and not is_there(where):
        near = difflib.get_close_matches(where.name, _names(where.parent), n=1)
        raise BadData(
            f"{where} does not exist.",
            fix=f"did you mean {where.parent / near[0]}?"
            if near
            else "check the path; relative paths start at the current folder, or, in a recipe, at the folder where the "
            "run was started (go there, or use --set data=PATH).",
        )
    asked_for = None if task == "auto" else TASKS.get(task)(())
    if asked_for is not None and asked_for.forced:
        source |= {"strip_labels": True}  # surrounding spaces do not make another label
    asked_task, unlabelled = "" if task == "auto" else task, asked_for is not None and not asked_for.needs_labels
    columns = Columns(**source, modality=modality, task=asked_task, unlabelled=unlabelled)
    reader = source_of(where) if frame is None else None
    if frame is None and reader is None:
        raise BadData(
            f"{where} is not a folder, a table or an archive.",
            fix="pass a folder with one subfolder per class, an archive of one (.zip, .tar.gz etc.), a folder "
            "of archives named train-0.tar.gz and so on, or a .csv, .tsv, .jsonl, .parquet or .h5ad table.",
        )
    found = reader.open(where, columns) if reader else open_table(where, columns, frame)
    if found.task and task not in ("auto", found.task):
        raise BadRequest(
            f"The labels of {where.name} are for a {found.task} task, but the task is {task}.",
            fix=f"use --task {found.task}, or leave it out; for another task pass a table (path, label).",
        )
    kind, delimiter = found.task or task, columns.label_delimiter
    asked = Asked(kind=kind, columns=columns.named, delimiter=delimiter, order=order, known=known)
    labels = understood(found.examples, asked, where.name)
    examples, notes = labels.examples, [*found.notes, *labels.notes]
    if TASKS.get(labels.kind)(()).forced:
        examples = tuple(replace(one, contents={**one.contents, SHOWN: Inline(one.label)}) for one in examples)
    same, merged = one_spelling(filter(None, (example.group for example in examples)), what="group")
    if same:
        examples = tuple(replace(one, group=same.get(one.group or "", one.group)) for one in examples)
        notes += notices(merged)
    if columns.group_pattern:
        examples, more = _grouped(examples, columns.group_pattern)
        notes += more
    elif all(example.group is None for example in examples):
        notes += suggest_groups([example.id for example in examples])
    notes += suspect_masks(examples)
    dataset = Dataset(
        root=where,
        examples=examples,
        classes=labels.classes,
        kind=labels.kind,
        modality=found.modality,
        notes=tuple(notes),
    )
    return replace(dataset, notes=(*dataset.notes, *check_learnable(dataset))) if learnable else dataset


def is_there(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` exists; it may continue inside an archive."""
    where = _absolute(path)
    return os.path.exists(where) or any(above.is_file() for above in where.parents)  # noqa: PTH110 - any text


def unpack(path: str | os.PathLike[str]) -> Iterator[Progress]:
    """Unpack the archive at `path`, or the archives in it, unless already unpacked; yields progress.

    `open_dataset` does the same without reporting progress.

    Raises:
        BadData: an archive is damaged, or contains entries that may not be unpacked.
        OutOfSpace: there is not enough space.
    """
    where = _absolute(path)
    if source := source_of(where):
        for archive in source.archives_in(where):
            yield from unpacking(archive)


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - links in the path are kept


def source_of(path: Path) -> DataSource | None:
    """Return the source that can read `path`; None if there is none."""
    accepting = [source for name in SOURCES if _may(name, path) and (source := SOURCES.get(name)).accepts(path)]
    return min(accepting, key=lambda one: one.last) if accepting else None


def _may(source: str, path: Path) -> bool:
    """Return whether a source may apply."""
    patterns = SOURCES.literal(source, "HOLDS")
    return not patterns or any(path.match(one) or next(path.glob(one), None) for one in patterns)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []


def _grouped(examples: tuple[Example, ...], pattern: str) -> tuple[tuple[Example, ...], list[Notice]]:
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise BadRequest(
            f"The group pattern {pattern!r} is not a valid regular expression: {error}.",
            fix=r"use one such as '^(person\d+)_'.",
        ) from error
    if search.groups < 1:
        raise BadRequest(
            f"The group pattern {pattern!r} has no capture group.",
            fix="put parentheses around the part that identifies the group.",
        )
    matches = [search.search(example.id) for example in examples]
    groups = [match.group(1) if match else None for match in matches]
    unmatched = [example.id for example, group in zip(examples, groups, strict=True) if not group]
    if len(unmatched) == len(examples):
        raise BadRequest(
            f"The group pattern {pattern!r} matches no id; the first is {examples[0].id!r}.",
            fix="the pattern is matched anywhere in the path relative to the data; test it on this id.",
        )
    text = f"The group pattern does not match {counted(len(unmatched), 'id')}; each becomes its own group: "
    notes = [Notice(text=f"{text}{named(unmatched)}.", topic="data")] if unmatched else []
    return tuple(replace(one, group=group or None) for one, group in zip(examples, groups, strict=True)), notes
