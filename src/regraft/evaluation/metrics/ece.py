"""Expected calibration error: how far stated confidence is from observed accuracy.

Confidence is the largest probability of each row. Rows are put in 15 intervals of equal width (open below, closed
above); the result is the mean absolute gap between confidence and accuracy, weighted by how many rows fall in each.

Biased upwards when n is small: see `calibration.calibrated_reference`, which the report shows beside it. Source: Guo
et al. 2017, arXiv:1706.04599, equation 3.
"""

import numpy as np
from jaxtyping import Float, Int

from regraft.evaluation._contract import Metric
from regraft.evaluation._numeric import one_hot, unweighted

NUM_BINS = 15


def bin_of(confidence: Float[np.ndarray, " n"], num_bins: int = NUM_BINS) -> Int[np.ndarray, " n"]:
    """The interval of every confidence in [0, 1], in [0, num_bins); bin i is (i / num_bins, (i + 1) / num_bins]."""
    inner_edges = np.arange(1, num_bins) / num_bins
    return np.searchsorted(inner_edges, confidence.astype(np.float64), side="left")


def _weighted(
    targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    confidence = probabilities.max(axis=1)
    surplus = confidence - (probabilities.argmax(axis=1) == targets)
    in_bin = one_hot(bin_of(confidence), NUM_BINS)
    gaps: Float[np.ndarray, " b"] = np.abs(weights @ (in_bin * surplus[:, None])).sum(axis=1) / weights.sum(axis=1)
    return gaps


METRIC = Metric(
    name="ece",
    title="Expected calibration error",
    higher_is_better=False,
    range=(0.0, 1.0),
    needs="probabilities",
    kinds=frozenset({"classification"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    interval="reflected",
)
