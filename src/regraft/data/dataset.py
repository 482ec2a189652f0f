"""Labelled examples, before anything is decoded. Shapes: n examples."""

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
from regraft.identity import digest_bytes
from regraft.recipe import Recipe
from regraft.values import Notice
from regraft.words import counted

SPLITS = ("train", "val", "test")
"""The names of the splits that a data set may come with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Examples with labels, groups and splits. Opening one reads names only."""

    root: Path
    """The folder or table it was opened from, absolute."""
    examples: tuple[Example, ...]
    """In a fixed order: by id for folders, by row for tables."""
    classes: tuple[str, ...]
    """Names of the classes (sorted; a class number is a position here), of the labels, or of the regression targets."""
    kind: str = "classification"
    """What is asked of the examples: the name of a task."""
    modality: str = "image"
    """What the examples are: the name of a modality."""
    contents: tuple[str, ...] = ()
    """Digest of every file's bytes, in the order of `examples`; empty before a scan."""
    notes: tuple[Notice, ...] = ()
    """What was ignored, assumed or merged on opening."""
    recipe: Recipe | None = None
    """How it was opened, for a fit on it; None where a caller made it."""

    @property
    def reads(self) -> Modality:
        """The modality that reads the examples."""
        return MODALITIES.get(self.modality)

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return len(self.examples)

    @cached_property
    def targets(self) -> Int[np.ndarray, " n"]:
        """The class number of every example, where an example is of one class."""
        number = {label: code for code, label in enumerate(self.classes)}
        return np.array([number[example.label] for example in self.examples], dtype=np.int64)

    @cached_property
    def groups(self) -> Int[np.ndarray, " n"] | None:
        """A number for every example, equal where the group is; None when no example has a group.

        An example without a group is a group of its own.
        """
        if all(example.group is None for example in self.examples):
            return None
        number: dict[tuple[str | None, int], int] = {}
        keys = ((one.group, -1) if one.group is not None else (None, at) for at, one in enumerate(self.examples))
        return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the data set comes with, of train, val and test."""
        present = {example.split for example in self.examples}
        return tuple(split for split in SPLITS if split in present)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of ids, labels, groups, splits, in order, and of the contents where they are known.

        What is not a classification adds its kind and the names of its labels or regression targets.
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
        """The examples at these positions, in this order; the classes stay, so class numbers keep their meaning."""
        chosen = [int(at) for at in indices]
        return replace(
            self,
            examples=tuple(self.examples[at] for at in chosen),
            contents=tuple(self.contents[at] for at in chosen) if self.contents else (),
        )

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Examples of every class, or with every label or target, by split; `all` where there are no splits."""
        names = self.splits or ("all",)
        table: dict[str, dict[str, int]] = {split: dict.fromkeys(self.classes, 0) for split in names}
        for example in self.examples:
            row = table.setdefault(example.split or "all", dict.fromkeys(self.classes, 0))
            for name in self.named(example.label):
                row[name] += 1
        return table

    def named(self, label: str) -> Iterable[str]:
        """Which of `classes` a label names: one class, several labels, or every target value."""
        return self._task.named(label)

    @cached_property
    def _task(self) -> Task:
        return TASKS.get(self.kind)(self.classes)

    def describe(self) -> str:
        """One line: `397 examples of 2 classes; train 244 (ants 123, bees 121), val 153 (ants 70, bees 83)`."""
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
