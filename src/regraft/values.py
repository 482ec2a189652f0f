"""Shared value types: measured numbers, events, predictions. Imports nothing heavy.

A command of the workbench is a generator of `Event`s, which the caller prints, streams or ignores. Times are in
seconds, sizes in bytes; shares and probabilities are in [0, 1].
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any, TypeVar

from regraft.records import to_json

Json = None | bool | int | float | str | Sequence[Any] | Mapping[str, Any]
"""A JSON value (not a recursive type, which could not be checked at run time)."""


LEVEL = 0.95
"""Nominal coverage of all intervals."""
NOTHING = "–"
"""Displayed instead of a missing number."""


def now() -> str:
    """Return the current time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def shown(value: float | None, *, scale: float | None = None, signed: bool = False) -> str:
    """Format a number: `0.921`, `12.34`, `123.4`, `52,341`, `4.00e-04`; a dash for None or nan.

    Three decimals below 10, fewer above, for about four digits; `scale` is the largest of the numbers shown together
    (default: this one). Commas separate thousands.
    """
    if value is None or isnan(value):
        return NOTHING
    size = abs(value if scale is None else scale)
    decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    form = ".2e" if 0 < size < 0.0005 else f",.{decimals}f"
    return f"{value:{'+' if signed else ''}{form}}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number with a confidence interval, or the reason why it has none."""

    value: float
    """The point estimate."""
    low: float | None = None
    """Lower end of the interval; None without one."""
    high: float | None = None
    """Upper end of the interval; None without one."""
    level: float = LEVEL
    """Nominal coverage of the interval."""
    method: str = ""
    """Method of the interval (`wilson`, `bootstrap`, `bootstrap by group`, `nadeau-bengio`), or why there is none."""

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return self.told() + (f" ({self.method})" if self.method else "")
        return self.told()

    def told(self, *, signed: bool = False) -> str:
        """Return the number and its interval, if any: `0.921 [0.874, 0.951]`."""
        if self.low is None or self.high is None:
            return shown(self.value, signed=signed)
        scale = max(abs(self.value), abs(self.low), abs(self.high))
        value, low, high = (shown(one, scale=scale, signed=signed) for one in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base class of events reported while a command runs."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name, with the event's name under `type`, for logs, streams and web pages."""
        return {"type": type(self).__name__, **to_json(self)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Written(Event):
    """Last event of a command that writes a folder; its JSON is the path only."""

    path: Path
    """The folder."""

    def to_json(self) -> dict[str, Any]:
        return {"type": type(self).__name__, "path": str(self.path)}


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """Information for the user: what was ignored, assumed, or replaced by a fallback."""

    text: str
    """One or two sentences."""
    topic: str = ""
    """Topic to filter by: `data`, `store`, `backend`, `split`, `calibration` …"""


def notices(texts: Iterable[str], topic: str = "data") -> tuple[Notice, ...]:
    """Return a notice for each sentence."""
    return tuple(Notice(text=text, topic=topic) for text in texts)


@dataclass(frozen=True, kw_only=True)
class Plan(Event):
    """Estimated cost of long work, reported before it starts; that of training once its first steps are timed."""

    phase: str
    """Name of the phase: `activations`, `training` …"""
    examples: int
    """Number of examples (times views) to process; 0: not given."""
    bytes_needed: int
    """Bytes to be written."""
    bytes_free: int
    """Bytes free on that disk."""
    seconds: float | None
    """Estimated wall-clock seconds; None before anything was timed."""


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """Progress of a phase."""

    phase: str
    """Name of the phase."""
    done: int
    """Units done."""
    total: int
    """Total units."""
    seconds: float = 0.0
    """Wall-clock seconds of this phase so far."""
    seconds_left: float | None = None
    """Estimated wall-clock seconds left; None if unknown."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Numbers to show: losses, accuracies, learning rates."""


T = TypeVar("T")


def drained(events: Generator[Event, None, T]) -> T:
    """Run a generator of events to its end and return its result."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A model's prediction for one input."""

    id: str
    """The input: its path, or its position in the given list."""
    label: str | None
    """Predicted class; or labels or target values separated by semicolons. None if the model abstains or the input
    could not be read."""
    probabilities: Mapping[str, float]
    """Probability of every class (they sum to 1), or of every label. Empty for regression, or if the input could not be
    read."""
    labels: Sequence[str] | None = None
    """Predicted labels, those with a probability of at least one half; None for other tasks, or without prediction."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Predicted values by name, in the user's units; empty for other tasks."""
    record: Json = None
    """Structured prediction (boxes with classes and scores, an embedding), in the task's JSON format; None for other
    tasks."""
    ood_score: float | None = None
    """Distance from the training data, as a quantile of out-of-fold training distances: 0.99 means farther from the
    nearest class mean (without classes: from the mean) than 99 % of the training examples."""
    abstained: bool = False
    """Whether the label was withheld because `ood_score` exceeded the requested limit."""
    error: str | None = None
    """Reason why the input could not be read."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named configuration of a strategy."""

    title: str
    """One-line description."""
    cut: str | None
    """Default cut; None: the backbone's default for partial fine-tuning (`Card.partial_cut`)."""
    options: Mapping[str, Any]
    """Options that differ from the strategy's defaults."""
    views: int
    """Default number of stored views per example; 0: a new view every epoch."""
    random_weights: bool = False
    """Whether the backbone is initialised at random instead."""
