"""The share of the targets' variance that the predictions explain: 1 at best, 0 for always answering these targets'
own mean, below 0 without a bound for worse.

Several numbers: the plain mean over them, as scikit-learn's r2_score. nan where the targets do not vary (scikit-learn
says 0 or 1 there).
"""

import numpy as np
from jaxtyping import Float

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted


def _weighted(
    targets: Float[np.ndarray, "n c"], values: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    centred = targets - (targets.max(axis=0) + targets.min(axis=0)) / 2  # exactly 0 where nothing varies
    total = weights.sum(axis=1, keepdims=True)
    squares = weights @ centred**2
    spread = squares - (weights @ centred) ** 2 / total
    varies = spread > 1e-12 * squares
    explained = 1 - (weights @ (values - targets) ** 2) / np.where(varies, spread, 1.0)
    result: Float[np.ndarray, " b"] = np.where(varies, explained, np.nan).mean(axis=1)
    return result


ENTRY = Metric(
    name="r2",
    title="R²",
    higher_is_better=True,
    range=(float("-inf"), 1.0),
    needs="values",
    kinds=frozenset({"regression"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    undefined="the targets do not vary",
)
