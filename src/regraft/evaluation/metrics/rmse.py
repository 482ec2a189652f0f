"""The root of the mean squared distance between predicted and actual number, in the number's own unit.

Large mistakes weigh more than in the mean absolute error. Several numbers: the plain mean of each one's root, as
scikit-learn's root_mean_squared_error.
"""

import numpy as np
from jaxtyping import Float

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted


def _weighted(
    targets: Float[np.ndarray, "n c"], values: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    means: Float[np.ndarray, "b c"] = (weights @ (values - targets) ** 2) / weights.sum(axis=1, keepdims=True)
    result: Float[np.ndarray, " b"] = np.sqrt(means).mean(axis=1)
    return result


ENTRY = Metric(
    name="rmse",
    title="Root mean squared error",
    higher_is_better=False,
    range=(0.0, float("inf")),
    needs="values",
    kinds=frozenset({"regression"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    in_unit_of_target=True,
)
