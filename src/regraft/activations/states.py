"""What a strategy trains on: states at a cut, by example and view, wherever they come from.

Letters: b rows asked for; the axes of a row are the state's own.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from regraft.activations.shards import Column, Rows

if TYPE_CHECKING:
    from torch import Tensor

Record = Mapping[str, np.ndarray]
"""Named arrays with the row on the first axis (shared ones without), as a stage wants them."""
Numbers = Int[np.ndarray, " b"]
"""One number for each row asked for."""
MASK = "mask"
"""Where rows are ragged, a batch is padded with zeros, and this array (b t) of bools is False at what was padded."""
PLACEMENT = "placement."
"""What the names of a row's slots begin with that hold its placement."""

KEPT_BYTES = 1 << 28
"""How much plain input is kept beside views made on the device, at most."""
KEPT_PLACEMENTS = 4096
"""How many rows' placements are kept of those that were loaded last, at most."""


class States(ABC):
    """States at one cut, addressed by example (its position in the data set), view number and piece.

    View 0 is plain. An example may have several rows, its pieces (windows of a text, slices of a volume); `pieces` of
    None means the first piece of each.
    """

    @property
    @abstractmethod
    def num_views(self) -> int | None:
        """How many views there are; None when every number is a new view."""

    @abstractmethod
    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        """The states of these rows, in this order; floats as float32."""

    def pieces_of(self, examples: Numbers) -> Numbers:
        """How many pieces these examples have; 1 each unless the inputs say otherwise."""
        return np.ones(len(examples), dtype=np.int64)

    def placements(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        """Where each of these rows lies in its example, so that targets can be moved along: named arrays (b ...) such
        as the geometry of a crop or the offsets of tokens. Empty where the inputs have none."""
        return {}

    def column(self, name: str, examples: Int[np.ndarray, "b"], views: Int[np.ndarray, "b"]) -> Column | None:
        """One array of these examples in these views, to be sliced by row without reading the rest; None where states
        are not stored that way, and `batch` is all there is."""
        return None

    def on_device(self, examples: Int[np.ndarray, " b"], views: Int[np.ndarray, " b"]) -> "Mapping[str, Tensor] | None":
        """The states of these examples in views above 0 as tensors on the device that makes them; None where `batch`
        is all there is."""
        return None


class StoredStates(States):
    """States in the store, read from its memory-mapped files as they are asked for."""

    def __init__(
        self,
        rows: Rows,
        place: Int[np.ndarray, "n"],
        num_views: int,
        shared: Mapping[str, np.ndarray],
        pieces: Int[np.ndarray, "n"],
    ) -> None:
        """`place` gives for every example of the data set the row of its first piece's plain view, its other views
        following, then its other pieces; -1 where an example is not stored. `pieces` says how many it has."""
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
        found: Numbers = self._pieces[examples]
        return found

    def placements(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        gathered = self._rows.gather(self._positions(examples, views, pieces), self._placed) if self._placed else {}
        return {name.removeprefix(PLACEMENT): array for name, array in gathered.items()}

    def column(self, name: str, examples: Numbers, views: Numbers) -> Column:
        """One array of these examples in these views, to be sliced by row without reading the rest."""
        return self._rows.take(self._positions(examples, views, None)).column(name)

    def _positions(self, examples: Numbers, views: Numbers, pieces: Numbers | None) -> Numbers:
        first, asked = self._place[examples], np.zeros_like(views) if pieces is None else pieces
        if first.size and (
            min(first.min(), views.min(), asked.min()) < 0
            or views.max() >= self._num_views
            or (asked >= self._pieces[examples]).any()
        ):
            raise ValueError("States were asked for of an example, a view or a piece that is not stored.")
        positions: Numbers = first + asked * self._num_views + views
        return positions


class FreshStates(States):
    """States computed when they are asked for, so that every epoch may see new views. Nothing is stored."""

    def __init__(
        self,
        load: Callable[[int, int, int], tuple[Record, Record]],
        run: Callable[[Sequence[Record]], dict[str, np.ndarray]] | None,
        workers: int,
        pieces_of: Callable[[int], int] = lambda example: 1,
    ) -> None:
        """`load(example, view, piece)` gives a prepared input and its placement, in `workers` threads; `run` is the
        frozen part, from prepared inputs to a batch, None at cut `input` of rows of one shape; `pieces_of` tells how
        many pieces an example has."""
        self._load, self._run, self._pieces_of = load, run, pieces_of
        self._pool = ThreadPoolExecutor(max(1, workers))
        self._placed: OrderedDict[tuple[int, int, int], Record] = OrderedDict()

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
        """Let the threads end; nothing can be asked for afterwards."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class DeviceStates(States):
    """Inputs whose views are made where the network is, a batch at a time; plain ones come from elsewhere."""

    def __init__(self, plain: States, views: Callable[[np.ndarray, np.ndarray], "Mapping[str, Tensor]"]) -> None:
        """`plain` gives views 0; `views(examples, numbers)` makes the others, on the device."""
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
        """The states of these examples in views above 0, as tensors on the device."""
        return self._views(examples, views)

    def close(self) -> None:
        """Let go of what the plain ones come from."""
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


def stacked(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """The rows as one record, with the row on the first axis; where their shapes differ, padded with zeros."""
    found = {}
    for name in records[0]:
        arrays = [record[name] for record in records]
        if len({array.shape for array in arrays}) > 1:
            sizes = np.max([array.shape for array in arrays], axis=0).tolist()
            arrays = [np.pad(array, [(0, n - m) for n, m in zip(sizes, array.shape, strict=True)]) for array in arrays]
        found[name] = np.stack(arrays)
    return found


def masked(state: Mapping[str, np.ndarray], lengths: Numbers | None) -> dict[str, np.ndarray]:
    """The state with a mask of what is no padding, unless it has one of its own or its rows are not ragged."""
    if lengths is None or MASK in state:
        return dict(state)
    return {**state, MASK: np.arange(int(lengths.max(initial=0)))[None] < lengths[:, None]}


def as_float32(array: np.ndarray) -> np.ndarray:
    """Half-precision floats widened; everything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array
