"""Which examples are the same, or nearly: sets of them, whatever the modality finds near copies by.

Letters: n examples, m pairs.
"""

from contextlib import suppress

import numpy as np
from jaxtyping import Int

from regraft.data.scan import Scanned
from regraft.errors import OutOfSpace
from regraft.identity import digest_bytes


def clusters(scanned: Scanned) -> Int[np.ndarray, " n"]:
    """A number for every example, equal for those that decode to the same or are joined by a chain of near copies.

    Unreadable ones are alone. The result is remembered for these examples in this order.
    """
    if (memory := scanned.memory) is None:
        return _clusters(scanned)
    rule = scanned.modality.near_copy_rule
    name = "clusters-" + digest_bytes(rule.encode(), scanned.rows["decoded"].tobytes())
    known = memory.recall_array(name)
    if known is None or known.shape != (len(scanned.rows),) or known.dtype != np.int64:
        known = _clusters(scanned)
        with suppress(OSError, OutOfSpace):  # a memory that cannot be written costs time, nothing else
            memory.keep_array(name, known)
    return known


def _clusters(scanned: Scanned) -> Int[np.ndarray, " n"]:
    first: dict[str, int] = {}
    same = np.array(
        [first.setdefault(decoded or f"#{at}", at) for at, decoded in enumerate(scanned.decoded)], dtype=np.int64
    )
    pairs = scanned.modality.near_copies(scanned.rows)
    joined = np.concatenate([np.stack([same, np.arange(len(same))], axis=1), pairs]) if len(same) else pairs
    return union(len(same), joined)


def union(num_examples: int, pairs: Int[np.ndarray, "m 2"]) -> Int[np.ndarray, " n"]:
    """A number for every example, equal within each set that the pairs connect: its smallest member."""
    parent = list(range(num_examples))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for left, right in pairs.tolist():
        one, other = root(left), root(right)
        parent[max(one, other)] = min(one, other)
    return np.array([root(at) for at in range(num_examples)], dtype=np.int64)
