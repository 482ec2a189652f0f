"""Expected calibration error: how far stated confidence is from observed accuracy.

Confidence is the largest probability of each row, and of tags the probability of each tag, which then counts as a row
of its own: it is right where the example has the tag. Rows are put in 15 intervals of equal width (open below, closed
above); the result is the mean absolute gap between confidence and accuracy, weighted by how many rows fall in each.

Biased upwards when n is small: see `calibration.calibrated_reference`, which the report shows beside it. Source: Guo
et al. 2017, arXiv:1706.04599, equation 3.
"""

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted

NUM_BINS = 15


def stated(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]
) -> tuple[Float[np.ndarray, "n q"], Float[np.ndarray, "n q"]]:
    """Confidence in every answer, and 1 where it is right: one answer per example, or one per tag."""
    if targets.ndim == 2:
        return probabilities.astype(np.float64), targets.astype(np.float64)
    right = probabilities.argmax(axis=1) == targets
    return probabilities.max(axis=1, keepdims=True).astype(np.float64), right[:, None].astype(np.float64)


def bin_of(confidence: Float[np.ndarray, " *n"], num_bins: int = NUM_BINS) -> Int[np.ndarray, " *n"]:
    """The interval of every confidence in [0, 1], in [0, num_bins); bin i is (i / num_bins, (i + 1) / num_bins]."""
    inner_edges = np.arange(1, num_bins) / num_bins
    return np.searchsorted(inner_edges, confidence.astype(np.float64), side="left")


def _weighted(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    confidence, right = stated(targets, probabilities)
    surplus = confidence - right
    of_bin = np.stack(
        [np.where(bin_of(confidence) == number, surplus, 0.0).sum(axis=1) for number in range(NUM_BINS)], axis=1
    )
    num_answers = weights.sum(axis=1) * surplus.shape[1]
    gaps: Float[np.ndarray, " b"] = np.abs(weights @ of_bin).sum(axis=1) / num_answers
    return gaps


ENTRY = Metric(
    name="ece",
    title="Expected calibration error",
    higher_is_better=False,
    range=(0.0, 1.0),
    needs="probabilities",
    kinds=frozenset({"classification", "multilabel", "ordinal"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    interval="reflected",
)
