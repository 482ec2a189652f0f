"""Work in batches: prepared in threads a few batches ahead of whoever takes the results, and timed."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 3
"""Batches in work or waiting. Our choice."""


def ahead(work: Callable[[T], R], items: Iterable[T], *, size: int, workers: int) -> Iterator[tuple[list[T], list[R]]]:
    """`(batch, results)` for batches of `size` items, in order; `work` runs in `workers` threads; memory is bounded.

    An error of `work` is raised when its batch is due. Closing the iterator drops what has not begun.
    """
    rest = iter(items)
    waiting: deque[tuple[list[T], Sequence[Future[R]]]] = deque()
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        while True:
            while len(waiting) < AHEAD and (batch := list(islice(rest, size))):
                waiting.append((batch, [pool.submit(work, item) for item in batch]))
            if not waiting:
                return
            batch, futures = waiting.popleft()
            yield batch, [future.result() for future in futures]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Pace:
    """Counts units of work as they are done, and predicts the rest.

    The first batch of a pass also waits for what is done once (sessions, imports, cold files), so it is not counted.
    """

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
