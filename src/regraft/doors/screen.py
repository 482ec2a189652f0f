"""What a person sees while a verb works: bars with the time left in a terminal, lines elsewhere, or nothing.

All of it goes to stderr; results go to stdout.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from regraft.values import Notice, Plan, Progress
from regraft.words import duration, size

if TYPE_CHECKING:
    from rich.progress import TaskID

T = TypeVar("T")

EVERY_S = 10.0
"""Lines of progress are at least this many seconds apart."""
_TITLES = {"loss": "train loss", "val_loss": "val loss", "val_accuracy": "val accuracy"}


class LineScreen:
    """Writes a line for each notice, plan and epoch, and now and then one for progress. For files and pipes."""

    def __init__(self, stream: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._last_line: dict[str, float] = {}
        self._columns: tuple[str, ...] = ()

    def show(self, event: Notice | Plan | Progress) -> None:
        """Show what `event` says."""
        match event:
            case Notice():
                self._write(f"note: {event.text}")
            case Plan():
                self._write(plan_line(event))
            case Progress():
                self._progress(event)
                if is_epoch(event):
                    if not self._columns:
                        self._columns = tuple(event.facts)
                        self._write(epoch_header(self._columns))
                    self._write(epoch_row(event, self._columns))

    def close(self) -> None:
        """Leave the terminal as it was found."""

    def _progress(self, event: Progress) -> None:
        if is_epoch(event):
            return
        now, ended = self._clock(), event.done >= event.total
        due = now - self._last_line.setdefault(event.phase, now) >= EVERY_S
        if not due and not (ended and event.seconds >= EVERY_S):
            return
        self._last_line[event.phase] = now
        rest = f"in {duration(event.seconds)}" if ended else left(event)
        self._write(f"{event.phase}: {amount(event)}" + (f", {rest}" if rest else ""))

    def _write(self, line: str) -> None:
        if self._stream is None:  # a program without a console, as Windows starts some
            return
        try:
            self._stream.write(f"{line}\n")
        except UnicodeEncodeError:  # a stream of the caller's, in an encoding that lacks a character
            self._stream.write(f"{ascii(line)[1:-1]}\n")
        self._stream.flush()


class LiveScreen(LineScreen):
    """A bar at the foot of the terminal for the phase at work; above it the lines that stay to be read."""

    def __init__(self, stream: Any) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        super().__init__(stream)
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}", markup=False),
            TextColumn("{task.fields[left]}", style="cyan", markup=False),
            console=Console(file=stream, highlight=False, markup=False, soft_wrap=True),
            transient=True,
            refresh_per_second=5,
            redirect_stdout=False,  # results go to stdout, which may be a file, while the bar goes to the terminal
            redirect_stderr=False,
        )
        self._phase = ""
        self._task: TaskID | None = None

    def close(self) -> None:
        """Take the bar away."""
        self._remove()
        self._bars.stop()

    def _progress(self, event: Progress) -> None:
        if event.phase != self._phase or event.done >= event.total:
            self._remove()
        if event.done >= event.total:
            return
        if self._task is None:
            self._bars.start()
            self._phase, self._task = event.phase, self._bars.add_task(event.phase, total=None, amount="", left="")
        self._bars.update(self._task, total=event.total, completed=event.done, amount=amount(event), left=left(event))

    def _remove(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None

    def _write(self, line: str) -> None:
        self._bars.console.print(line)


@contextmanager
def screen(*, quiet: bool) -> Iterator[Callable[[Any], bool]]:
    """Inside the `with`, what shows an event: a notice, a plan or progress, of which `quiet` leaves notices about the
    data: what was left out is always said. False for all others. The screen is closed however the work ends."""
    in_terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    shown = LiveScreen(sys.stderr) if in_terminal and not quiet else LineScreen()

    def show(event: Any) -> bool:
        known = isinstance(event, Notice | Plan | Progress)
        if known and (not quiet or (isinstance(event, Notice) and event.topic == "data")):
            shown.show(event)
        return known

    try:
        yield show
    finally:
        shown.close()


def watched(events: Iterable[T], *, quiet: bool = False) -> Iterator[T]:
    """Show notices, plans and progress as `screen` says; pass on everything else."""
    with screen(quiet=quiet) as show:
        yield from (event for event in events if not show(event))


def result_of(events: Iterable[Any], kind: type[T], *, quiet: bool = False) -> T:
    """Watch a verb to its end; its last event of this kind."""
    found: T | None = None
    with screen(quiet=quiet) as show:
        for event in events:
            if not show(event) and isinstance(event, kind):
                found = event
    assert found is not None, f"no {kind.__name__} among the events"
    return found


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
    titles = (_TITLES.get(name, name.replace("_", " ")) for name in columns)
    return "  ".join([f"{'step':>11}", *(f"{title:>12}" for title in titles), f"{'time left':>12}"])


def epoch_row(event: Progress, columns: tuple[str, ...]) -> str:
    """One epoch as a row of the table."""
    cells = [f"{event.facts[name]:12.4f}" if name in event.facts else " " * 12 for name in columns]
    rest = "" if event.done >= event.total or event.seconds_left is None else duration(event.seconds_left)
    return "  ".join([f"{f'{event.done}/{event.total}':>11}", *cells, f"{rest:>12}"])


def left(event: Progress) -> str:
    """How long the phase will still take; empty where that is not known."""
    return "" if event.seconds_left is None else f"{duration(event.seconds_left)} left"


def amount(event: Progress) -> str:
    """How far the phase has come; bytes as bytes."""
    if event.phase.startswith(("download", "unpacking")):
        return f"{size(event.done)} of {size(event.total)}"
    return f"{event.done:,} of {event.total:,}"
