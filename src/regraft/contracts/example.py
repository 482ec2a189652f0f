"""What an example is before anything is read of it: its name, its contents, its label, and what it belongs to; and how
a task makes targets and folds of labels.

Letters: n examples, m others.

A source of data looks at a path and, where it accepts it, reads names and labels; it decodes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Int, Shaped

from regraft.errors import BadRecipe, BadRequest
from regraft.folds import Folds, folds, teachable
from regraft.recipe import Source
from regraft.records import to_json
from regraft.registry import Shelf
from regraft.values import Json, Notice

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class File:
    """Content that lies in a file."""

    path: Path
    """Absolute."""

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Inline:
    """Content that was given itself: the cell of a table, bytes held in memory."""

    value: Any
    """Text, the bytes of a file, or an object that the modality knows (an array, a Pillow image)."""

    def __str__(self) -> str:
        return self.value[:40] if isinstance(self.value, str) else "The input"


Content = File | Inline
Contents = Mapping[str, Content]
"""Content by name: one for an image or a text, two for a question with its context or an image with its numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example."""

    id: str
    """Its name: the path relative to the data set's root with `/`, or what the table says."""
    contents: Contents
    """What a model sees of it."""
    label: str
    """The name of its class; or its labels or target values with a semicolon between them; may be empty."""
    group: str | None = None
    """What it shares with other examples (patient, plant, site), so that they stay together; None: unknown."""
    split: str | None = None
    """`train`, `val` or `test` where the data set comes with splits; else None."""
    row: int | None = None
    """Its row in the table: in text the header is row 1, in parquet the first row is 0; None for folders."""

    @property
    def content(self) -> Content:
        """Its first content, which is the only one of most examples."""
        return next(iter(self.contents.values()))

    @property
    def path(self) -> Path:
        """The file of its first content.

        Raises:
            TypeError: that lies in no file.
        """
        content = self.content
        if not isinstance(content, File):
            raise TypeError(f"{self.id} lies in no file")
        return content.path


def in_file(path: Path) -> Contents:
    """The contents of an example that is one file."""
    return {"file": File(path)}


def as_records(records: Sequence[Any]) -> Shaped[np.ndarray, " n"]:
    """Targets or outputs that are records as one array of objects, whatever numpy might make of tuples or lists."""
    array = np.empty(len(records), dtype=object)
    for at, record in enumerate(records):
        array[at] = record
    return array


class Exported:
    """A task's side of an export: what its graph gives, and what is said of that."""

    kind: str
    """The task's name on the shelf."""
    places: Sequence[str] = ()
    """Which arrays of a placement the graph of an export takes besides, for `graph`."""
    selects: Sequence[str] = ()
    """Outputs of `graph` that choose among others: they may jump, and have no row for each input."""

    def graph(self, output: Any, temperature: float, placed: Mapping[str, "Tensor"]) -> Mapping[str, "Tensor"]:
        """What an export's graph gives beside the head's output (`logits`, or by its own names), in torch.

        Raises:
            BadRequest: this task's outputs cannot be made there, or are of no use elsewhere.
        """
        raise BadRequest(f"A {self.kind} model cannot be exported.", fix="predict with regraft itself.")

    def standalone(self) -> str:
        """The text of a function `said(found, row, task)` for the `predict.py` of an export: from the graph's outputs
        by name, the number of an input among them, and what the export's `spec.json` says of the task, to what the
        user is told, as JSON. It uses numpy and nothing of regraft."""
        return ""


