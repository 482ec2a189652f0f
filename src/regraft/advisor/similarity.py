"""Task similarity: the distance between the features of the target examples and those of the pretraining data.

Features are projected onto the leading principal components of a sample of the pretraining data and scaled to a total
variance of 1 on these data, so that distances of different networks can be compared. Each distance comes with the one
between two random subsets of that sample, with the same numbers of examples: the distance expected by chance.

Letters: n target examples, m of the pretraining data, d features, k components.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from regraft.identity import derive_seed

DRAWS = 5
"""Number of random divisions of the pretraining data over which the distance by chance is averaged. Our choice."""


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Distances of the target's features from those of the pretraining data; 0 for equal distributions."""

    frechet: float
    """Squared Fréchet distance of Gaussians, in units of the total variance of the pretraining data's features."""
    mmd: float
    """Squared maximum mean discrepancy, unbiased; at most 2."""
    frechet_by_chance: float
    """Squared Fréchet distance between two subsets of the pretraining data."""
    mmd_by_chance: float
    """Squared maximum mean discrepancy between them."""
    num_source: int
    """Number of examples of the pretraining data that were compared."""

    def told(self) -> str:
        """Return a sentence with the numbers."""
        return (
            f"squared Fréchet distance {self.frechet:.3f} from {self.num_source:,} examples of the pretraining data "
            f"({self.frechet_by_chance:.3f} by chance), squared maximum mean discrepancy {self.mmd:.3f} "
            f"({abs(self.mmd_by_chance):.3f} by chance)."
        )


def similarity(features: Float[np.ndarray, "n d"], source: Mapping[str, np.ndarray], seed: int = 0) -> Similarity:
    """Compare features with those of the pretraining data, `Shipped.source_features`. If there are more target
    examples than these, a sample of the same size is used. n is at least 2."""
    rng, rows = np.random.default_rng(derive_seed(seed, "similarity")), source["rows"].astype(np.float64)
    few = features[rng.permutation(len(features))[: len(rows)]].astype(np.float64)
    target = (few - source["mean"]) @ source["axes"].astype(np.float64).T
    width = float(np.median(_squares(rows, rows)[np.triu_indices(len(rows), 1)])) ** 0.5
    some, chance = min(len(target), len(rows) // 2), []
    for _ in range(DRAWS):
        a, b = np.split(rows[rng.permutation(len(rows))], [some])
        chance.append((frechet(a, b), squared_mmd(a, b, width)))
    by_chance = np.mean(chance, axis=0).tolist()
    return Similarity(
        frechet=frechet(target, rows), mmd=squared_mmd(target, rows, width), frechet_by_chance=by_chance[0],
        mmd_by_chance=by_chance[1], num_source=len(rows),
    )  # fmt: skip


def frechet(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "m k"]) -> float:
    """Return the squared Fréchet distance of two Gaussians with the samples' means and covariances.

    Source: Dowson & Landau 1982; on features of a network, Heusel et al. 2017, arXiv:1706.08500. n, m at least 2.
    """
    first, second = (np.atleast_2d(np.cov(one, rowvar=False)) for one in (a, b))
    lengths, axes = np.linalg.eigh(first)
    root = (axes * np.sqrt(np.maximum(lengths, 0))) @ axes.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = a.mean(axis=0) - b.mean(axis=0)
    return float(apart @ apart + np.trace(first) + np.trace(second) - 2 * shared)


def squared_mmd(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "m k"], width: float) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy, with a Gaussian kernel exp(-r² / 2 width²).

    Source: Gretton et al. 2012 (JMLR 13), equation 3. May be below 0 by chance if the distributions are equal.
    """
    within = 0.0
    for one in (a, b):
        kernel = np.exp(-_squares(one, one) / (2 * width**2))
        within += float((kernel.sum() - np.trace(kernel)) / (len(one) * (len(one) - 1)))
    return within - 2 * float(np.exp(-_squares(a, b) / (2 * width**2)).mean())


def _squares(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "m k"]) -> Float[np.ndarray, "n m"]:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0))
