"""The mean distance between predicted and actual number, in the number's own unit.

Several numbers: the plain mean over them, each in its own unit, as scikit-learn's mean_absolute_error; where the units
differ, read each number's own.
"""

import numpy as np
from jaxtyping import Float

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted, weighted_mean


def _weighted(
    targets: Float[np.ndarray, "n c"], values: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    return weighted_mean(np.abs(values - targets).mean(axis=1), weights)


ENTRY = Metric(
    name="mae",
    title="Mean absolute error",
    higher_is_better=False,
    range=(0.0, float("inf")),
    needs="values",
    kinds=frozenset({"regression"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    main=frozenset({"regression"}),
    in_unit_of_target=True,
)
