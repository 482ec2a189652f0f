"""Labelled data, opened as a recipe or a model says. Imports no torch."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from regraft.contracts.task import TASKS, Task
from regraft.data.dataset import Dataset
from regraft.data.open import open_dataset, unpack
from regraft.errors import UnknownName
from regraft.recipe import Source, Target
from regraft.values import Event


def opened(path: Path, source: Source, *, task: str, target: Target, learnable: bool = True) -> Dataset:
    """The labelled examples at `path`, read as a recipe says.

    Raises:
        UnknownName: there is no such task.
        RegraftError: whatever is wrong with the data.
    """
    _check_task(task)
    return open_dataset(
        path,
        path_column=source.path_column,
        folder=source.folder,
        label_column=source.label_column,
        label_columns=source.label_columns,
        label_delimiter=source.label_delimiter or None,
        split_column=source.split_column,
        group_column=source.group_column,
        group_pattern=source.group_pattern or None,
        strip_labels=source.strip_labels,
        task=task,
        order=target.order,
        learnable=learnable,
    )


def opening(
    path: Path, source: Source, *, task: str, target: Target, learnable: bool = True
) -> Generator[Event, None, Dataset]:
    """As `opened`, telling how far archives are unpacked; yields events, returns the examples.

    Raises:
        UnknownName: there is no such task.
        RegraftError: whatever is wrong with the data.
    """
    _check_task(task)  # before the wait
    yield from unpack(path)
    return opened(path, source, task=task, target=target, learnable=learnable)


def asked_of(task: Task, path: Path, source: Source) -> Generator[Event, None, Dataset]:
    """The labelled examples at `path`, to measure a model of `task` on; yields events, returns them.

    Where `source` does not say otherwise, tags are delimited as those were that the model learned from, and several
    columns of tags or numbers have their names.

    Raises:
        RegraftError: whatever is wrong with the data.
    """
    delimiter = task.facts.get("delimiter")
    if delimiter and not source.label_delimiter and not source.label_columns:
        source = replace(source, label_delimiter=delimiter)
    elif task.columns and not source.label_columns and source.label_column == Source().label_column:
        source = replace(source, label_columns=task.columns)
    return (
        yield from opening(
            path,
            source,
            task=task.kind,
            target=Target(order=task.classes if task.kind == "ordinal" else ()),
            learnable=False,
        )
    )


def _check_task(name: str) -> None:
    """Raises: UnknownName: there is no such task."""
    if name != "auto" and name not in TASKS.names():
        raise UnknownName("task", name, ["auto", *TASKS.names()])
