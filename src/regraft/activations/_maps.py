"""Open shards: memory-mapped when asked for, few at a time."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regraft.activations._shards import map_columns, size_on_disk
from regraft.activations.slots import Slot

MAX_OPEN = 64
"""Shards mapped at once, each one file descriptor; a quarter of the least usual allowance, 256. Our choice."""
MAX_TOUCHED_BYTES = 128 << 20
"""Bytes made resident before all maps are dropped: the system counts pages read through a map as this process's memory
as long as the map lives. Mapping again takes some 20 µs a shard. Our choice."""
_PAGES_AROUND = 2 << 20
"""Bytes made resident around a place that is read: Linux 6.18 maps 64 KiB of a file that was read from the disk, up to
2 MiB of one lately written (measured)."""


class ShardMaps:
    """The shards of one entry by number; numbers are given in order and never used twice. Safe between threads."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots
        self._files: list[tuple[Path, int]] = []
        self._open: OrderedDict[int, dict[str, np.ndarray]] = OrderedDict()
        self._touched = 0
        self._lock = threading.Lock()

    def add(self, path: Path, rows: int) -> int:
        """Give the shard `path`, which has `rows` rows, a number."""
        self._files.append((path, rows))
        return len(self._files) - 1

    def columns(self, shard: int, size: int, places: int) -> dict[str, np.ndarray]:
        """The columns of a shard, by slot, of which the caller will read `size` bytes in so many `places`.

        Raises:
            DamagedShard: the file vanished or changed its size.
        """
        path, rows = self._files[shard]
        touching = min(size + places * _PAGES_AROUND, size_on_disk(self._slots, rows))
        with self._lock:
            self._touched += touching
            if self._touched > MAX_TOUCHED_BYTES:
                self._open.clear()
                self._touched = touching
            if shard not in self._open:
                self._open[shard] = map_columns(path, self._slots, rows)
                if len(self._open) > MAX_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            return self._open[shard]

    def close(self) -> None:
        """Drop all maps; arrays made from them stay readable."""
        with self._lock:
            self._open.clear()
