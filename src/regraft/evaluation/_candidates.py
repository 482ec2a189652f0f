"""Every threshold that matters for a set of scores, and what each would flag.

Letters in shapes: n examples, b resamples, t thresholds.
"""

import numpy as np
from jaxtyping import Bool, Float


class Candidates:
    """Thresholds in falling order: above the top score, between each two neighbouring scores, and the lowest score."""

    def __init__(self, positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> None:
        wide = scores.astype(np.float64)
        self._order = np.argsort(-wide, kind="stable")
        self._positive = positive[self._order].astype(np.float64)
        falling = wide[self._order]
        last_of_tie = np.flatnonzero(np.r_[falling[1:] != falling[:-1], True])
        distinct = falling[last_of_tie]
        middle = (distinct[:-1] + distinct[1:]) / 2
        between = np.where(middle > distinct[1:], middle, distinct[:-1])
        self._flagged = np.r_[0, last_of_tie + 1]
        self.thresholds: Float[np.ndarray, " t"] = np.r_[np.nextafter(distinct[0], np.inf), between, distinct[-1]]

    def counts(
        self, weights: Float[np.ndarray, "b n"]
    ) -> tuple[Float[np.ndarray, "b t"], Float[np.ndarray, "b t"], Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
        """Weight of flagged positives and flagged negatives by threshold; of all positives and all negatives."""
        in_order = np.take(weights, self._order, axis=1)
        of_positives = in_order * self._positive
        found, alarms = (self._running(part) for part in (of_positives, in_order - of_positives))
        return found, alarms, found[:, -1], alarms[:, -1]

    def _running(self, values: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b t"]:
        sums = np.zeros((values.shape[0], values.shape[1] + 1))
        np.cumsum(values, axis=1, out=sums[:, 1:])
        result: Float[np.ndarray, "b t"] = np.take(sums, self._flagged, axis=1)
        return result
