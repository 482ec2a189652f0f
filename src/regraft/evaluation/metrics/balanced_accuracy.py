"""The mean recall of the classes that occur among the targets; 1 / c for chance."""

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted
from regraft.evaluation.metrics._confusion import counts, mean_over


def _weighted(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    right, actual, _ = counts(targets, probabilities, weights)
    return mean_over(right / np.where(actual > 0, actual, 1.0), actual)


ENTRY = Metric(
    name="balanced_accuracy",
    title="Balanced accuracy",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="labels",
    kinds=frozenset({"classification", "ordinal"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
