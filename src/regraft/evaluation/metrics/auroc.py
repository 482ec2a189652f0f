"""The chance that a random example of a class scores above a random other one; 0.5 for chance.

Two classes: the second against the first. More: the plain mean of each class against the rest. nan when a class has
no example. Source: Hanley and McNeil 1982; equal scores count one half.
"""

import numpy as np
from jaxtyping import Bool, Float

from regraft.evaluation._contract import Metric
from regraft.evaluation._numeric import unweighted
from regraft.evaluation.metrics._ranking import one_vs_rest, ranked


def _of_one(
    positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    at = ranked(positive, scores, weights)
    num_positive = at.weight.sum(axis=1)
    num_negative = weights.sum(axis=1) - num_positive
    above = (at.all_before - at.positives_before + at.all_through - at.positives_through) / 2
    beaten = (at.weight * (num_negative[:, None] - above)).sum(axis=1)
    pairs = num_positive * num_negative
    result: Float[np.ndarray, " b"] = np.where(pairs > 0, beaten / np.where(pairs > 0, pairs, 1.0), np.nan)
    return result


_weighted = one_vs_rest(_of_one)

METRIC = Metric(
    name="auroc",
    title="AUROC",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="probabilities",
    kinds=frozenset({"classification"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
