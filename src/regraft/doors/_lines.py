"""Events as plain lines of text: for files, pipes and terminals without a cursor. Also what other screens share."""

import sys
import time
from collections.abc import Callable, Mapping

from regraft.doors._stream import Stream
from regraft.reports.words import duration, size
from regraft.values import Event, Notice, Plan, Progress

EVERY_S = 10.0
"""Progress is told at most once in so many seconds."""
_TITLES = {"loss": "train loss", "val_loss": "val loss", "val_accuracy": "val accuracy"}


class LineScreen:
    """Writes a line for what is worth one."""

    def __init__(self, stream: Stream | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._told: dict[str, float] = {}
        self._columns: tuple[str, ...] = ()

    def show(self, event: Event) -> None:
        """Write what `event` says, if anything."""
        match event:
            case Notice():
                self._write(notice_line(event))
            case Plan():
                self._write(plan_line(event))
            case Progress() if is_epoch(event):
                if not self._columns:
                    self._columns = tuple(event.facts)
                    self._write(epoch_header(self._columns))
                self._write(epoch_row(event, self._columns))
            case Progress():
                self._progress(event)
            case _:
                pass

    def close(self) -> None:
        """Nothing is left open."""

    def _progress(self, event: Progress) -> None:
        now, ended = self._clock(), event.done >= event.total
        due = now - self._told.setdefault(event.phase, now) >= EVERY_S
        if not due and not (ended and event.seconds >= EVERY_S):
            return
        self._told[event.phase] = now
        rest = f"in {duration(event.seconds)}" if ended else left(event)
        self._write(f"{event.phase}: {amount(event)}" + (f", {rest}" if rest else ""))

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


def notice_line(event: Notice) -> str:
    """A notice as one line."""
    return f"note: {event.text}"


def plan_line(event: Plan) -> str:
    """A plan as one line."""
    parts = [f"{event.examples:,} to go through"] if event.examples else []
    if event.bytes_needed:
        parts.append(f"{size(event.bytes_needed)} to write ({size(event.bytes_free)} free)")
    if event.seconds is not None:
        parts.append(f"about {duration(event.seconds)}")
    return f"{event.phase}: {', '.join(parts)}"


def is_epoch(event: Progress) -> bool:
    """Whether the event is the end of an epoch, which is a row of a table."""
    return event.phase == "training" and bool(event.facts)


def epoch_header(columns: tuple[str, ...]) -> str:
    """The head of the table of epochs: the steps done by their ends, and what was measured there."""
    return "  ".join([f"{'step':>11}", *(f"{_title(name):>12}" for name in columns), f"{'time left':>12}"])


def epoch_row(event: Progress, columns: tuple[str, ...]) -> str:
    """One epoch as a row of the table."""
    facts: Mapping[str, float] = event.facts
    cells = [f"{facts[name]:12.4f}" if name in facts else " " * 12 for name in columns]
    rest = "" if event.done >= event.total or event.seconds_left is None else duration(event.seconds_left)
    number = f"{event.done}/{event.total}"
    return "  ".join([f"{number:>11}", *cells, f"{rest:>12}"])


def left(event: Progress) -> str:
    """How long the phase will take still; empty where that is not known."""
    return "" if event.seconds_left is None else f"{duration(event.seconds_left)} left"


def amount(event: Progress) -> str:
    """How far the phase has come; bytes as bytes."""
    if event.phase.startswith(("download", "unpacking")):
        return f"{size(event.done)} of {size(event.total)}"
    return f"{event.done:,} of {event.total:,}"


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " "))
