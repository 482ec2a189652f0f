"""The mean number of ranks between the most probable class and the actual one; 0 when every answer is right."""

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted, weighted_mean


def _weighted(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    return weighted_mean(np.abs(probabilities.argmax(axis=1) - targets), weights)


ENTRY = Metric(
    name="rank_mae",
    title="Mean distance in ranks",
    higher_is_better=False,
    range=(0.0, float("inf")),
    needs="labels",
    kinds=frozenset({"ordinal"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    main=frozenset({"ordinal"}),
)
