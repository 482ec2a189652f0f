"""The share of examples whose most probable class is the target."""

import numpy as np
from jaxtyping import Float, Int

from regraft.evaluation._contract import Metric
from regraft.evaluation._numeric import unweighted


def _weighted(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    right = (probabilities.argmax(axis=1) == targets).astype(np.float64)
    shares: Float[np.ndarray, " b"] = (weights @ right) / weights.sum(axis=1)
    return shares


METRIC = Metric(
    name="accuracy",
    title="Accuracy",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="labels",
    kinds=frozenset({"classification"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    interval="wilson",
)
