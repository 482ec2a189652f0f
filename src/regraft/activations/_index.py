"""Where each row lies: a sorted table in memory, 24 bytes a row, searched by halving."""

import numpy as np
from jaxtyping import Bool, Int32, Shaped

from regraft.activations.slots import DIGEST_BYTES


class RowIndex:
    """From row digests to (shard number, row within the shard); of equal digests the one added first stays."""

    def __init__(self) -> None:
        self._digests = np.empty(0, dtype=f"S{DIGEST_BYTES}")
        self._shards = np.empty(0, dtype=np.int32)
        self._rows = np.empty(0, dtype=np.int32)

    def __len__(self) -> int:
        return len(self._digests)

    def add(
        self, digests: Shaped[np.ndarray, " k"], shards: Int32[np.ndarray, " k"], rows: Int32[np.ndarray, " k"]
    ) -> None:
        """Add places; a digest that is known, or comes twice in `digests`, keeps its first place."""
        new, first = np.unique(digests, return_index=True)
        unknown = ~self.find(new)[0]
        new, first = new[unknown], first[unknown]
        at = np.searchsorted(self._digests, new)
        self._digests = np.insert(self._digests, at, new)
        self._shards = np.insert(self._shards, at, shards[first])
        self._rows = np.insert(self._rows, at, rows[first])

    def find(
        self, digests: Shaped[np.ndarray, " n"]
    ) -> tuple[Bool[np.ndarray, " n"], Int32[np.ndarray, " n"], Int32[np.ndarray, " n"]]:
        """Which of `digests` are known, their shards and their rows (both meaningless where unknown)."""
        if not len(self):
            zeros = np.zeros(len(digests), dtype=np.int32)
            return zeros.astype(bool), zeros, zeros
        at = np.minimum(np.searchsorted(self._digests, digests), len(self) - 1)
        return self._digests[at] == digests, self._shards[at], self._rows[at]
