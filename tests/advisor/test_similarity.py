"""Distances of feature distributions against references that compute them another way."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import rbf_kernel

from regraft.advisor.similarity import frechet, similarity, squared_mmd


def rows(num: int, apart: float = 0.0, seed: int = 0) -> np.ndarray:
    """Features of one distribution, `apart` from its mean."""
    mixing = np.random.default_rng(9).normal(size=(6, 6)) * 0.3
    return np.random.default_rng(seed).normal(size=(num, 6)) @ mixing + apart * np.eye(6)[0]


def source(num: int = 200) -> dict[str, np.ndarray]:
    """Features of pretraining data, as a card keeps them."""
    found = rows(num)
    mean, unit = found.mean(axis=0), np.sqrt(found.var(axis=0).sum())
    axes = np.linalg.svd(found - mean, full_matrices=False)[2][:4] / unit
    return {"mean": mean, "axes": axes.astype(np.float16), "rows": ((found - mean) @ axes.T).astype(np.float16)}


@pytest.mark.parametrize("num", [4, 40])  # with fewer examples than dimensions, covariances are singular
def test_the_frechet_distance_is_its_definition_with_scipys_matrix_root(num: int) -> None:
    a, b = rows(num), rows(60, 1.0, seed=1)
    first, second = np.cov(a.T), np.cov(b.T)
    apart = a.mean(axis=0) - b.mean(axis=0)
    root = sqrtm(first @ second + (1e-12 * np.eye(6) if num < 6 else 0))
    expected = apart @ apart + np.trace(first + second - 2 * np.real(root))
    assert frechet(a, b) == pytest.approx(expected, rel=1e-4)


def test_of_two_known_gaussians_in_one_dimension_it_is_the_formula_of_the_textbook() -> None:
    line = np.array([[-1.0], [0.0], [1.0]])  # variance 1
    assert frechet(line, 3 * line + 2) == pytest.approx(2**2 + (3 - 1) ** 2)


def test_the_discrepancy_is_its_definition_with_kernels_of_scikit_learn() -> None:
    a, b, width = rows(30), rows(50, 1.0, seed=1), 1.7
    within = [rbf_kernel(one, gamma=1 / (2 * width**2))[~np.eye(len(one), dtype=bool)].mean() for one in (a, b)]
    expected = sum(within) - 2 * rbf_kernel(a, b, gamma=1 / (2 * width**2)).mean()
    assert squared_mmd(a, b, width) == pytest.approx(expected)


def test_examples_like_the_pretraining_data_are_as_near_as_chance_and_others_are_far() -> None:
    kept = source()
    same, other = similarity(rows(60, seed=1), kept), similarity(rows(60, 4.0), kept)
    assert same.frechet < 3 * same.frechet_by_chance
    assert abs(same.mmd) < 0.05
    assert other.frechet > 10 * other.frechet_by_chance
    assert other.mmd > 0.1
    assert "from 200 examples of the pretraining data" in other.told()


def test_the_unit_is_the_variance_of_the_pretraining_data() -> None:
    kept = source()
    far = np.tile(kept["mean"], (500, 1)) + 5 * np.linalg.svd(kept["axes"].astype(float))[2][0]
    scaled = {**kept, "axes": kept["axes"] / 2, "rows": kept["rows"] / 2}
    assert similarity(far, kept).frechet == pytest.approx(4 * similarity(far, scaled).frechet, rel=1e-2)
