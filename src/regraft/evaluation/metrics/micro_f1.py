"""F1 (harmonic mean of precision and recall) of all answers on tags together, so frequent tags weigh more.

nan when no example has a tag and none is answered.
"""

import numpy as np
from jaxtyping import Float

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted
from regraft.evaluation.metrics._confusion import counts


def _weighted(
    targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    right, actual, predicted = (part.sum(axis=1) for part in counts(targets, probabilities, weights))
    total = actual + predicted
    return np.where(total > 0, 2 * right / np.where(total > 0, total, 1.0), np.nan)


ENTRY = Metric(
    name="micro_f1",
    title="Micro F1",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="labels",
    kinds=frozenset({"multilabel"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    undefined="no example has a tag",
)
