"""Examples before they are decoded (id, contents, label, group, split), data sources, and the part of a task that turns
labels into targets and folds.

A data source checks whether it accepts a path, and reads names and labels; it decodes nothing. Letters: n examples, m
others, h and w rows and columns of one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Int, Shaped, UInt8

from regraft.errors import BadRecipe, BadRequest
from regraft.folds import Folds, folds, teachable
from regraft.recipe import Source
from regraft.records import to_json
from regraft.registry import Shelf
from regraft.values import Json, Notice, Prediction

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class File:
    """Content stored in a file."""

    path: Path
    """Absolute path."""

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Inline:
    """Content held in memory: a table cell, or bytes."""

    value: Any
    """Text, the bytes of a file, or an object the modality accepts (an array, a Pillow image)."""

    def __str__(self) -> str:
        return self.value[:40] if isinstance(self.value, str) else "The input"


Content = File | Inline
Contents = Mapping[str, Content]
"""Content by name: one for an image or a text, two for a question and its context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One labelled example."""

    id: str
    """Path relative to the data set's root, with `/`; for tables, the value in the table."""
    contents: Contents
    """The model's input."""
    label: str
    """Class name; or several labels or target values separated by semicolons; may be empty."""
    group: str | None = None
    """Patient, plant or site that it shares with other examples, which are kept together; None if unknown."""
    split: str | None = None
    """`train`, `val` or `test` if the data set has predefined splits, else None."""
    row: int | None = None
    """Row in the table (text: the header is row 1; parquet: the first row is 0); None for folders."""

    @property
    def content(self) -> Content:
        """The first content; most examples have only one."""
        return next(iter(self.contents.values()))

    @property
    def path(self) -> Path:
        """The file of the first content.

        Raises:
            TypeError: the content is not in a file.
        """
        content = self.content
        if not isinstance(content, File):
            raise TypeError(f"{self.id} lies in no file")
        return content.path


SHOWN = "shown to the decoder"
"""Name of the label among the contents of an example, for tasks with teacher forcing."""


def in_file(path: Path) -> Contents:
    """Return the contents of an example that is one file."""
    return {"file": File(path)}


def as_records(records: Sequence[Any]) -> Shaped[np.ndarray, " n"]:
    """Return structured targets or outputs as a one-dimensional object array (numpy would stack tuples and lists)."""
    array = np.empty(len(records), dtype=object)
    for at, record in enumerate(records):
        array[at] = record
    return array


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What a prediction marks in its example."""

    numbers: UInt8[np.ndarray, "h w"] | None = None
    """The class number of every point; None: no mask."""
    boxes: Sequence[tuple[str, int, Sequence[float]]] = ()
    """Of each box the text beside it, its class number, and its left, upper, right and lower edge."""


class Exported:
    """The part of a task that exports use: the outputs of the exported graph, and how to format them."""

    kind: str
    """The task's name on the shelf."""
    places: Sequence[str] = ()
    """Names of placement arrays that the exported graph takes as extra inputs, for `graph`."""
    selects: Sequence[str] = ()
    """Outputs of the head or of `graph` that select among others (kept boxes, say) or follow from such a choice: not
    continuous, so they are not compared between runtimes; they may have no row per input."""

    def graph(self, output: Any, temperature: float, placed: Mapping[str, "Tensor"]) -> Mapping[str, "Tensor"]:
        """Compute, in torch, the outputs of the exported graph besides the head's (`logits`, or its own names).

        Raises:
            BadRequest: this task cannot be exported.
        """
        raise BadRequest(f"A {self.kind} model cannot be exported.", fix="predict with Regraft itself.")

    def standalone(self) -> str:
        """Return the source of a function `said(found, row, task)` for an export's `predict.py`. It takes the graph's
        outputs by name, the index of an input, and the task's section of `spec.json`, and returns the prediction as
        JSON. It may use numpy, but not regraft."""
        return ""


