"""Mean squared distance between the probabilities and the target's one-hot row.

Summed over classes, so in [0, 2]; halved for two classes, so in [0, 1] there, which is the score of the second class
alone. The convention of scikit-learn's brier_score_loss. Tags: the mean over tags of each tag's score alone, in
[0, 1]. Source: Brier 1950.
"""

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import indicator, unweighted, weighted_mean


def _weighted(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    num_classes = probabilities.shape[1]
    squares = ((probabilities - indicator(targets, num_classes)) ** 2).sum(axis=1)
    together = num_classes if targets.ndim == 2 else 2 if num_classes == 2 else 1
    return weighted_mean(squares / together, weights)


ENTRY = Metric(
    name="brier",
    title="Brier score",
    higher_is_better=False,
    range=(0.0, 2.0),
    needs="probabilities",
    kinds=frozenset({"classification", "multilabel", "ordinal"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
