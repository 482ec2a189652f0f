"""Reading stored rows: by position in any order, or as columns in slices. Only what is asked for is read."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int, Int32, Shaped

from regraft.activations._maps import ShardMaps
from regraft.activations.slots import Slot

_RUN_BYTES = 4096
"""Rows of at least this size are copied one by one; smaller ones shard by shard with one numpy call. Our choice: the
price of a copy in Python, half a microsecond, is what copying 4 KiB takes."""


class Rows:
    """Chosen rows of an entry, in the order they were asked for; a fixed view, whatever is appended later.

    Readable as long as its entry is open. Safe to read from several threads.
    """

    def __init__(
        self, maps: ShardMaps, slots: Sequence[Slot], shards: Int32[np.ndarray, " n"], places: Int32[np.ndarray, " n"]
    ) -> None:
        self._maps = maps
        self._slots = {slot.name: slot for slot in slots}
        self._shards = shards
        self._places = places

    def __len__(self) -> int:
        return len(self._shards)

    @property
    def names(self) -> tuple[str, ...]:
        """The slots of a row, shared ones not among them."""
        return tuple(self._slots)

    def take(self, positions: Int[np.ndarray, " k"]) -> "Rows":
        """The rows at `positions`, in that order; reads nothing."""
        return Rows(self._maps, tuple(self._slots.values()), self._shards[positions], self._places[positions])

    def column(self, name: str) -> "Column":
        """One slot of all rows as a source to slice."""
        return Column(self, self._slots[name])

    def gather(
        self, positions: Int[np.ndarray, " k"], names: Iterable[str] | None = None
    ) -> dict[str, Shaped[np.ndarray, "k ..."]]:
        """Copies of the rows at `positions`, in that order, of the slots `names` (all when None).

        Raises:
            DamagedShard: a file vanished or changed its size since the entry was opened.
        """
        chosen = [self._slots[name] for name in (self._slots if names is None else names)]
        shards, places = self._shards[positions], self._places[positions]
        out = {slot.name: np.empty((len(places), *slot.shape), slot.stored_dtype) for slot in chosen}
        row_bytes = sum(slot.row_bytes for slot in chosen)
        starts, ends = _runs(shards, places)
        if row_bytes >= _RUN_BYTES or 8 * len(starts) <= len(places):
            self._copy_runs(out, shards, places, starts, ends, row_bytes)
        else:
            self._copy_shards(out, shards, places, row_bytes)
        return out

    def view(self, start: int, stop: int, name: str) -> Shaped[np.ndarray, "k ..."] | None:
        """The rows from `start` to `stop` of a slot without a copy, read-only; None unless they lie side by side."""
        shards, places = self._shards[start:stop], self._places[start:stop]
        if not len(places) or len(_runs(shards, places)[0]) > 1:
            return None
        first, count = int(places[0]), len(places)
        columns = self._maps.columns(int(shards[0]), count * self._slots[name].row_bytes, 1)
        return columns[name][first : first + count]

    def _copy_runs(
        self,
        out: dict[str, np.ndarray],
        shards: Int32[np.ndarray, " k"],
        places: Int32[np.ndarray, " k"],
        starts: Int[np.ndarray, " r"],
        ends: Int[np.ndarray, " r"],
        row_bytes: int,
    ) -> None:
        order = np.argsort(shards[starts], kind="stable")
        runs = zip(shards[starts][order].tolist(), places[starts][order].tolist(), starts[order].tolist(),
                   ends[order].tolist(), strict=True)  # fmt: skip
        for shard, place, start, end in runs:
            columns = self._maps.columns(shard, (end - start) * row_bytes, len(out))
            for name, array in out.items():
                array[start:end] = columns[name][place : place + end - start]

    def _copy_shards(
        self,
        out: dict[str, np.ndarray],
        shards: Int32[np.ndarray, " k"],
        places: Int32[np.ndarray, " k"],
        row_bytes: int,
    ) -> None:
        order = np.argsort(shards, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(shards[order])) + 1):
            columns = self._maps.columns(int(shards[group[0]]), len(group) * row_bytes, len(group) * len(out))
            for name, array in out.items():
                array[group] = columns[name][places[group]]


class Column:
    """One slot of some rows: has `shape` and `dtype` like an array, and gives slices and selections as arrays."""

    def __init__(self, rows: Rows, slot: Slot) -> None:
        self._rows = rows
        self._name = slot.name
        self.shape: tuple[int, ...] = (len(rows), *slot.shape)
        self.dtype = slot.stored_dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice | Int[np.ndarray, " k"]) -> Shaped[np.ndarray, "k ..."]:
        """The rows of a slice, or at an array of positions.

        A slice of rows that lie side by side is a read-only view of the file; anything else is a copy.
        """
        if isinstance(which, slice):
            start, stop, step = which.indices(len(self))
            view = self._rows.view(start, stop, self._name) if step == 1 else None
            if view is not None:
                return view
            which = np.arange(start, stop, step)
        return self._rows.gather(which, [self._name])[self._name]


def _runs(
    shards: Int32[np.ndarray, " k"], places: Int32[np.ndarray, " k"]
) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, " r"]]:
    """First positions, and positions behind the last, of the longest stretches that lie side by side in one shard."""
    if not len(places):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    breaks = np.flatnonzero((np.diff(shards) != 0) | (np.diff(places) != 1)) + 1
    return np.concatenate([[0], breaks]), np.concatenate([breaks, [len(places)]])
