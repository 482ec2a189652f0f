"""Work in batches, prepared in threads a few batches ahead of whoever takes the results; memory stays bounded."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 3
"""Batches in work or waiting. Our choice."""


def ahead(
    work: Callable[[T], R], items: Iterable[T], *, size: int, workers: int
) -> Generator[tuple[list[T], list[R]], None, None]:
    """`(batch, results)` for batches of `size` items, in order; `work` runs in `workers` threads.

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
