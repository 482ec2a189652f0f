"""Mean squared distance between the probabilities and the target's one-hot row.

Summed over classes, so in [0, 2]; halved for two classes, so in [0, 1] there, which is the score of the second class
alone. The convention of scikit-learn's brier_score_loss. Source: Brier 1950.
"""

import numpy as np
from jaxtyping import Float, Int

from regraft.evaluation._contract import Metric
from regraft.evaluation._numeric import one_hot, unweighted


def _weighted(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    num_classes = probabilities.shape[1]
    squares = ((probabilities - one_hot(targets, num_classes)) ** 2).sum(axis=1)
    means: Float[np.ndarray, " b"] = (weights @ squares) / weights.sum(axis=1)
    return means / 2 if num_classes == 2 else means


METRIC = Metric(
    name="brier",
    title="Brier score",
    higher_is_better=False,
    range=(0.0, 2.0),
    needs="probabilities",
    kinds=frozenset({"classification"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
