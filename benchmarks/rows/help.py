"""The command line before it does anything."""

import sys

from _measure import Context, Line, measured

TITLE = "`regraft --help`"
TIMES = 7
BAR, BEYOND = 0.3, 0.15


def estimate(context: Context, image_s: float) -> float:
    """Seconds."""
    del context, image_s
    return 4.0


def measure(context: Context) -> list[Line]:
    """CPU seconds of a fresh process each, after one that is not counted."""
    command = [sys.executable, "-m", "regraft", "--help"]
    measured(command, cache=context.work)
    costs = [measured(command, cache=context.work) for _ in range(TIMES)]
    bare = [measured([sys.executable, "-c", ""], cache=context.work) for _ in range(TIMES)]
    return [
        Line(what="`regraft --help`", against="", values=tuple(cost.cpu for cost in costs), unit="s of CPU", bar=BAR,
             beyond=BEYOND, detail=f"Python itself takes {min(cost.cpu for cost in bare):.2f} s of that."),
    ]  # fmt: skip
