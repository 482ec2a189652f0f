"""Labelled examples, not yet decoded, and checks that they can be learned from. Shapes: n examples."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int

from regraft.contracts.example import Example
from regraft.contracts.modality import MODALITIES, Modality
from regraft.contracts.task import TASKS, Task
from regraft.data.labels import are_numbers, numeric
from regraft.errors import BadData, nearest
from regraft.identity import digest_bytes
from regraft.recipe import Recipe
from regraft.values import Notice, notices
from regraft.words import counted, named, parted

SPLITS = ("train", "val", "test")
"""Names of the splits that a data set may define."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Examples with labels, groups and splits. Opening a data set reads names only."""

    root: Path
    """Absolute path of its folder or table."""
    examples: tuple[Example, ...]
    """In a fixed order: by id for folders, by row for tables."""
    classes: tuple[str, ...]
    """Names of the classes (sorted; a class index is a position here), of the labels, or of the regression targets."""
    kind: str = "classification"
    """Name of the task."""
    modality: str = "image"
    """Name of the modality."""
    contents: tuple[str, ...] = ()
    """Digest of every file's bytes, in the order of `examples`; empty before a scan."""
    notes: tuple[Notice, ...] = ()
    """Notices about what was ignored, assumed or merged on opening."""
    recipe: Recipe | None = None
    """The recipe that opens it, for a fit; None if it was built by a caller."""

    @property
    def reads(self) -> Modality:
        """The modality that reads the examples."""
        return MODALITIES.get(self.modality)

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return len(self.examples)

    @cached_property
    def targets(self) -> Int[np.ndarray, " n"]:
        """Class index of every example, for tasks with one class per example."""
        number = {label: code for code, label in enumerate(self.classes)}
        return np.array([number[example.label] for example in self.examples], dtype=np.int64)

    @cached_property
    def groups(self) -> Int[np.ndarray, " n"] | None:
        """Group index of every example; None if no example has a group.

        Examples without a group form groups of their own.
        """
        if all(example.group is None for example in self.examples):
            return None
        number: dict[tuple[str | None, int], int] = {}
        keys = ((one.group, -1) if one.group is not None else (None, at) for at, one in enumerate(self.examples))
        return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits defined by the data set, out of train, val and test."""
        present = {example.split for example in self.examples}
        return tuple(split for split in SPLITS if split in present)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of ids, labels, groups and splits, in order, and of the contents if known.

        For tasks other than classification it includes the kind and the names of labels or regression targets.
        """
        columns: list[Iterable[str]] = [
            (one.id for one in self.examples),
            (one.label for one in self.examples),
            ("-" if one.group is None else f"={one.group}" for one in self.examples),
            (one.split or "" for one in self.examples),
            self.contents,
            *([(self.kind, *self.classes)] if self.kind != "classification" else []),
            *([(self.modality,)] if self.modality != "image" else []),
        ]
        return digest_bytes(*("\0".join(column).encode() for column in columns))

    def select(self, indices: Iterable[int] | Int[np.ndarray, " k"]) -> "Dataset":
        """Return the examples at these indices, in this order; the classes are kept, so class indices stay valid."""
        chosen = [int(at) for at in indices]
        return replace(
            self,
            examples=tuple(self.examples[at] for at in chosen),
            contents=tuple(self.contents[at] for at in chosen) if self.contents else (),
        )

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the number of examples per class, label or target, by split; `all` if there are no splits."""
        names = self.splits or ("all",)
        table: dict[str, dict[str, int]] = {split: dict.fromkeys(self.classes, 0) for split in names}
        for example in self.examples:
            row = table.setdefault(example.split or "all", dict.fromkeys(self.classes, 0))
            for name in self.named(example.label):
                row[name] += 1
        return table

    def named(self, label: str) -> Iterable[str]:
        """Return those of `classes` named by a label: one class, several labels, or all targets."""
        return self._task.named(label)

    @cached_property
    def _task(self) -> Task:
        return TASKS.get(self.kind)(self.classes)

    def describe(self) -> str:
        """Return one line: `397 examples of 2 classes; train 244 (ants 123, bees 121), val 153 (ants 70, bees 83)`."""
        sizes = Counter(example.split or "all" for example in self.examples)
        counted_by = self.kind != "regression"
        splits = []
        for split, row in self.counts().items():
            detail = ", ".join(f"{label} {count}" for label, count in row.items()) if len(row) <= 6 else ""
            splits.append(f"{split} {sizes[split]}" + (f" ({detail})" if detail and counted_by else ""))
        asked = {
            "multilabel": f"with {counted(len(self.classes), 'label')}",
            "regression": f"with {', '.join(self.classes)}",
        }.get(self.kind, f"of {counted(len(self.classes), 'class', 'classes')}")
        if not self.classes:
            asked = self._task.words().labelled
        groups = self.groups
        grouped = "" if groups is None else f"; {counted(len(set(groups.tolist())), 'group')}"
        return f"{counted(self.num_examples, 'example')} {asked}; {', '.join(splits)}{grouped}"


def check_learnable(dataset: Dataset) -> tuple[Notice, ...]:
    """Raise an error for data that cannot be learned from; return notices about anything unusual.

    Raises:
        BadData: there is one class; a class has one example; there are splits without train, or a class is missing in
            train; all targets are equal; every label is on all examples or on none.
    """
    if dataset.splits and "train" not in dataset.splits:
        raise BadData(
            f"{dataset.root} has the splits {named(dataset.splits)} but no train split.",
            fix="add a train split, or provide the data without splits.",
        )
    task = TASKS.get(dataset.kind)(dataset.classes)
    whole = _check_classes if task.exclusive else _check_nothing  # only for tasks with one class per example
    check = {"multilabel": _check_tags, "regression": _check_numbers}.get(dataset.kind, whole)
    return notices(check(dataset))


def _check_nothing(dataset: Dataset) -> list[str]:
    return []


def _check_classes(dataset: Dataset) -> list[str]:
    counts = Counter(example.label for example in dataset.examples)
    if len(counts) < 2:
        raise BadData(
            f"{dataset.root} contains a single class, {dataset.classes[0]!r}; at least two are required.",
            fix="add a folder (or rows) with examples of another class.",
        )
    numbers = " If the labels are numbers to predict, use --task regression." if are_numbers(counts) else ""
    if missing := [label for label in dataset.classes if label not in counts]:
        raise BadData(
            f"target.order lists {named(missing)}, but no example has this label.",
            fix="remove it from target.order, or add examples.",
        )
    if single := [label for label in dataset.classes if counts[label] == 1]:
        raise BadData(
            f"{counted(len(single), 'class has', 'classes have')} only one example: {named(single)}; "
            "at least one for training and one for testing are required.",
            fix=f"add examples, or remove these classes.{numbers}",
        )
    notes = _lookalikes(dataset.classes)
    if dataset.splits:
        notes += _gaps(dataset)
    return notes


def _check_numbers(dataset: Dataset) -> list[str]:
    training = [parted(one.label) for one in dataset.examples if one.split in (None, "train")]
    for name, column in zip(dataset.classes, zip(*training, strict=True), strict=True):
        if len(set(column)) < 2:
            raise BadData(
                f"{name} is {column[0]} for all {counted(len(column), 'training example')}, so there is nothing to "
                f"learn.",
                fix="add examples with other values, or leave out this column.",
            )
    return []


def _check_tags(dataset: Dataset) -> list[str]:
    """Report labels that do not distinguish training examples; if no label does, there is nothing to learn."""
    training = [set(parted(one.label)) for one in dataset.examples if one.split in (None, "train")]
    counts = {tag: sum(tag in tags for tags in training) for tag in dataset.classes}
    never = [tag for tag, count in counts.items() if not count]
    always = [tag for tag, count in counts.items() if count == len(training)]
    if len(never) + len(always) == len(counts):
        raise BadData(
            f"Every label of {dataset.root} applies to all training examples or to none, so there is nothing to learn.",
            fix="add examples with other labels.",
        )
    return [
        *_lookalikes(dataset.classes),
        *([f"No training example has {named(never)}, so it cannot be learned."] if never else []),
        *([f"Every training example has {named(always)}, so it cannot be learned."] if always else []),
    ]


def _gaps(dataset: Dataset) -> list[str]:
    """Return messages about classes missing in val or test; classes missing in train are errors."""
    table = dataset.counts()
    absent = {split: [label for label in dataset.classes if not row[label]] for split, row in table.items()}
    if lacking := absent["train"]:
        trained = [label for label in dataset.classes if label not in lacking]
        where = [split for split in dataset.splits if split != "train" and table[split][lacking[0]]]
        alike = nearest(lacking[0], trained) if len(trained) <= 8 else ""
        fix = "add examples to the train split, or remove the class from the other splits."
        if alike.startswith("did"):
            fix = f"add examples to the train split or remove the class; if it is a spelling variant: {alike}"
        raise BadData(
            f"{counted(len(lacking), 'class is', 'classes are')} missing from train: {named(lacking)} "
            f"({lacking[0]!r} is in {' and '.join(where)}).",
            fix=fix,
        )
    return [
        f"The {split} split lacks {counted(len(labels), 'class', 'classes')}: {named(labels)}; it cannot evaluate them."
        for split, labels in absent.items()
        if labels
    ]


def _lookalikes(classes: tuple[str, ...]) -> list[str]:
    spellings = dict[object, list[str]]()
    for label in classes:
        spellings.setdefault(
            numeric(label) if numeric(label) is not None else " ".join(label.casefold().split()), []
        ).append(label)
    return [
        f"The classes {named(map(repr, some))} differ only in case, spaces or a comma; they are kept as separate "
        "classes."
        for some in spellings.values()
        if len(some) > 1
    ]
