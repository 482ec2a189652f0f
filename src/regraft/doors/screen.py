"""Output while a command runs: progress bars with the time left in a terminal, lines elsewhere, or nothing. All of it
goes to stderr; results go to stdout, as text for people, or with `--json` as JSON for programs.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill, indent
from typing import TYPE_CHECKING, Any, TypeVar

from regraft.records import to_json
from regraft.values import NOTHING, Notice, Plan, Progress, shown
from regraft.words import counted, duration, lowered, size, visible

if TYPE_CHECKING:
    from rich.progress import TaskID

    from regraft.reports.report import Report
    from regraft.reports.sweep import SweepReport
    from regraft.workbench.compare import Comparison


T = TypeVar("T")

EVENTS = "REGRAFT_EVENTS"
"""Environment variable that names a file for events."""
EVERY_S = 10.0
"""Minimum number of seconds between lines of progress."""
_TITLES = {"loss": "train loss", "val_loss": "val loss", "val_accuracy": "val accuracy"}


class LineScreen:
    """Writes a line for each notice, plan and epoch, and occasional progress. For files and pipes."""

    def __init__(self, stream: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._last_line: dict[str, float] = {}
        self._columns: tuple[str, ...] = ()

    def show(self, event: Notice | Plan | Progress) -> None:
        """Show `event`."""
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
        """Restore the terminal."""

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


class LogScreen(LineScreen):
    """Also writes every event as a line of JSON, progress within a phase at most once per second, for the web UI."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._logged = path, 0.0

    def show(self, event: Notice | Plan | Progress) -> None:
        """Show and store `event`."""
        super().show(event)
        now = time.time()
        if isinstance(event, Progress) and event.done < event.total and not event.facts and now - self._logged < 1:
            return
        self._logged = now
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"time": round(now, 3), **event.to_json()}) + "\n")


class LiveScreen(LineScreen):
    """A progress bar of the current phase at the bottom of the terminal, below the lines that remain."""

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
        """Remove the bar."""
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
    """Provide a function that shows an event inside the `with`: notices, plans and progress, with `quiet` only notices
    about data left out. It returns False for all other events. The screen is always closed at the end."""
    in_terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    shown = LiveScreen(sys.stderr) if in_terminal and not quiet else LineScreen()
    if kept := os.environ.get(EVENTS):
        shown = LogScreen(Path(kept))

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
    """Run a command to its end; return its last event of this kind."""
    found: T | None = None
    with screen(quiet=quiet) as show:
        for event in events:
            if not show(event) and isinstance(event, kind):
                found = event
    assert found is not None, f"no {kind.__name__} among the events"
    return found


def plan_line(event: Plan) -> str:
    """Return a plan as one line."""
    parts = [f"{event.examples:,} to process"] if event.examples else []
    if event.bytes_needed:
        parts.append(f"{size(event.bytes_needed)} to write ({size(event.bytes_free)} free)")
    if event.seconds is not None:
        parts.append(f"about {duration(event.seconds)}")
    return f"{event.phase}: {', '.join(parts)}"


def is_epoch(event: Progress) -> bool:
    """Return whether the event is the end of an epoch, which is a row of a table."""
    return event.phase == "training" and bool(event.facts)


def epoch_header(columns: tuple[str, ...]) -> str:
    """Return the header of the table of epochs: steps so far, and metrics."""
    titles = (_TITLES.get(name, name.replace("_", " ")) for name in columns)
    return "  ".join([f"{'step':>11}", *(f"{title:>12}" for title in titles), f"{'time left':>12}"])


def epoch_row(event: Progress, columns: tuple[str, ...]) -> str:
    """Return one epoch as a row of the table."""
    cells = [f"{event.facts[name]:12.4f}" if name in event.facts else " " * 12 for name in columns]
    rest = "" if event.done >= event.total or event.seconds_left is None else duration(event.seconds_left)
    return "  ".join([f"{f'{event.done}/{event.total}':>11}", *cells, f"{rest:>12}"])


def left(event: Progress) -> str:
    """Return the remaining time of the phase; empty if unknown."""
    return "" if event.seconds_left is None else f"{duration(event.seconds_left)} left"


def amount(event: Progress) -> str:
    """Return the progress of the phase; bytes in units of bytes."""
    if event.phase.startswith(("download", "unpacking")):
        return f"{size(event.done)} of {size(event.total)}"
    return f"{event.done:,} of {event.total:,}"


Found = TypeVar("Found")

WIDTH = 108
"""Maximum line length of prose, in characters."""
_SHOWN = ("balanced_accuracy", "log_loss", "macro_auroc", "r2", "quadratic_weighted_kappa")
"""Metrics beside the main one that the table at the end of a fit shows, two at most; more would pass 80 columns."""


