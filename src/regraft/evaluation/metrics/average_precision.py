"""Precision averaged over the recall steps of falling thresholds; the share of the class for chance.

Two classes: the second is the positive one. More: the plain mean of each class against the rest. nan when a class has
no example. No interpolation between steps: as scikit-learn's average_precision_score.
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
    precision = at.positives_through / np.where(at.all_through > 0, at.all_through, 1.0)
    summed = (at.weight * precision).sum(axis=1)
    some = num_positive > 0
    result: Float[np.ndarray, " b"] = np.where(some, summed / np.where(some, num_positive, 1.0), np.nan)
    return result


_weighted = one_vs_rest(_of_one)

METRIC = Metric(
    name="average_precision",
    title="Average precision",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="probabilities",
    kinds=frozenset({"classification"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
