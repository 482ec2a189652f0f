"""Bars in a terminal."""

import io
import sys

import pytest

from regraft.doors._terminal import LiveScreen
from regraft.values import Notice, Progress


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
