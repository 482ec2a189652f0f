"""What is told of data and models: what a check found, and what a page is made of, whatever it is rendered as. A task
says here what its outputs are called, a metric family what it shows beside the metrics.

Texts are plain; what stands between backticks is code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from regraft.records import Record
from regraft.values import Measured


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
    """One thing that a check has to say."""

    check: str
    """What was looked at, in a few words."""
    severity: Literal["stop", "warn", "info"]
    """`stop` ends the run before anything is written; `warn` should be read; `info` is good to know."""
    message: str
    """What was found and what was expected, in whole sentences."""
    fix: str = ""
    """What to do about it; empty where nothing is to be done."""
    examples: tuple[str, ...] = ()
    """Ids of the examples that it is about."""
    score: float | None = None
    """The figure that the check judges by, in its own unit; None where it has none."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a task calls its outputs, for pages, tables and messages."""

    output: str
    """`class`, `label`, `target`."""
    outputs: str
    """The same of several."""
    asked: str
    """What the examples have, as it continues `153 test examples`: `of 6 classes`; may be empty."""
    labelled: str
    """The same, with the names where they are needed to understand it."""
    given: str
    """What a model gives, as it continues `One input gives`: `one of 6 classes, with a probability for each`."""
    purpose: str
    """What a model is for, as a clause: `To sort inputs of the kind it was trained on into the classes above`."""
    caution: str = ""
    """What to know of predictions in place of what is said of probabilities, where none are stated."""
    fields: str = "prediction.label, prediction.probabilities"
    """What to print of a prediction called `prediction`, in an example of code."""
    column: str = "p"
    """Begins the name of a column of outputs in a table of predictions: `p:NAME`."""

    @classmethod
    def plain(cls, kind: str) -> "Words":
        """For a task of this kind that has no better ones."""
        return cls(
            output="class",
            outputs="classes",
            asked="",
            labelled=f"with labels of the {kind} task",
            given=f"a {kind} prediction",
            purpose=f"To predict on inputs of the kind it was trained on ({kind})",
            fields="prediction.label",
        )


@dataclass(frozen=True)
class Table:
    """Cells by row."""

    header: Sequence[str]
    """What the columns are called."""
    rows: Sequence[Sequence[str]]
    """The cells, as many in each row as `header` has."""
    left: int = 1
    """So many columns hold words, flush to the left; those after them hold numbers, flush to the right."""
    marked: frozenset[int] = frozenset()
    """Positions of rows that stand out, where a page can show that."""


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[str]
    """What stands in it."""


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    text: str
    """As they are."""
    language: str = ""
    """For what colours code."""


@dataclass(frozen=True)
class Block:
    """A section of a page."""

    title: str
    """Its heading: the field's term."""
    parts: Sequence[str | Table | Bullets | Code | None]
    """Text and what stands between; empty ones are left out."""
    plots: Sequence[str] = ()
    """Names of the plots that are shown below, where they are drawn (see `reports.plots`)."""


@dataclass(frozen=True)
class Context:
    """What a family of metrics may know of an evaluation when it says what to show."""

    num_examples: int
    """How many examples were evaluated."""
    metrics: Mapping[str, Measured]
    """The metrics by name."""
    main_metric: str = ""
    """The metric that the model is judged by."""
    calibration: str = ""
    """How the probabilities were calibrated, or why not, as a sentence."""


MANY = 40
"""Of more classes, labels … than this a table shows the worst."""


def worst(what: str, rows: Sequence[tuple[Measured, Sequence[str]]], by: str) -> tuple[str, Sequence[Sequence[str]]]:
    """The rows in their order, or of more than 40 those with the lowest measure; and a sentence where some are left
    out. Those whose measure is not defined come last."""
    if len(rows) <= MANY:
        return "", [row for _, row in rows]
    kept = sorted(rows, key=lambda row: row[0].value if row[0].value == row[0].value else float("inf"))[:MANY]
    return f"The {MANY} {what} of {len(rows)} with the lowest {by}; report.json has them all.", [row for _, row in kept]
