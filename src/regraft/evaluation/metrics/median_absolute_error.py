"""The distance between predicted and actual number that half of the examples stay within, in the number's own unit.

A few mistakes, however large, do not move it. Several numbers: the plain mean over them, as scikit-learn's
median_absolute_error.
"""

import numpy as np
from jaxtyping import Float

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted


def _weighted(
    targets: Float[np.ndarray, "n c"], values: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    medians = [_weighted_median(column, weights) for column in np.abs(values - targets).T]
    result: Float[np.ndarray, " b"] = np.mean(medians, axis=0)
    return result


def _weighted_median(values: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    """The median of copies: between the two middle values where the weights fall into equal halves."""
    order = np.argsort(values, kind="stable")
    through = np.cumsum(np.take(weights, order, axis=1), axis=1)
    half = through[:, -1:] / 2
    lower, upper = (through < half).sum(axis=1), (through <= half).sum(axis=1)
    last = len(values) - 1
    result: Float[np.ndarray, " b"] = (
        values[order[np.minimum(lower, last)]] + values[order[np.minimum(upper, last)]]
    ) / 2
    return result


ENTRY = Metric(
    name="median_absolute_error",
    title="Median absolute error",
    higher_is_better=False,
    range=(0.0, float("inf")),
    needs="values",
    kinds=frozenset({"regression"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    in_unit_of_target=True,
)
