"""The share of examples whose most probable class is the target."""

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted, weighted_mean


def _weighted(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    return weighted_mean(probabilities.argmax(axis=1) == targets, weights)


ENTRY = Metric(
    name="accuracy",
    title="Accuracy",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="labels",
    kinds=frozenset({"classification", "ordinal"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    main=frozenset({"classification"}),
    interval="wilson",
)
