"""What a person sees while a verb works: bars with the time left in a terminal, lines elsewhere, or nothing."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from regraft.doors._lines import (
    LineScreen,
    amount,
    epoch_header,
    epoch_row,
    is_epoch,
    left,
    notice_line,
    plan_line,
)  # fmt: skip
from regraft.doors._stream import Stream
from regraft.values import Event, Notice, Plan, Progress

if TYPE_CHECKING:
    from rich.progress import TaskID


Told = TypeVar("Told")


@runtime_checkable
class Screen(Protocol):
    """Something that shows events."""

    def show(self, event: Event) -> None:
        """Show it, if it is a notice, a plan or progress."""

    def close(self) -> None:
        """Leave the terminal as it was found."""


class QuietScreen:
    """Shows nothing."""

    def show(self, event: Event) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class LiveScreen:
    """A bar at the foot of the terminal for the phase at work; above it what stays to be read."""

    def __init__(self, stream: Stream) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

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
        self._columns: tuple[str, ...] = ()

    def show(self, event: Event) -> None:
        """Move the bar, or write a line above it."""
        match event:
            case Notice():
                self._write(notice_line(event))
            case Plan():
                self._write(plan_line(event))
            case Progress():
                self._move(event)
                if is_epoch(event):
                    if not self._columns:
                        self._columns = tuple(event.facts)
                        self._write(epoch_header(self._columns))
                    self._write(epoch_row(event, self._columns))
            case _:
                pass

    def close(self) -> None:
        """Take the bar away."""
        self._remove()
        self._bars.stop()

    def _move(self, event: Progress) -> None:
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


def open_screen(*, quiet: bool) -> Screen:
    """The screen that fits where stderr goes."""
    if quiet:
        return QuietScreen()
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveScreen(sys.stderr)
    return LineScreen()


def watched(events: Iterable[Told], *, quiet: bool = False) -> Iterator[Told]:
    """Show notices, plans and progress; pass on everything else. The screen is closed however the work ends."""
    screen = open_screen(quiet=quiet)
    try:
        for event in events:
            if isinstance(event, Notice | Plan | Progress):
                screen.show(event)
            else:
                yield event
    finally:
        screen.close()