def escape_what_an_encoding_lacks() -> None:
    """Make printing safe: characters that the encoding of stdout or stderr lacks (`²` in cp1251, or a file name that is
    not valid UTF-8) are written as backslash escapes; output to a closed stream is discarded."""
    sys.stdout, sys.stderr = (
        Path(os.devnull).open("w") if stream is None else stream  # noqa: SIM115
        for stream in (sys.stdout, sys.stderr)
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_found(found: Found, as_text: Callable[[Found], str], *, json: bool) -> None:
    """Print `found` as one JSON object, or as text."""
    print(as_json(found, indent=2) if json else as_text(found))


def print_report(
    report: Any, folder: Path | None, verdict: str, blocks: Sequence[str], *, json: bool, model: bool = False
) -> None:
    """Print the result of a long command: `blocks`, a table first, then the verdict and the files in `folder`; or, with
    `json`, the report."""
    if json:
        print(as_json({"path": folder, "verdict": verdict, "report": report}, indent=2))
        return
    table, *others = blocks
    print("\n" + "\n\n".join(filter(None, [table, wrapped(verdict), *others])) + "\n")
    if folder is not None:
        print(f"report  {folder / 'report.md'}" + (f"\nmodel   {folder / 'model'}" if model else ""))


def print_run(report: "Report", folder: Path | None, *, json: bool, model: bool = False) -> None:
    """Print the result of a fit, an extension or an evaluation, and where it is stored."""
    from regraft.reports.verdict import refused, verdict

    print_report(report, folder, verdict(report), [figures(report), wrapped(refused(report))], json=json, model=model)


def as_json(found: Any, *, indent: int | None = None) -> str:
    """Return JSON in ASCII, for any encoding; numbers that are not finite are null."""
    return json.dumps(to_json(found), indent=indent)


def wrapped(text: str, by: str = "") -> str:
    """Return a paragraph wrapped and indented by `by`; names and links, which users copy, are not broken."""
    return indent(fill(text, WIDTH - len(by), break_long_words=False, break_on_hyphens=False), by)


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int | None = None) -> str:
    """Return an aligned table, with columns two spaces apart and a line under the header.

    The first `left` columns are left-aligned, the others, numbers, right-aligned; None: all left-aligned.
    """
    table = [[visible(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    num_left = len(header) if left is None else left
    table.insert(1, ["-" * width for width in widths])
    aligns = [str.ljust if at < num_left else str.rjust for at in range(len(header))]
    return "\n".join(
        "  ".join(align(cell, width) for align, cell, width in zip(aligns, line, widths, strict=True)).rstrip()
        for line in table
    )


def listed(pairs: Iterable[tuple[str, str]], indent: str = "  ") -> str:
    """Return names with their descriptions in an aligned second column, wrapped."""
    found = list(pairs)
    width = max((len(name) for name, _ in found), default=0)
    hanging = " " * (len(indent) + width + 2)
    return "\n".join(
        fill(
            text or NOTHING, WIDTH, initial_indent=f"{indent}{name.ljust(width)}  ", subsequent_indent=hanging,
            break_long_words=False, break_on_hyphens=False,
        )
        for name, text in found
    )  # fmt: skip


def figures(report: "Report") -> str:
    """Return a table of the model and its linear probe."""
    from regraft.reports.verdict import title_of

    section = report.section
    if section is None:
        return ""
    models = {report.strategy.preset if report.strategy else "model": section}
    if report.probe:
        models[report.words.probe] = report.probe.evaluation
    metrics = [name for name in _SHOWN if name in section.metrics][:2]
    rows = [
        [name, one.headline.told(), *(one.metrics[key].told() if key in one.metrics else NOTHING for key in metrics)]
        for name, one in models.items()
    ]
    return aligned(["", *(lowered(title_of(key)) for key in (section.main_metric, *metrics))], rows)


def swept(report: "SweepReport") -> str:
    """Return the candidates of a sweep, best first; a star marks those not distinguishable from it."""
    from regraft.reports.verdict import title_of

    rows = [
        (f"{one.name}{' *' if one.tied else ''}", one.measured.told(), one.behind.told(), f"{one.seconds:.1f} s")
        for one in report.candidates
    ]
    header = ["candidate (*: as good as the best)", lowered(title_of(report.metric)), "behind the best", "a run"]
    return aligned(header, rows)


def compared(found: "Comparison") -> str:
    """Return two runs, their difference and the verdict."""
    from regraft.reports.verdict import title_of

    paired = found.paired
    metric = lowered(title_of(paired.metric))
    header, columns = ["run", "model", metric], [found.names, found.described, map(shown, (paired.a, paired.b))]
    if paired.only_a_right is not None:
        header.append("right where the other is wrong")
        columns.append(map(str, (paired.only_a_right, paired.only_b_right)))
    groups = f" in {counted(found.num_groups, 'group')}" if found.num_groups else ""
    return "\n\n".join(
        [
            f"{metric} on the same {counted(found.num_examples, found.split + ' example')}{groups}",
            aligned(header, zip(*columns, strict=True)),
            paired.verdict,
            "\n".join(found.notes),
        ]
    )
