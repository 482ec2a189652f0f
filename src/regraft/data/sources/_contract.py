"""What a source of data defines: `accepts(path) -> bool` and `open_source(path, columns) -> Found`.

`accepts` looks at the kind of the path only, and at names directly in it; `open_source` reads names and labels and
decodes nothing. Where several accept a path, one that says `LAST = True` gives way to the others. One that unpacks
archives first names them by `archives_in(path)`, so that the wait can be told of.
"""

from dataclasses import dataclass

from regraft.data.dataset import Example
from regraft.errors import BadRequest
from regraft.values import Notice


@dataclass(frozen=True, kw_only=True)
class Columns:
    """How to read a table; folders need none of it."""

    path: str = "path"
    """The column with the files, relative to `folder` or absolute."""
    folder: str = ""
    """Where the files' paths start from, itself relative to the table's folder; empty: that folder."""
    label: str = "label"
    """The column with the classes, tags or numbers."""
    labels: tuple[str, ...] = ()
    """Several columns that are the label together; then `label` is not read."""
    label_delimiter: str | None = None
    """What stands between the tags in a cell; then a cell may be empty. None: a cell is one label."""
    split: str | None = "split"
    """The column with train, val or test; may be missing unless another name than `split` is given. None: not read."""
    group: str | None = "group"
    """The column with what must stay together; may be missing unless another name is given. None: not read."""
    delimiter: str | None = None
    """One character between the fields of a text table; None: found from the header."""
    strip_labels: bool = False
    """Whether spaces around labels are taken off."""

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise BadRequest(f"The delimiter is {self.delimiter!r}; one character is expected.", fix="give ',' or ';'.")

    @property
    def named(self) -> tuple[str, ...]:
        """The column or columns with the label."""
        return self.labels or (self.label,)

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
    notes: tuple[Notice, ...] = ()
    """What was ignored, assumed or merged."""
