"""Agreement of answers with targets beyond chance, a mistake weighing the square of its distance in ranks.

1 when all agree, 0 for answers that follow their own frequencies blindly, below 0 for worse; -1 at least. nan when
answers and targets are all of one class. Source: Cohen 1968; as scikit-learn's cohen_kappa_score with quadratic
weights.
"""

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted, weighted_mean


def _weighted(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    ranks, given = targets.astype(np.float64), probabilities.argmax(axis=1).astype(np.float64)
    observed = weighted_mean((ranks - given) ** 2, weights)
    mean, mean_given = weighted_mean(ranks, weights), weighted_mean(given, weights)
    # The mean square of the distance between a random target and a random answer, drawn apart from each other.
    expected = weighted_mean(ranks**2, weights) + weighted_mean(given**2, weights) - 2 * mean * mean_given
    some = expected > 1e-12
    return np.where(some, 1 - observed / np.where(some, expected, 1.0), np.nan)


ENTRY = Metric(
    name="quadratic_weighted_kappa",
    title="Quadratic weighted kappa",
    higher_is_better=True,
    range=(-1.0, 1.0),
    needs="labels",
    kinds=frozenset({"ordinal"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    undefined="all are of one class",
)
