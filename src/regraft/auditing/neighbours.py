"""Candidate pairs of copies: examples that are similar according to a backbone, and those that are copies of each
other.

Letters: n examples, d features, m pairs.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.audit import SessionView

NUM_NEIGHBOURS = 12
"""Number of nearest neighbours that each example is compared with. Our choice: among 15, the original was found for all
crops of photographs, leaves and X-rays, and for 95 % of those of tissue tiles."""
MAX_PAIRS = 20_000
"""Maximum number of pairs, most similar first; an alignment takes some milliseconds. Our choice."""
_AXES, _BLOCK = 256, 1024


@lru_cache(maxsize=1)
def cropped_pairs(view: SessionView) -> Int[np.ndarray, "m 2"]:
    """Return the pairs that the modality identifies as copies, possibly cropped or mirrored, among those similar
    according to the backbone. Pairs found by fingerprints are excluded."""
    if view.features is None:
        return np.zeros((0, 2), dtype=np.int64)
    rows = np.flatnonzero(view.usable & (view.same == np.arange(len(view.same))))
    pairs = rows[alike(view.features[rows])]
    known = set(map(tuple, view.near.tolist()))
    pairs = np.array([pair for pair in pairs.tolist() if tuple(pair) not in known], dtype=np.int64).reshape(-1, 2)
    return pairs[view.modality.cropped_copies([one.contents for one in view.examples], pairs)]


def alike(features: Float[np.ndarray, "n d"]) -> Int[np.ndarray, "m 2"]:
    """Return pairs of nearest neighbours by the cosine of whitened features, lower position first, most similar pairs
    first.

    Whitening removes what nearly all examples share: among chest X-rays, copies were among the 15 nearest neighbours in
    100 % of cases with it, in 85 % without.
    """
    if len(features) < 3:
        return np.array([(0, 1)] if len(features) == 2 else [], dtype=np.int64).reshape(-1, 2)
    centred = features - features.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    count = max(1, min(_AXES, len(features) // 3, int((values > values[-1] * 1e-7).sum())))
    white = centred @ (axes[:, -count:] / np.sqrt(np.maximum(values[-count:], 1e-12)))
    white /= np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-12)
    best = dict[tuple[int, int], float]()
    for start in range(0, len(white), _BLOCK):
        cosines = white[start : start + _BLOCK] @ white.T
        here = np.arange(len(cosines))
        cosines[here, start + here] = -2
        nearest = np.argsort(-cosines, axis=1)[:, : min(NUM_NEIGHBOURS, len(white) - 1)]
        for row, many in zip(here.tolist(), nearest.tolist(), strict=True):
            best |= {(min(start + row, at), max(start + row, at)): float(cosines[row, at]) for at in many}
    ordered = sorted(best, key=lambda pair: -best[pair])[:MAX_PAIRS]
    return np.array(ordered, dtype=np.int64).reshape(-1, 2)
