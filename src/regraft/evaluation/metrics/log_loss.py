"""Mean negative logarithm (base e) of the probability given to the target; log c for a uniform guess.

Tags: the mean over tags too, each a question of two answers; log 2 for a uniform guess.
Probabilities are clipped to [eps, 1 - eps] with the eps of float64, as in scikit-learn, so one certain mistake costs
36.04 rather than infinity.
"""

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted, weighted_mean

_EPS = float(np.finfo(np.float64).eps)


def _weighted(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    wide = probabilities.astype(np.float64)
    given = wide[np.arange(len(targets)), targets][:, None] if targets.ndim == 1 else np.abs(targets - 1 + wide)
    losses = -np.log(np.clip(given, _EPS, 1 - _EPS))
    return weighted_mean(losses.mean(axis=1), weights)


ENTRY = Metric(
    name="log_loss",
    title="Log loss",
    higher_is_better=False,
    range=(0.0, float("inf")),
    needs="probabilities",
    kinds=frozenset({"classification", "multilabel", "ordinal"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
