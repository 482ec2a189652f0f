"""The share of examples whose most probable class is the actual one or its neighbour."""

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted, weighted_mean


def _weighted(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    return weighted_mean(np.abs(probabilities.argmax(axis=1) - targets) <= 1, weights)


ENTRY = Metric(
    name="within_one",
    title="Right or one rank off",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="labels",
    kinds=frozenset({"ordinal"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    interval="wilson",
)
