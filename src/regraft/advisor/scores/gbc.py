"""GBC: how little Gaussians around the classes overlap: minus the sum of Bhattacharyya coefficients over ordered pairs.

Source: Pándy et al. 2022, arXiv:2111.12780: features reduced to 64 principal components, spherical covariances.
"""

import numpy as np

from regraft.contracts.score import Score, Seen

COMPONENTS = 64


def gbc(seen: Seen) -> float:
    """The score, 0 at most."""
    centred = seen.features.astype(np.float64)
    centred = centred - centred.mean(axis=0)
    if centred.shape[1] > COMPONENTS:
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        centred = centred @ axes[:COMPONENTS].T
    width, classes = centred.shape[1], np.unique(seen.targets)
    means = np.stack([centred[seen.targets == one].mean(axis=0) for one in classes])
    spheres = np.array([centred[seen.targets == one].var(axis=0).mean() for one in classes])
    spheres = np.maximum(spheres, 1e-12)
    pooled = (spheres[:, None] + spheres[None]) / 2
    squares = ((means[:, None] - means[None]) ** 2).sum(axis=2)
    apart = squares / (8 * pooled) + width / 2 * np.log(pooled / np.sqrt(spheres[:, None] * spheres[None]))
    coefficients = np.exp(-apart)
    return float(-(coefficients.sum() - np.trace(coefficients)))


ENTRY = Score(title="GBC", origin="Pándy et al. 2022, arXiv:2111.12780", of=gbc)