class Labelling(ABC):
    """The part of a task (`contracts/task.py`) that needs no network: converts labels to targets, assigns examples to
    splits and folds, and converts outputs to JSON."""

    kind: str
    """The task's name on the shelf."""
    classes: tuple[str, ...]
    """Names of the classes, labels or target values, in output order; empty if there are none."""
    needs_labels: bool = True
    """Whether examples need labels."""
    taught: bool = False
    """Whether targets are a teacher network's features (`Needs.others`) instead of labels: `encode` then returns
    placeholders, which a strategy with a teacher fills in."""
    exclusive: bool = False
    """Whether each example has exactly one class: outputs then sum to 1, and the largest is the prediction."""
    quotes: bool = False
    """Whether a prediction quotes an example's last text: a record with `text`, `start` and `end` (characters of that
    text) and `score`."""
    forced: bool = False
    """Whether a decoder sees the label during training (teacher forcing). It is then a content, named `SHOWN`."""
    weighable: bool = False
    """Whether class balancing and label smoothing apply: for unordered, exclusive classes."""
    guided: bool = False
    """Whether the head also takes the encoded targets, while training (to sample proposals around them)."""
    head_epochs: int = 0
    """Epochs when only the head is trained; 0: the default for small heads, whose epochs are cheap."""
    ready: bool = False
    """Whether the pretrained network's own head does this task already: it is what training starts from and what a
    model is compared with, in place of a probe."""
    closed_form: bool = False
    """Whether the head, although not linear, can be `solved` in closed form."""
    split_rule: Literal["stratified", "disjoint classes"] = "stratified"
    """`disjoint classes`: the tested classes (identities) are not among those trained on."""

    @property
    def generation(self) -> Mapping[str, Any]:
        """How texts are generated: what `Network.generate` is told, by a task that generates."""
        return {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the table columns that hold labels, if the task prescribes them."""
        return ()

    def named(self, label: str) -> Sequence[str]:
        """Return the class names that a label contains; `classes` collects them over the data set."""
        return (label,)

    def targets(self, examples: Sequence[Example]) -> np.ndarray:
        """Return the target of every example."""
        return self.encode([example.label for example in examples])

    @abstractmethod
    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Convert labels, as written in tables or folder names, to targets."""

    def prepared(self, targets: Shaped[np.ndarray, "n ..."]) -> Any:
        """Return the task fitted to the training targets (their scale, for regression)."""
        return self

    def strata(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
        """Return the stratum of every example; splits and folds are stratified by it."""
        return np.zeros(len(targets), dtype=np.int64)

    def identities(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
        """Return the identity of every example. With the rule `disjoint classes`, an identity is in one split only."""
        return targets

    def kinds(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
        """Return the class of every example; 0 for all if classes are not exclusive."""
        return targets if self.exclusive else np.zeros(len(targets), dtype=np.int64)

    def deal(
        self, targets: Shaped[np.ndarray, "n ..."], groups: Shaped[np.ndarray, " n"] | None, num_folds: int, seed: int
    ) -> Folds:
        """Assign examples to folds, stratified; groups stay together, and no fold tests a class that the other folds do
        not contain."""
        dealt = folds(self.strata(targets), groups, num_folds, seed, kept=self.exclusive)
        return teachable(dealt, targets, groups, self.untaught)

    def untaught(
        self, outside: Shaped[np.ndarray, "n ..."], inside: Shaped[np.ndarray, "m ..."]
    ) -> Bool[np.ndarray, " m"]:
        """Return which of the targets `inside` have a class that does not occur in `outside`, so that a model trained
        on the latter cannot predict it. All False if there are no exclusive classes, or if tested classes are new by
        design."""
        if self.exclusive and self.split_rule == "stratified":
            return np.isin(inside, outside, invert=True)
        return np.zeros(len(inside), dtype=bool)

    def solved(
        self, features: Shaped[np.ndarray, "n d"], targets: np.ndarray, seed: int
    ) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
        """With `closed_form`: solve the head on the features of training rows; return its tensors, and facts to
        report."""
        return {}, {}

    def decided(self, facts: Mapping[str, Any], held: tuple[np.ndarray, np.ndarray] | None) -> Any:
        """Return the task with the decision thresholds of a finished model, chosen on held-out raw outputs with their
        targets, or taken from the strategy's facts (`Fitted.facts`)."""
        return self

    def recorded(self, outputs: np.ndarray) -> list[Json]:
        """Return each structured output as JSON, without loss of precision, for predictions and their tables."""
        return [to_json(one) for one in outputs]

    def completed(
        self, prediction: Prediction, pieces: Sequence[Mapping[str, np.ndarray]], generate: Any
    ) -> Prediction:
        """Return a user's prediction completed by what metrics do not need: text generated from the example, by
        `generate`, from one of its records to tokens (t)."""
        return prediction

    def restored(self, records: Sequence[Any]) -> np.ndarray:
        """Invert `recorded`."""
        return as_records(records)

    def boxed(self, record: Any) -> Sequence[Mapping[str, Any]]:
        """Return the boxes in a prediction's record that are shown, each with `label`, `score` and `box`.

        Raises:
            BadRequest: the task predicts no boxes.
        """
        raise BadRequest(f"Predictions of a {self.kind} model are not written as COCO JSON; boxes are.",
                         fix="write them with --out or --json.")  # fmt: skip

    def enrolled(self, names: Sequence[str], outputs: np.ndarray) -> Any:
        """Return the task with a gallery, in which predictions look for their identity: names and outputs of examples.

        Raises:
            BadRequest: the task tells no identities, or has no threshold to do so.
        """
        raise BadRequest(f"A {self.kind} model identifies nobody; a verification model does.",
                         fix="leave --gallery out.")  # fmt: skip

    def doubtful(self, targets: np.ndarray) -> Iterable[tuple[str, str, str, Sequence[int]]]:
        """Return what an audit should say about targets: in a few words, as a clause after `3 examples`, what to do
        about it, and the positions."""
        return ()

    def marks(self, record: Any) -> Marks | None:
        """What a prediction's record marks in its example; None for tasks whose predictions mark nothing."""
        return None


def check_weighable(task: Labelling, *, balanced: bool = False, smoothing: float = 0.0) -> None:
    """Check that class balancing and label smoothing are used only by tasks they apply to.

    Raises:
        BadRecipe: one of them is set for another task.
    """
    for name, given, neutral in (("balanced", balanced, "false"), ("smoothing", smoothing, "0")):
        if given and not (task.weighable or (name == "smoothing" and task.forced)):  # tokens are classes to choose from
            raise BadRecipe(
                f"options.{name} is {str(given).lower()}, which requires a choice between classes; this is a "
                f"{task.kind} task.",
                fix=f"--set options.{name}={neutral}, or leave it out.",
            )


@dataclass(frozen=True, kw_only=True)
class Columns(Source):
    """How data are read: the recipe's fields on data, and settings derived from its other fields."""

    modality: str = ""
    """Modality of the examples; empty: detected."""

    task: str = ""
    """The task that was asked for, for labels that serve several; empty: any."""

    unlabelled: bool = False
    """Whether to read no labels: tables need no label column, and a folder may have any layout."""

    @property
    def named(self) -> tuple[str, ...]:
        """The label column or columns."""
        return () if self.unlabelled else self.label_columns or (self.label_column,)

    @property
    def optional(self) -> frozenset[str]:
        """Columns that a table may lack: those left at their default names."""
        usual = {("split", self.split_column), ("group", self.group_column)}
        return frozenset(name for usually, name in usual if name == usually)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Result of reading a data source."""

    examples: tuple[Example, ...]
    """In a deterministic order, with unique ids; at least one."""
    modality: str
    """Modality of the examples."""
    notes: tuple[Notice, ...] = ()
    """What was ignored, assumed or merged while reading."""
    task: str = ""
    """The task implied by the labels' format (boxes: detection); empty if labels can be read in several ways."""


def _no_archives(path: Path) -> Sequence[Path]:
    return ()


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """A reader of labelled data. A file in `data/sources/` defines one as `ENTRY`. If it also defines a literal tuple
    `HOLDS` of file-name patterns, it is only loaded if the path, or a file in the folder, matches one of them."""

    accepts: Callable[[Path], bool]
    """Whether it can read this path; checks the kind of path and the names directly in it."""
    open: Callable[[Path, Columns], Found]
    """Read the names and labels at an accepted path."""
    last: bool = False
    """Whether it is only used if no other source accepts the path."""
    archives_in: Callable[[Path], Sequence[Path]] = _no_archives
    """Archives to unpack before `open`, so that the progress can be shown."""
    examples_in: Callable[[Path], Sequence[Path]] = _no_archives
    """Folders with the examples alone, where the accepted path also holds files of labels (masks); else empty."""


SOURCES: Shelf[DataSource] = Shelf("source", "regraft.data.sources")
"""Sources of labelled data."""
