"""States from the store, states computed on demand, and states of views made on a device; and prefetching in threads.

Letters: b requested rows; the other axes are the state's own.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Bool, Int

from regraft.activations.shards import Rows
from regraft.activations.slots import PLACEMENT, as_float32, masked, stacked
from regraft.activations.states import Arrays, Numbers, States

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 3
"""Batches in progress or waiting. Our choice."""
KEPT_BYTES = 1 << 28
"""Maximum bytes of plain inputs to cache beside views made on the device."""
KEPT_PLACEMENTS = 4096
"""Maximum number of rows whose placements are cached, most recently loaded."""


class StoredStates(States):
    """States in the store, read from disk on demand."""

    def __init__(
        self,
        rows: Rows,
        place: Int[np.ndarray, "n"],
        num_views: int,
        shared: Mapping[str, np.ndarray],
        pieces: Int[np.ndarray, "n"],
    ) -> None:
        """`place` gives, for every example of the data set, the row of its first piece's plain view, followed by its
        other views, then its other pieces; -1 if it is not stored. `pieces` is the number of its pieces."""
        self._rows, self._place, self._num_views, self._pieces = rows, place, num_views, pieces
        self._names = [name for name in rows.names if not name.startswith(PLACEMENT)]
        self._placed = [name for name in rows.names if name.startswith(PLACEMENT)]
        self._shared = {name: as_float32(array) for name, array in shared.items()}

    @property
    def num_views(self) -> int:
        return self._num_views

    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        positions = self._positions(examples, views, pieces)
        gathered = masked(self._rows.gather(positions, self._names), self._rows.lengths(positions))
        return {name: as_float32(array) for name, array in gathered.items()} | self._shared

    def pieces_of(self, examples: Numbers) -> Numbers:
        return self._pieces[examples]

    def placements(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        gathered = self._rows.gather(self._positions(examples, views, pieces), self._placed) if self._placed else {}
        return {name.removeprefix(PLACEMENT): array for name, array in gathered.items()}

    def _positions(self, examples: Numbers, views: Numbers, pieces: Numbers | None) -> Numbers:
        first, asked = self._place[examples], np.zeros_like(views) if pieces is None else pieces
        if first.size and (
            min(first.min(), views.min(), asked.min()) < 0
            or views.max() >= self._num_views
            or (asked >= self._pieces[examples]).any()
        ):
            raise ValueError("The requested states are not stored for this example, view or piece.")
        return first + asked * self._num_views + views


class ScoredStates(States):
    """States in two precisions: one for plain views of evaluated examples, the other for everything else."""

    def __init__(self, scored: States, others: States, asked: Bool[np.ndarray, "n"]) -> None:
        """`asked` says for every example of the data set whether it is evaluated. States have no shared tensors."""
        self._scored, self._others, self._asked = scored, others, asked

    @property
    def num_views(self) -> int | None:
        return self._others.num_views

    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        return self._merged(lambda states, *rows: states.batch(*rows), examples, views, pieces)

    def pieces_of(self, examples: Numbers) -> Numbers:
        return np.where(self._asked[examples], self._scored.pieces_of(examples), self._others.pieces_of(examples))

    def placements(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        return self._merged(lambda states, *rows: states.placements(*rows), examples, views, pieces)

    def _merged(
        self, ask: Callable[..., dict[str, np.ndarray]], examples: Numbers, views: Numbers, pieces: Numbers | None
    ) -> dict[str, np.ndarray]:
        scored = self._asked[examples] & (views == 0)
        parts = [(self._scored, scored), (self._others, ~scored)]
        found = [
            (rows, ask(states, examples[rows], views[rows], None if pieces is None else pieces[rows]))
            for states, rows in parts
            if rows.any() or (states is self._others and not len(rows))
        ]
        if len(found) == 1:
            return found[0][1]
        merged = {name: np.empty((len(scored), *one.shape[1:]), one.dtype) for name, one in found[0][1].items()}
        for rows, arrays in found:
            for name, array in arrays.items():
                merged[name][rows] = array
        return merged


class FreshStates(States):
    """States computed on demand, so that every epoch may have new views. Nothing is stored."""

    def __init__(
        self,
        load: Callable[[int, int, int], tuple[Arrays, Arrays]],
        run: Callable[[Sequence[Arrays]], dict[str, np.ndarray]] | None,
        workers: int,
        pieces_of: Callable[[int], int] = lambda example: 1,
    ) -> None:
        """`load(example, view, piece)` returns a prepared input and its placement, in `workers` threads. `run` is the
        frozen part, from prepared inputs to a batch; None at cut `input` if rows have one shape. `pieces_of` returns
        the number of pieces of an example."""
        self._load, self._run, self._pieces_of = load, run, pieces_of
        self._pool = ThreadPoolExecutor(max(1, workers))
        self._placed: OrderedDict[tuple[int, int, int], Arrays] = OrderedDict()

    @property
    def num_views(self) -> None:
        return None

    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        rows = _addresses(examples, views, pieces)
        loaded = list(self._pool.map(lambda row: self._load(*row), rows))
        if loaded[0][1]:  # kept, because whoever takes the states mostly asks for their placements next
            self._placed.update(zip(rows, (placement for _, placement in loaded), strict=True))
            while len(self._placed) > max(KEPT_PLACEMENTS, len(rows)):
                self._placed.popitem(last=False)
        return (self._run or stacked)([record for record, _ in loaded])

    def pieces_of(self, examples: Numbers) -> Numbers:
        return np.array([self._pieces_of(example) for example in examples.tolist()], dtype=np.int64)

    def placements(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        rows = _addresses(examples, views, pieces)
        kept = [self._placed.get(row) for row in rows]
        return stacked([self._load(*row)[1] if one is None else one for row, one in zip(rows, kept, strict=True)])

    def close(self) -> None:
        """Stop the threads; the object cannot be used afterwards."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class DeviceStates(States):
    """States of views made on the network's device, a batch at a time; plain views come from `plain`."""

    def __init__(self, plain: States, views: Callable[[np.ndarray, np.ndarray], "Mapping[str, Tensor]"]) -> None:
        """`plain` provides view 0; `views(examples, numbers)` makes the others on the device."""
        self._plain, self._views = plain, views
        self._kept: dict[bytes, dict[str, np.ndarray]] = {}
        self._kept_bytes = 0

    @property
    def num_views(self) -> None:
        return None

    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        if not views.any():
            return self._plain_batch(examples, views)
        return {name: tensor.cpu().numpy() for name, tensor in self.on_device(examples, views).items()}

    def on_device(self, examples: Numbers, views: Numbers) -> "Mapping[str, Tensor]":
        """Return the states of these examples in views above 0, as tensors on the device."""
        return self._views(examples, views)

    def close(self) -> None:
        """Release the source of the plain views."""
        if isinstance(self._plain, FreshStates):
            self._plain.close()

    def _plain_batch(self, examples: Numbers, views: Numbers) -> dict[str, np.ndarray]:
        """A batch of plain views; the first ones asked for are kept, since validation asks for the same every epoch."""
        key = examples.tobytes()
        if key not in self._kept:
            made = self._plain.batch(examples, views)
            size = sum(array.nbytes for array in made.values())
            if self._kept_bytes + size > KEPT_BYTES:
                return made
            self._kept[key], self._kept_bytes = made, self._kept_bytes + size
        return dict(self._kept[key])


def _addresses(examples: Numbers, views: Numbers, pieces: Numbers | None) -> list[tuple[int, int, int]]:
    asked = np.zeros_like(views) if pieces is None else pieces
    return list(zip(examples.tolist(), views.tolist(), asked.tolist(), strict=True))


def ahead(
    work: Callable[[T], R], items: Iterable[T], *, size: int, workers: int
) -> Generator[tuple[list[T], list[R]], None, None]:
    """Yield `(batch, results)` for batches of `size` items, in order; `work` runs in `workers` threads, a few batches
    ahead, with bounded memory.

    An error of `work` is raised when its batch is due. Closing the iterator cancels work that has not begun.
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
