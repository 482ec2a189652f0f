"""What a strategy trains on: states at a cut, by example and view, wherever they come from.

Letters: b rows asked for; the axes of a row are the state's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from regraft.activations.rows import Column, Rows

if TYPE_CHECKING:
    from torch import Tensor

Record = Mapping[str, np.ndarray]
"""Named arrays with the row on the first axis (shared ones without), as a stage wants them."""


KEPT_BYTES = 1 << 28
"""How much plain input is kept beside views made on the device, at most."""


class States(ABC):
    """States at one cut, addressed by example (its position in the data set) and view number; view 0 is plain."""

    @property
    @abstractmethod
    def num_views(self) -> int | None:
        """How many views there are; None when every number is a new view."""

    @abstractmethod
    def batch(self, examples: Int[np.ndarray, "b"], views: Int[np.ndarray, "b"]) -> dict[str, np.ndarray]:
        """The states of these examples in these views, in this order; floats as float32."""

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
        self, rows: Rows, place: Int[np.ndarray, "n"], num_views: int, shared: Mapping[str, np.ndarray]
    ) -> None:
        """`place` gives for every example of the data set the row of its plain view, its other views following;
        -1 where an example is not stored."""
        self._rows, self._place, self._num_views = rows, place, num_views
        self._shared = {name: as_float32(array) for name, array in shared.items()}

    @property
    def num_views(self) -> int:
        return self._num_views

    def batch(self, examples: Int[np.ndarray, "b"], views: Int[np.ndarray, "b"]) -> dict[str, np.ndarray]:
        gathered = self._rows.gather(self._positions(examples, views))
        return {name: as_float32(array) for name, array in gathered.items()} | self._shared

    def column(self, name: str, examples: Int[np.ndarray, "b"], views: Int[np.ndarray, "b"]) -> Column:
        """One array of these examples in these views, to be sliced by row without reading the rest."""
        return self._rows.take(self._positions(examples, views)).column(name)

    def _positions(self, examples: Int[np.ndarray, " b"], views: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
        first = self._place[examples]
        if first.size and (first.min() < 0 or views.min() < 0 or views.max() >= self._num_views):
            raise ValueError("States were asked for of an example or a view that is not stored.")
        positions: Int[np.ndarray, " b"] = first + views
        return positions


class FreshStates(States):
    """States computed when they are asked for, so that every epoch may see new views. Nothing is stored."""

    def __init__(
        self,
        load: Callable[[int, int], Record],
        run: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] | None,
        workers: int,
    ) -> None:
        """`load(example, view)` gives a prepared input, in `workers` threads; `run` is the frozen part, None at cut
        `input`."""
        self._load, self._run = load, run
        self._pool = ThreadPoolExecutor(max(1, workers))

    @property
    def num_views(self) -> None:
        return None

    def batch(self, examples: Int[np.ndarray, " b"], views: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        records = list(self._pool.map(self._load, examples.tolist(), views.tolist()))
        inputs = {name: np.stack([record[name] for record in records]) for name in records[0]}
        return inputs if self._run is None else self._run(inputs)

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

    def batch(self, examples: Int[np.ndarray, " b"], views: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        if not views.any():
            return self._plain_batch(examples, views)
        return {name: tensor.cpu().numpy() for name, tensor in self.on_device(examples, views).items()}

    def on_device(self, examples: Int[np.ndarray, " b"], views: Int[np.ndarray, " b"]) -> "Mapping[str, Tensor]":
        """The states of these examples in views above 0, as tensors on the device."""
        return self._views(examples, views)

    def close(self) -> None:
        """Let go of what the plain ones come from."""
        if isinstance(self._plain, FreshStates):
            self._plain.close()

    def _plain_batch(self, examples: Int[np.ndarray, " b"], views: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """A batch of plain views; the first ones asked for are kept, since validation asks for the same every epoch."""
        key = examples.tobytes()
        if key not in self._kept:
            made = self._plain.batch(examples, views)
            size = sum(array.nbytes for array in made.values())
            if self._kept_bytes + size > KEPT_BYTES:
                return made
            self._kept[key], self._kept_bytes = made, self._kept_bytes + size
        return dict(self._kept[key])


def as_float32(array: np.ndarray) -> np.ndarray:
    """Half-precision floats widened; everything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array
