"""The values that cross rooms and doors: measured numbers, events, predictions. Imports nothing heavy.

A verb of the workbench is a generator of `Event`s; a door prints, streams or drops them. Seconds are seconds,
sizes are bytes, shares and probabilities lie in [0, 1].
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any, TypeVar

from regraft.records import to_json

Json = None | bool | int | float | str | Sequence[Any] | Mapping[str, Any]
"""A JSON value; what lies inside is not spelt out, because a recursive alias cannot be checked at run time."""


LEVEL = 0.95
"""Nominal coverage of every interval."""
NOTHING = "–"
"""Stands where a number is missing."""


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def shown(value: float | None, *, scale: float | None = None, signed: bool = False) -> str:
    """A number for people: `0.921`, `12.34`, `123.4`, `52,341`, `4.00e-04`; a dash where there is none, or nan.

    Three decimals below 10, fewer above, so that about four digits are left; `scale` is the largest of the numbers that
    are shown together, this one when not given. Commas part thousands.
    """
    if value is None or isnan(value):
        return NOTHING
    size = abs(value if scale is None else scale)
    decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    form = ".2e" if 0 < size < 0.0005 else f",.{decimals}f"
    return f"{value:{'+' if signed else ''}{form}}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number with the interval that fits how it was made, or the reason why it has none."""

    value: float
    """The point estimate."""
    low: float | None = None
    """Lower end of the interval; None when there is none."""
    high: float | None = None
    """Upper end of the interval; None when there is none."""
    level: float = LEVEL
    """Nominal coverage of the interval."""
    method: str = ""
    """How the interval was made (`wilson`, `bootstrap`, `bootstrap by group`, `nadeau-bengio`), or why none was."""

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return self.told() + (f" ({self.method})" if self.method else "")
        return self.told()

    def told(self, *, signed: bool = False) -> str:
        """The number and, where it has one, its interval: `0.921 [0.874, 0.951]`."""
        if self.low is None or self.high is None:
            return shown(self.value, signed=signed)
        scale = max(abs(self.value), abs(self.low), abs(self.high))
        value, low, high = (shown(one, scale=scale, signed=signed) for one in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something to report while a verb works; the base of all events."""

    def to_json(self) -> dict[str, Any]:
        """The fields under their names, and the event's name under `type`: for logs, streams and pages."""
        return {"type": type(self).__name__, **to_json(self)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Written(Event):
    """The last event of a verb that leaves a folder; as JSON it is the path alone, for the rest lies in that folder."""

    path: Path
    """The folder."""

    def to_json(self) -> dict[str, Any]:
        return {"type": type(self).__name__, "path": str(self.path)}


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """A fact the user should know: what was ignored, assumed, or replaced by a fallback."""

    text: str
    """One or two sentences."""
    topic: str = ""
    """A stable word to filter by: `data`, `store`, `backend`, `split`, `calibration` …"""


def notices(texts: Iterable[str], topic: str = "data") -> tuple[Notice, ...]:
    """A notice for each sentence."""
    return tuple(Notice(text=text, topic=topic) for text in texts)


@dataclass(frozen=True, kw_only=True)
class Plan(Event):
    """What long work will take, told before it starts."""

    phase: str
    """Which work: `activations`, `training` …"""
    examples: int
    """Examples (times views) to go through."""
    bytes_needed: int
    """Bytes that will be written."""
    bytes_free: int
    """Bytes free on the disk that takes them."""
    seconds: float | None
    """Predicted wall seconds; None before anything was timed."""


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """How far a phase has come."""

    phase: str
    """Which work."""
    done: int
    """Units done so far."""
    total: int
    """Units in all."""
    seconds: float = 0.0
    """Wall seconds spent on this phase so far."""
    seconds_left: float | None = None
    """Predicted wall seconds until the phase ends; None when unknown."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Numbers to show beside the bar: losses, accuracies, learning rates."""


T = TypeVar("T")


def drained(events: Generator[Event, None, T]) -> T:
    """What a generator of events returns; its events are dropped."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one input."""

    id: str
    """Which input: its path, or its position in the list that was given."""
    label: str | None
    """The most probable class; or the labels or targets predicted, with a semicolon between them. None when the model
    abstains or the input could not be read."""
    probabilities: Mapping[str, float]
    """Probability of every class, which sum to 1, or of every label. Empty when the input could not be read, or when
    numbers are predicted."""
    labels: Sequence[str] | None = None
    """The labels predicted, each as probable as not or more; None for other models, and where there is no label."""
    values: Mapping[str, float] = field(default_factory=dict)
    """The predicted numbers by name, in the user's units; empty for other models."""
    record: Json = None
    """What is predicted where that is a record (boxes with classes and scores, an embedding), as the task writes it;
    None for other models."""
    ood_score: float | None = None
    """How far the input lies from the training data, as a quantile of out-of-fold training distances: 0.99 means
    farther from its nearest class mean (without classes: from the mean) than 99 % of the training examples."""
    abstained: bool = False
    """Whether the label was withheld because `ood_score` exceeded the limit asked for."""
    error: str | None = None
    """Why the input could not be read."""
