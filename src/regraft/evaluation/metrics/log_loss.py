"""Mean negative logarithm (base e) of the probability given to the target; log c for a uniform guess.

Probabilities are clipped to [eps, 1 - eps] with the eps of float64, as in scikit-learn, so one certain mistake costs
36.04 rather than infinity.
"""

import numpy as np
from jaxtyping import Float, Int

from regraft.evaluation._contract import Metric
from regraft.evaluation._numeric import unweighted

_EPS = float(np.finfo(np.float64).eps)


def _weighted(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    given = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    losses = -np.log(np.clip(given, _EPS, 1 - _EPS))
    means: Float[np.ndarray, " b"] = (weights @ losses) / weights.sum(axis=1)
    return means


METRIC = Metric(
    name="log_loss",
    title="Log loss",
    higher_is_better=False,
    range=(0.0, float("inf")),
    needs="probabilities",
    kinds=frozenset({"classification"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
