"""Images that are the same, or nearly: copies, re-encoded, resized, brightened.

Shapes: n examples, m pairs, u distinct miniatures.

Two images are near-duplicates when (1) their difference hashes of 256 bits differ in at most 20; (2) their grey
miniatures of 16 x 17 correlate by 0.995 or more; (3) their colours, on a 4 x 4 grid, agree. The hash alone is not
enough: among 800 chest X-rays it finds 90 pairs of different children, and 9,744 pairs of 1,797 handwritten digits;
with (2) it finds none and one. Of 150 copies each of photographs, leaves and X-rays, at JPEG quality 30 or 75, at
half or one and a half times the size, or 15 % darker, 98 to 100 % are found; of tissue patches of 50 x 50 pixels 92 %
at quality 75, and half at quality 30 or half the size. Copies that were cropped by a few per cent, mirrored or turned
are not found. (3) keeps apart what differs in colour only. All three numbers are our choice, from those measurements;
the hash is N. Krawetz's, 2013. An image without contrast is compared by its pixels only.

Pairs under (1) are found exactly and without comparing all with all: of 21 groups of bits, two hashes that differ in
at most 20 bits have one in common (pigeonhole).
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int, Shaped, UInt8, UInt64

MAX_BITS = 20
"""Largest number of differing bits, of 256."""
MIN_CORRELATION = 0.995
"""Smallest correlation of the grey miniatures."""
MAX_COLOUR = 30
"""Largest difference of red or blue to green in any of 16 places, in levels of 255."""
MIN_CONTRAST = 3.0
"""Smallest standard deviation of the grey miniature, in levels of 255, for an image to be compared so."""
RULE = f"{MAX_BITS} {MIN_CORRELATION} {MAX_COLOUR} {MIN_CONTRAST}"
"""What the pairs depend on beside the images."""


def near_pairs(prints: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, "m 2"]:
    """Pairs of different images that are near-duplicates, lower position first; equal pixels stand for one."""
    none, whole = np.zeros((0, 2), dtype=np.int64), np.flatnonzero(prints["error"] == b"")
    if not len(whole):
        return none
    _, first = np.unique(prints["decoded"][whole], axis=0, return_index=True)
    picked = whole[np.sort(first)]
    grey = prints["grey"][picked].reshape(len(picked), -1).astype(np.float32)
    telling = grey.std(axis=1) >= MIN_CONTRAST
    picked, grey = picked[telling], grey[telling]
    if not len(picked):
        return none
    found = [
        pairs[_alike(prints, picked, grey, pairs)] for pairs in hash_pairs(difference_hashes(prints[picked]), MAX_BITS)
    ]
    if not found:
        return none
    return np.unique(np.sort(picked[np.concatenate(found)], axis=1), axis=0)


def _alike(
    prints: Shaped[np.ndarray, " n"], picked: Int[np.ndarray, " u"], grey: np.ndarray, pairs: Int[np.ndarray, "m 2"]
) -> Bool[np.ndarray, " m"]:
    """Conditions (2) and (3) for pairs of positions in `picked`."""
    left, right = (grey[side] - grey[side].mean(axis=1, keepdims=True) for side in pairs.T)
    norm = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    correlated = (left * right).sum(axis=1) >= MIN_CORRELATION * norm
    tints = []
    for side in pairs.T:
        colour = prints["colour"][picked[side]].astype(np.int16)
        tints.append(colour[..., (0, 2)] - colour[..., 1:2])
    return correlated & (np.abs(tints[0] - tints[1]).max(axis=(1, 2, 3)) <= MAX_COLOUR)


def difference_hashes(prints: Shaped[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 32"]:
    """256 bits: whether the grey miniature rises from each column to the next. Difference hash, N. Krawetz 2013."""
    grey = prints["grey"]
    return np.packbits((grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(grey), -1), axis=1)


def hash_pairs(hashes: UInt8[np.ndarray, "u 32"], max_bits: int) -> Iterator[Int[np.ndarray, "m 2"]]:
    """All pairs of rows whose bits differ in at most `max_bits` places, in pieces; a pair may come more than once."""
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
    """The bits dealt out into bands of at most 64, each band as a number.

    Bits that vary most over the data are dealt first, so that every band tells as much as the others: images on
    plain ground share whole rows of bits.
    """
    bits = np.unpackbits(hashes, axis=1)
    share = bits.mean(axis=0)
    by_variety = np.argsort(-(share * (1 - share)), kind="stable")
    for band in range(num_bands):
        chosen = bits[:, by_variety[band::num_bands]].astype(np.uint64)
        yield (chosen << np.arange(chosen.shape[1], dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
