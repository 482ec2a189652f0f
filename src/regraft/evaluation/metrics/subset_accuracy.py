"""The share of examples whose answered tags (those at 0.5 or above) are exactly their own."""

import numpy as np
from jaxtyping import Float

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import answered, unweighted, weighted_mean


def _weighted(
    targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    return weighted_mean((answered(probabilities) == (targets > 0)).all(axis=1), weights)


ENTRY = Metric(
    name="subset_accuracy",
    title="All tags right",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="labels",
    kinds=frozenset({"multilabel"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    interval="wilson",
)
