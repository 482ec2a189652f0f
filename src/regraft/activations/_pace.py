"""How fast work goes on, once it is under way.

The first batch of a pass also waits for what is done once (sessions, imports, cold files), so it is not counted.
"""

import time
from collections.abc import Callable


class Pace:
    """Counts units of work as they are done, and predicts the rest."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done = total, 0
        self._clock = clock
        self._started = self._last = clock()
        self._warm = False
        self._counted, self._counted_s = 0, 0.0

    def begin_pass(self) -> None:
        """What comes next waits for something that is done once."""
        self._warm = False

    def step(self, units: int) -> None:
        """`units` more are done."""
        now = self._clock()
        if self._warm:
            self._counted, self._counted_s = self._counted + units, self._counted_s + now - self._last
        self._warm, self._last, self.done = True, now, self.done + units

    @property
    def seconds(self) -> float:
        """Wall seconds from the beginning to the last step."""
        return self._last - self._started

    @property
    def seconds_left(self) -> float | None:
        """Predicted wall seconds until all is done; None before anything was counted."""
        if self.done >= self.total:
            return 0.0
        return self._counted_s / self._counted * (self.total - self.done) if self._counted else None
