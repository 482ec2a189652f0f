"""Findings of checks, and the elements of report pages, independent of the output format. Tasks name their outputs with
`Words`; metric families describe their sections as `Block`s.

Texts are plain, with code between backticks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from regraft.records import Record
from regraft.values import Measured


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
    """One result of a check."""

    check: str
    """What was checked, in a few words."""
    severity: Literal["stop", "warn", "info"]
    """`stop` ends the run before anything is written; `warn` needs attention; `info` is informational."""
    message: str
    """What was found and what was expected, in whole sentences."""
    fix: str = ""
    """What to do about it; empty if nothing needs to be done."""
    examples: tuple[str, ...] = ()
    """Ids of the affected examples."""
    score: float | None = None
    """Numeric score of the check, in its own unit; None if it has none."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """Names of a task's outputs, for reports, tables and messages."""

    output: str
    """`class`, `label`, `target`."""
    outputs: str
    """Plural of `output`."""
    asked: str
    """How `153 test examples` continues: `of 6 classes`; may be empty."""
    labelled: str
    """The same, with names where they are needed."""
    given: str
    """How `One input gives` continues: `one of 6 classes, with a probability for each`."""
    purpose: str
    """Intended use, as a clause: `To sort inputs of the kind it was trained on into the classes above`."""
    caution: str = ""
    """Caveat on predictions, for tasks without probabilities."""
    fields: str = "prediction.label, prediction.probabilities"
    """Expression that the code example prints, for a prediction called `prediction`."""
    column: str = "p"
    """Prefix of output columns in a table of predictions: `p:NAME`."""
    probe: str = "linear probe"
    """Name of the untouched network with a head, which models are compared with."""

    @classmethod
    def plain(cls, kind: str) -> "Words":
        """Return default words for a task of this kind."""
        return cls(
            output="class",
            outputs="classes",
            asked="",
            labelled=f"with labels of the {kind} task",
            given=f"a {kind} prediction",
            purpose=f"Predicts inputs of the kind the model was trained on: {kind}",
            fields="prediction.label",
        )


@dataclass(frozen=True)
class Table:
    """A table of text cells."""

    header: Sequence[str]
    """Column headings."""
    rows: Sequence[Sequence[str]]
    """Rows of cells, each as long as `header`."""
    left: int = 1
    """Number of left-aligned columns (words); the others are right-aligned (numbers)."""
    marked: frozenset[int] = frozenset()
    """Positions of rows to highlight."""


@dataclass(frozen=True)
class Bullets:
    """A bulleted list."""

    items: Sequence[str]
    """Text of each item."""


@dataclass(frozen=True)
class Code:
    """A code block."""

    text: str
    """The code, verbatim."""
    language: str = ""
    """Language for syntax highlighting."""


@dataclass(frozen=True)
class Block:
    """A section of a report."""

    title: str
    """Heading: the standard term."""
    parts: Sequence[str | Table | Bullets | Code | None]
    """Text, tables, lists and code; empty ones are omitted."""
    plots: Sequence[str] = ()
    """Names of plots to show below, if they are drawn (see `reports.plots`)."""


@dataclass(frozen=True)
class Context:
    """What a metric family knows about an evaluation when it builds its sections."""

    num_examples: int
    """Number of evaluated examples."""
    metrics: Mapping[str, Measured]
    """Metrics by name."""
    main_metric: str = ""
    """Name of the main metric."""
    calibration: str = ""
    """A sentence on how probabilities were calibrated, or why not."""


MANY = 40
"""Maximum number of rows (classes, labels) in a table; beyond it, only the worst are shown."""


def worst(what: str, rows: Sequence[tuple[Measured, Sequence[str]]], by: str) -> tuple[str, Sequence[Sequence[str]]]:
    """Return a sentence about omitted rows (or an empty one), and the rows: all in their order or, of more than 40,
    those with the lowest measure. Undefined measures sort last."""
    if len(rows) <= MANY:
        return "", [row for _, row in rows]
    kept = sorted(rows, key=lambda row: row[0].value if row[0].value == row[0].value else float("inf"))[:MANY]
    note = f"The {MANY} {what} with the lowest {by}, out of {len(rows)}; report.json lists all of them."
    return note, [row for _, row in kept]
