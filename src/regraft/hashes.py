"""Perceptual hashes of near-duplicates.

Shapes: u distinct hashes, m pairs.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt8, UInt64

MAX_BITS = 20
"""Maximum number of differing bits, of 256, between hashes of near-duplicates."""


def hash_pairs(hashes: UInt8[np.ndarray, "u 32"], max_bits: int) -> Iterator[Int[np.ndarray, "m 2"]]:
    """Yield all pairs of rows that differ in at most `max_bits` bits, in batches; a pair may occur more than once."""
    if len(hashes) < 2:
        return
    words = np.ascontiguousarray(hashes).view(np.uint64)
    for band in _bands(hashes, max_bits + 1):
        order = np.argsort(band, kind="stable")
        keys, ordered = band[order], words[order]
        at = np.flatnonzero(keys[1:] == keys[:-1])
        step = 1
        while len(at):
            near = np.bitwise_count(ordered[at] ^ ordered[at + step]).sum(axis=1, dtype=np.int64) <= max_bits
            if near.any():
                yield np.stack([order[at[near]], order[at[near] + step]], axis=1)
            step += 1
            at = at[at + step < len(keys)]
            at = at[keys[at + step] == keys[at]]


def _bands(hashes: UInt8[np.ndarray, "u 32"], num_bands: int) -> Iterator[UInt64[np.ndarray, " u"]]:
    """Yield the bits distributed over bands of at most 64, each band as an integer.

    The bits that vary most over the data are distributed first, so that all bands are about equally informative: images
    on a plain background share whole rows of bits.
    """
    bits = np.unpackbits(hashes, axis=1)
    share = bits.mean(axis=0)
    by_variety = np.argsort(-(share * (1 - share)), kind="stable")
    for band in range(num_bands):
        chosen = bits[:, by_variety[band::num_bands]].astype(np.uint64)
        yield (chosen << np.arange(chosen.shape[1], dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
