"""The share of examples whose target is among the five most probable classes; where there are more than ten classes.

Of classes equally probable at the fifth place, those that come first count. Source: Russakovsky et al. 2015,
arXiv:1409.0575, section 4 (the measure for a thousand classes); that it is told from eleven classes on is our choice:
of fewer, five guesses are half.
"""

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted, weighted_mean

GUESSES = 5
"""Classes that may be named."""


def _weighted(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    own = probabilities[np.arange(len(targets)), targets][:, None]
    earlier = np.arange(probabilities.shape[1]) < targets[:, None]
    before = ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)
    return weighted_mean(before < GUESSES, weights)


ENTRY = Metric(
    name="top5_accuracy",
    title="Top-5 accuracy",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="probabilities",
    kinds=frozenset({"classification"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    least_classes=11,
    interval="wilson",
)
