"""Events as lines of text, and as bars in a terminal."""

import io
import sys

import pytest

from regraft.doors.screen import LineScreen, LiveScreen, plan_line, result_of, watched
from regraft.values import Event, Notice, Plan, Progress


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(events: list[tuple[float, Event]]) -> list[str]:
    """The lines for events at given seconds."""
    clock, stream = Clock(), io.StringIO()
    screen = LineScreen(stream, clock)
    for clock.now, event in events:
        screen.show(event)
    return stream.getvalue().splitlines()


def step(done: int, *, total: int = 100, seconds: float = 0.0, left: float | None = None) -> Progress:
    return Progress(phase="activations", done=done, total=total, seconds=seconds, seconds_left=left)


def test_progress_is_told_now_and_then_with_the_time_left() -> None:
    events = [(t, step(t, seconds=t, left=100.0 - t)) for t in range(101)]
    lines = shown([(float(t), event) for t, event in events])
    assert lines[0] == "activations: 10 of 100, 90 s left"
    assert lines[-1] == "activations: 100 of 100, in 1 min 40 s"
    assert len(lines) == 10


def test_short_work_is_not_told() -> None:
    assert shown([(0.1 * t, step(t, seconds=0.1 * t)) for t in range(11)]) == []


def test_epochs_are_rows_of_one_table() -> None:
    facts = {"loss": 0.71234, "val_loss": 0.5, "val_accuracy": 0.75}
    events = [
        Progress(phase="training", done=e, total=2, seconds=3.0 * e, seconds_left=3.0 * (2 - e), facts=facts)
        for e in (1, 2)
    ]
    lines = shown([(0.0, event) for event in events])
    assert lines[0].split() == ["step", "train", "loss", "val", "loss", "val", "accuracy", "time", "left"]
    assert lines[1].split() == ["1/2", "0.7123", "0.5000", "0.7500", "3.0", "s"]
    assert lines[2].split() == ["2/2", "0.7123", "0.5000", "0.7500"]
    assert len({len(line) for line in lines}) == 1


def test_notices_and_plans_are_one_line_each() -> None:
    plan = Plan(phase="activations", examples=1588, bytes_needed=129_000_000, bytes_free=81_800_000_000, seconds=71.0)
    told = "activations: 1,588 to process, 129.0 MB to write (81.8 GB free), about 71 s"
    assert shown([(0.0, Notice(text="One file was ignored.")), (0.0, plan)]) == ["note: One file was ignored.", told]
    download = Plan(phase="download", examples=0, bytes_needed=52_000_000, bytes_free=81_800_000_000, seconds=None)
    assert plan_line(download) == "download: 52.0 MB to write (81.8 GB free)"


def test_downloads_are_told_in_bytes() -> None:
    events = [(t, Progress(phase="download", done=int(t * 1e6), total=52_000_000)) for t in (0.0, 11.0)]
    assert shown([(t, event) for t, event in events]) == ["download: 11.0 MB of 52.0 MB"]


def test_watching_passes_on_what_is_no_progress_and_closes_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    closed = []

    def work() -> object:
        try:
            yield Notice(text="so it is")
            yield "a result"
            yield "never reached"
        finally:
            closed.append(True)

    events = work()
    assert next(iter(watched(events))) == "a result"  # type: ignore[arg-type]
    events.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert capsys.readouterr().err == "note: so it is\n"


def test_the_result_of_a_verb_is_its_last_event_of_a_kind() -> None:
    first, last = step(1), step(2)
    assert result_of([Notice(text="hush"), "a", 3, "b"], str, quiet=True) == "b"
    with pytest.raises(AssertionError, match="no str among the events"):
        result_of([first, last], str, quiet=True)


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(watched([Notice(text="hush"), step(1)], quiet=True)) == []
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_notices_and_epochs_stay_and_bars_go() -> None:
    stream = Terminal()
    screen = LiveScreen(stream)
    screen.show(Progress(phase="activations", done=3, total=10, seconds_left=12.0))
    screen.show(Notice(text="a [bold] word in brackets"))
    screen.show(Progress(phase="training", done=1, total=2, seconds_left=3.0, facts={"loss": 0.7}))
    screen.show(Progress(phase="training", done=2, total=2, facts={"loss": 0.6}))
    screen.show(Progress(phase="activations", done=10, total=10))
    screen.close()
    text = stream.getvalue()
    assert "note: a [bold] word in brackets" in text
    assert "train loss" in text
    assert "0.6000" in text
    assert text.count("train loss") == 1


def test_results_go_to_stdout_while_a_bar_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    screen = LiveScreen(Terminal())
    screen.show(Progress(phase="prediction", done=1, total=2))
    sys.stdout.write("an answer\n")
    screen.close()
    assert capsys.readouterr().out == "an answer\n"
