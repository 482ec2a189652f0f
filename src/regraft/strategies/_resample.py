"""Rare classes drawn more often than they are found.

A class of m examples is drawn m^(1 - s) parts of the epoch, s being the share asked for: at 0 as often as it is found,
at 1 as often as every other, at 0.5 by the square root. An epoch has as many draws as there are examples; a class's
examples are drawn in turn, none a second time before all were drawn once.

Sources: Mahajan et al. 2018, arXiv:1805.00932 (the square root, in pretraining); Kang et al. 2020, arXiv:1910.09217
(the power as a dial; drawing every class alike often harms features).

Letters: n examples of the data set, t of them to draw from.
"""

import numpy as np
from jaxtyping import Int


def resampled(
    classes: Int[np.ndarray, " n"], train: Int[np.ndarray, " t"], share: float, random: np.random.Generator
) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " t"]]:
    """t examples of `train` in random order, and how often each was drawn before in this epoch."""
    kinds, counts = np.unique(classes[train], return_counts=True)
    parts = counts ** (1.0 - share)
    exact = len(train) * parts / parts.sum()
    draws = np.floor(exact).astype(np.int64)
    rest = len(train) - int(draws.sum())
    if rest:  # the broken parts, drawn with the chances that they are
        chances = (exact - draws) / (exact - draws).sum()
        draws[random.choice(len(kinds), rest, replace=False, p=chances)] += 1
    chosen, before = [], []
    for kind, count in zip(kinds.tolist(), draws.tolist(), strict=True):
        own = random.permutation(train[classes[train] == kind])
        chosen.append(np.resize(own, count))
        before.append(np.arange(count) // len(own))
    order = random.permutation(len(train))
    return np.concatenate(chosen)[order], np.concatenate(before)[order]
