"""H-score: how much of the features' variance, whitened, lies between the class means.

tr(cov(f)^-1 cov(E[f|y])), the covariance of the features shrunk where examples are few. Source: Bao et al. 2019 (ICIP);
shrinkage after Ibrahim et al. 2022, arXiv:2110.06893, by Ledoit & Wolf's estimate.
"""

import numpy as np
from jaxtyping import Float

from regraft.contracts.score import Score, Seen


def h_score(seen: Seen, shrinkage: float | None = None) -> float:
    """The score; `shrinkage` in [0, 1] in place of the estimated one."""
    centred = seen.features.astype(np.float64)
    centred = centred - centred.mean(axis=0)
    num, width = centred.shape
    counts = np.bincount(seen.targets)
    sums = np.zeros((len(counts), width))
    np.add.at(sums, seen.targets, centred)
    means = np.sqrt(counts / num)[:, None] * sums / np.maximum(counts, 1)[:, None]
    share = ledoit_wolf(centred) if shrinkage is None else shrinkage
    covariance = centred.T @ centred / num
    level = float(np.trace(covariance)) / width
    covariance = (1 - share) * covariance + share * level * np.eye(width)
    return float((1 - share) * np.trace(np.linalg.pinv(covariance, hermitian=True) @ (means.T @ means)))


def ledoit_wolf(centred: Float[np.ndarray, "n d"]) -> float:
    """How much of the covariance to replace by a multiple of the identity (Ledoit & Wolf 2004, theorem 3.3)."""
    num, width = centred.shape
    squared = centred**2
    covariance = centred.T @ centred / num
    level = float(np.trace(covariance)) / width
    beta = (float((squared.sum(axis=1) ** 2).sum()) / num - float((covariance**2).sum())) / (width * num)
    delta = (float((covariance**2).sum()) - width * level**2) / width
    return float(np.clip(beta / delta, 0, 1)) if delta > 0 else 1.0


ENTRY = Score(title="H-score", origin="Bao et al. 2019; shrinkage: Ibrahim et al. 2022, arXiv:2110.06893", of=h_score)
