"""The mean F1 (harmonic mean of precision and recall) of the classes or tags that occur among targets or answers."""

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted
from regraft.evaluation.metrics._confusion import counts, mean_over


def _weighted(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    right, actual, predicted = counts(targets, probabilities, weights)
    total = actual + predicted
    return mean_over(2 * right / np.where(total > 0, total, 1.0), total)


ENTRY = Metric(
    name="macro_f1",
    title="Macro F1",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="labels",
    kinds=frozenset({"classification", "multilabel", "ordinal"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
