"""The share of wrong answers among all questions of whether an example has a tag (answered yes at 0.5 or above)."""

import numpy as np
from jaxtyping import Float

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import answered, unweighted, weighted_mean


def _weighted(
    targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    return weighted_mean((answered(probabilities) != (targets > 0)).mean(axis=1), weights)


ENTRY = Metric(
    name="hamming_loss",
    title="Hamming loss",
    higher_is_better=False,
    range=(0.0, 1.0),
    needs="labels",
    kinds=frozenset({"multilabel"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