class Labelling(ABC):
    """How labels become targets, examples splits and folds, and outputs JSON: the side of a task (`contracts/task.py`)
    that needs no network."""

    kind: str
    """The task's name on the shelf."""
    classes: tuple[str, ...]
    """Names of what is predicted, in order: classes, labels, target values; empty where there are none."""
    needs_labels: bool = True
    """Whether examples have labels; not where the input is its own target."""
    taught: bool = False
    """Whether targets are what another network sees in the examples (`Needs.others`), not what labels say: `encode`
    then gives targets without numbers, and a strategy that has a teacher brings them."""
    exclusive: bool = False
    """Whether an example is of one class: then outputs sum to 1, and the largest is the prediction."""
    weighable: bool = False
    """Whether classes can be balanced and labels smoothed: where an example is one of several classes without ranks."""
    head_epochs: int = 0
    """Passes over the examples of a run that trains the head alone; 0: as for a head of a layer or two, where many cost
    little."""
    closed_form: bool = False
    """Whether the head can be `solved` in closed form, though it is not linear."""
    split_rule: Literal["stratified", "disjoint classes"] = "stratified"
    """`disjoint classes`: what is tested on are classes (identities) that were never trained on."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What the columns of a table are called that hold a label, where their names are part of the task."""
        return ()

    def named(self, label: str) -> Sequence[str]:
        """Which of `classes` a label names; `classes` are all those that the labels of a data set name."""
        return (label,)

    def targets(self, examples: Sequence[Example]) -> np.ndarray:
        """The target of every example."""
        return self.encode([example.label for example in examples])

    @abstractmethod
    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Labels, as a table or folder writes them, as targets."""

    def prepared(self, targets: Shaped[np.ndarray, "n ..."]) -> Any:
        """The task, knowing what it must of the training targets: their scale, where it has one."""
        return self

    def strata(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
        """A number for every example; splits and folds are drawn so that each has its share of every number."""
        return np.zeros(len(targets), dtype=np.int64)

    def identities(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
        """The class (identity) of every example, which one split has alone: asked with the rule `disjoint classes`."""
        return targets

    def kinds(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
        """The class of every example; one for all where an example is not of one class."""
        return targets if self.exclusive else np.zeros(len(targets), dtype=np.int64)

    def deal(
        self, targets: Shaped[np.ndarray, "n ..."], groups: Shaped[np.ndarray, " n"] | None, num_folds: int, seed: int
    ) -> Folds:
        """The examples in folds, each with its share of every stratum; a group stays in one fold, and no fold tests
        what the others cannot teach."""
        dealt = folds(self.strata(targets), groups, num_folds, seed, kept=self.exclusive)
        return teachable(dealt, targets, groups, self.untaught)

    def untaught(
        self, outside: Shaped[np.ndarray, "n ..."], inside: Shaped[np.ndarray, "m ..."]
    ) -> Bool[np.ndarray, " m"]:
        """Which of the targets `inside` show what none of those `outside` shows, so that a model trained on the latter
        cannot know it: their class. None where examples have none, or where the tested classes are new by intent."""
        if self.exclusive and self.split_rule == "stratified":
            return np.isin(inside, outside, invert=True)
        return np.zeros(len(inside), dtype=bool)

    def solved(
        self, features: Shaped[np.ndarray, "n d"], targets: np.ndarray, seed: int
    ) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
        """With `closed_form`: the head's tensors from what it reads of training rows, and what was found on the way."""
        return {}, {}

    def decided(self, facts: Mapping[str, Any], held: tuple[np.ndarray, np.ndarray] | None) -> Any:
        """The task, knowing what its finished model needs to decide: thresholds, from held-out raw outputs with their
        targets, or from what the strategy found (`Fitted.facts`)."""
        return self

    def recorded(self, outputs: np.ndarray) -> list[Json]:
        """Each output as JSON, exactly: what predictions and their tables hold of a task whose outputs are records."""
        return [to_json(one) for one in outputs]

    def restored(self, records: Sequence[Any]) -> np.ndarray:
        """The outputs that `recorded` gave."""
        return as_records(records)


def check_weighable(task: Labelling, *, balanced: bool = False, smoothing: float = 0.0) -> None:
    """Whether these options of training make sense; they do where an example is a choice between classes.

    Raises:
        BadRecipe: they are set, and there is no such choice.
    """
    for name, given, neutral in (("balanced", balanced, "false"), ("smoothing", smoothing, "0")):
        if given and not task.weighable:
            raise BadRecipe(
                f"options.{name} is {str(given).lower()}, which needs a choice between classes; this is a "
                f"{task.kind} task.",
                fix=f"--set options.{name}={neutral}, or leave it out.",
            )


@dataclass(frozen=True, kw_only=True)
class Columns(Source):
    """What is read of data: what a recipe says of them, and what follows from its other fields."""

    modality: str = ""
    """What the examples are, where more than one modality could read them; empty: found out."""

    unlabelled: bool = False
    """Whether no labels are read: a table needs no column of them, and a folder's examples may lie anywhere in it."""

    @property
    def named(self) -> tuple[str, ...]:
        """The column or columns with the label."""
        return () if self.unlabelled else self.label_columns or (self.label_column,)

    @property
    def optional(self) -> frozenset[str]:
        """The columns that a table may lack: those that nobody asked for by another name than the usual one."""
        usual = {("split", self.split_column), ("group", self.group_column)}
        return frozenset(name for usually, name in usual if name == usually)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a source read."""

    examples: tuple[Example, ...]
    """In a fixed order, ids unique; at least one."""
    modality: str
    """What they are."""
    notes: tuple[Notice, ...] = ()
    """What was ignored, assumed or merged."""
    task: str = ""
    """The task that their labels are for, where their form says so: boxes; empty where labels may be read in several
    ways."""


def _no_archives(path: Path) -> Sequence[Path]:
    return ()


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """One file on the shelf of sources defines one, as `ENTRY`. One that reads particular files says so in a literal
    tuple `HOLDS` of patterns, of the path itself or of what a folder holds: it is loaded where one matches."""

    accepts: Callable[[Path], bool]
    """Whether it reads what is at this path; looks at the path's kind, and at names directly in it."""
    open: Callable[[Path, Columns], Found]
    """Reads names and labels of what it accepts."""
    last: bool = False
    """Whether it gives way to every other source that accepts the path."""
    archives_in: Callable[[Path], Sequence[Path]] = _no_archives
    """The archives that are unpacked before `open`, so that the wait can be reported."""


SOURCES: Shelf[DataSource] = Shelf("source", "regraft.data.sources")
"""Where labelled data can come from."""
