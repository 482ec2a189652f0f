"""What a source of data is: it looks at a path and, where it accepts it, reads names and labels; it decodes nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from regraft.contracts.example import Example
from regraft.errors import BadRequest
from regraft.registry import Shelf
from regraft.values import Notice


@dataclass(frozen=True, kw_only=True)
class Columns:
    """How to read a table; folders need none of it."""

    path: str = "path"
    """The column with the files, relative to `folder` or absolute."""
    folder: str = ""
    """Where the files' paths start from, itself relative to the table's folder; empty: that folder."""
    label: str = "label"
    """The column with the classes, labels or targets."""
    labels: tuple[str, ...] = ()
    """Several columns that are the label together; then `label` is not read."""
    label_delimiter: str | None = None
    """What stands between the labels in a cell; then a cell may be empty. None: a cell is one label."""
    split: str | None = "split"
    """The column with train, val or test; may be missing unless another name than `split` is given. None: not read."""
    group: str | None = "group"
    """The column with what must stay together; may be missing unless another name is given. None: not read."""
    delimiter: str | None = None
    """One character between the fields of a text table; None: found from the header."""
    strip_labels: bool = False
    """Whether spaces around labels are taken off."""
    inline: tuple[str, ...] = ()
    """Columns whose cells are the content itself (a text, a question and its context); then `path` is not read."""
    modality: str = ""
    """What the examples are, where more than one modality could read them; empty: found out."""

    unlabelled: bool = False
    """Whether no labels are read: a table needs no column of them, and a folder's examples may lie anywhere in it."""

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise BadRequest(f"The delimiter is {self.delimiter!r}; one character is expected.", fix="give ',' or ';'.")

    @property
    def named(self) -> tuple[str, ...]:
        """The column or columns with the label."""
        return () if self.unlabelled else self.labels or (self.label,)

    @property
    def optional(self) -> frozenset[str]:
        """The columns that a table may lack: those that nobody asked for by another name than the usual one."""
        usual = {("split", self.split), ("group", self.group)}
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
