"""Strata for targets that are not classes: what splits and folds should have alike.

Letters: n examples, c labels or target values.

* Target values: ten bins of equal size by the example's rank; of several values by the mean of its ranks.
* Labels: the rarest of an example's labels, or none. The label with the fewest examples comes first in iterative
  stratification too (Sechidis, Tsoumakas and Vlahavas 2011), for it is the hardest to share out; here the examples are
  dealt once, by that label alone, which keeps to whole numbers and to groups (our choice). Labels with fewer than ten
  examples are taken together.
"""

import numpy as np
from jaxtyping import Float, Int

BINS = 10
"""Bins of target values (our choice)."""
MINIMUM = 10
"""Smallest number of examples of a stratum (our choice)."""


def by_rank(targets: Float[np.ndarray, "n c"]) -> Int[np.ndarray, " n"]:
    """The bin of every example, in [0, 10), fewer where there are under a hundred examples."""
    count = len(targets)
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in targets.T], axis=1)
    score = (ranks / np.maximum(ranks.max(axis=0), 1)).mean(axis=1)
    order = np.lexsort((np.arange(count), score))
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    bins = max(1, min(BINS, count // MINIMUM))
    result: Int[np.ndarray, " n"] = place * bins // max(count, 1)
    return result


def by_rarest(targets: Float[np.ndarray, "n c"]) -> Int[np.ndarray, " n"]:
    """The number of the rarest label that an example has; c where it has none, or where that label is too rare."""
    num_labels = targets.shape[1]
    has = targets > 0
    counts = has.sum(axis=0)
    order = np.argsort(counts, kind="stable")
    first = np.where(has.any(axis=1), order[has[:, order].argmax(axis=1)], num_labels)
    named = np.bincount(first, minlength=num_labels + 1)
    result: Int[np.ndarray, " n"] = np.where(named[first] < MINIMUM, num_labels, first).astype(np.int64)
    return result
