"""Samples of a few training examples per class."""

import numpy as np

from regraft.identity import derive_seed


def drawn(targets: np.ndarray, groups: np.ndarray, train: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Places of `per_class` of the training examples of every class, in order; 0: all of them.

    From as many groups (patients) as there are: one example of each, in a drawn order, then a second of each, and so
    on. A larger draw of the same seed holds the smaller. A class that has fewer gives all it has.
    """
    if not per_class:
        return np.sort(train)
    order = np.random.default_rng(derive_seed(seed, "draw")).permutation(train)
    chosen = []
    for label in np.unique(targets[train]):
        mine, seen, turns = order[targets[order] == label], dict[int, int](), []
        for group in groups[mine].tolist():
            turns.append(seen.get(group, 0))
            seen[group] = turns[-1] + 1
        chosen.append(mine[np.argsort(turns, kind="stable")][:per_class])
    return np.sort(np.concatenate(chosen))
