"""TransRate: mutual information of features and labels by code lengths: that of all features less those of each class.

Source: Huang et al. 2022, arXiv:2106.09362, equation 3 and its code: centred features, scaled to a total variance of 1,
epsilon squared 1e-4.
"""

import numpy as np
from jaxtyping import Float

from regraft.contracts.score import Score, Seen

EPSILON = 1e-4
"""Squared distortion."""


def transrate(seen: Seen) -> float:
    """The score in nats, 0 or more."""
    centred = seen.features.astype(np.float64)
    centred = centred - centred.mean(axis=0)
    centred = centred / np.sqrt(np.trace(centred @ centred.T))
    classes, counts = np.unique(seen.targets, return_counts=True)
    inside = sum(
        count / len(centred) * _rate(centred[seen.targets == one]) for one, count in zip(classes, counts, strict=True)
    )
    return float(_rate(centred) - inside)


def _rate(rows: Float[np.ndarray, "n d"]) -> float:
    squares = np.linalg.svd(rows, compute_uv=False) ** 2
    return float(np.log1p(squares / (len(rows) * EPSILON)).sum() / 2)


ENTRY = Score(title="TransRate", origin="Huang et al. 2022, arXiv:2106.09362", of=transrate)
