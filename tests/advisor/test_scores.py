"""Every transferability score against a reference that computes it another way."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf
from sklearn.metrics import mutual_info_score
from sklearn.neighbors import KNeighborsClassifier

from regraft.advisor.scores.features import EPSILON, gbc, h_score, knn, leep, logme, nce, transrate
from regraft.contracts.score import SCORES, Seen

LINE = np.linspace(-20, 20, 20_001)


def seen(apart: float, num: int = 60, width: int = 8, classes: int = 3, seed: int = 0) -> Seen:
    """Gaussian classes that lie `apart`, and a source classifier that knows something of them."""
    rng = np.random.default_rng(seed)
    targets = np.arange(num) % classes
    features = rng.normal(size=(num, width)) * np.linspace(0.5, 2, width) + apart * np.eye(classes, width)[targets]
    logits = rng.normal(size=(num, 5)) + apart * np.eye(classes, 5)[targets]
    source = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Seen(features=features, targets=targets, source=source)


@pytest.mark.parametrize("name", SCORES.names())
def test_what_is_easier_to_tell_apart_scores_higher(name: str) -> None:
    of = SCORES.get(name).of
    assert of(seen(0.0)) < of(seen(1.5)) < of(seen(4.0))


@pytest.mark.parametrize("width", [4, 30])
def test_logme_is_the_largest_evidence_of_a_gaussian_process(width: int) -> None:
    one = seen(1.5, num=24, width=width)
    gram, values = one.features @ one.features.T, []
    for label in range(3):
        y = (one.targets == label).astype(float)

        def evidence(logs: np.ndarray, y: np.ndarray = y) -> float:
            covariance = np.exp(-logs[0]) * gram + np.exp(-logs[1]) * np.eye(len(y))
            return -float(multivariate_normal(mean=np.zeros(len(y)), cov=covariance).logpdf(y))

        best = minimize(evidence, np.array([0.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
        values.append(-best.fun / len(y))
    assert logme(one) == pytest.approx(np.mean(values), abs=2e-4)


def test_h_score_is_the_sum_of_squared_canonical_correlations() -> None:
    one = seen(1.0)
    features = one.features - one.features.mean(axis=0)
    labels = np.eye(3)[one.targets] - np.eye(3)[one.targets].mean(axis=0)
    bases = [np.linalg.svd(block, full_matrices=False)[0][:, :rank] for block, rank in ((features, 8), (labels, 2))]
    correlations = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    assert h_score(one, shrinkage=0.0) == pytest.approx((correlations**2).sum())


def test_the_shrinkage_is_that_of_scikit_learn() -> None:
    centred = seen(1.0).features - seen(1.0).features.mean(axis=0)
    share = sklearn_ledoit_wolf(centred, assume_centered=True)[1]
    assert h_score(seen(1.0)) == pytest.approx(h_score(seen(1.0), shrinkage=share))


def test_leep_is_the_definition_written_out() -> None:
    one = seen(1.0)
    assert one.source is not None
    total = 0.0
    for at in range(len(one.targets)):
        likelihood = 0.0
        for z in range(5):
            marginal = sum(one.source[i, z] for i in range(len(one.targets)))
            joint = sum(one.source[i, z] for i in range(len(one.targets)) if one.targets[i] == one.targets[at])
            likelihood += joint / marginal * one.source[at, z]
        total += np.log(likelihood)
    assert leep(one) == pytest.approx(total / len(one.targets))


def test_nce_is_mutual_information_less_entropy() -> None:
    one = seen(1.0)
    assert one.source is not None
    shares = np.bincount(one.targets) / len(one.targets)
    entropy = -float((shares * np.log(shares)).sum())
    assert nce(one) == pytest.approx(mutual_info_score(one.targets, one.source.argmax(axis=1)) - entropy)


def test_gbc_is_the_overlap_of_the_densities() -> None:
    one = seen(1.0, width=3)
    total = 0.0
    for a in range(3):
        for b in range(3):
            if a != b:
                here, there = one.features[one.targets == a], one.features[one.targets == b]
                scales = [np.sqrt(rows.var(axis=0).mean()) for rows in (here, there)]

                for_axes = [
                    np.trapezoid(
                        np.sqrt(
                            norm.pdf(LINE, here[:, axis].mean(), scales[0])
                            * norm.pdf(LINE, there[:, axis].mean(), scales[1])
                        ),
                        LINE,
                    )
                    for axis in range(3)
                ]
                total += float(np.prod(for_axes))
    assert gbc(one) == pytest.approx(-total, rel=1e-5)


def test_transrate_is_the_difference_of_coding_rates() -> None:
    one = seen(1.0)
    rows = one.features - one.features.mean(axis=0)
    rows /= np.linalg.norm(rows)

    def rate(some: np.ndarray) -> float:
        return 0.5 * float(np.linalg.slogdet(np.eye(len(some)) + some @ some.T / (len(some) * EPSILON))[1])

    inside = np.mean([rate(rows[one.targets == label]) for label in range(3)])
    assert transrate(one) == pytest.approx(rate(rows) - inside)


def test_nearest_neighbours_are_those_of_scikit_learn() -> None:
    one = seen(1.0, num=61)
    rows = one.features - one.features.mean(axis=0)
    right = 0
    for at in range(len(rows)):
        rest = np.arange(len(rows)) != at
        model = KNeighborsClassifier(5, metric="cosine").fit(rows[rest], one.targets[rest])
        nearest = model.kneighbors(rows[[at]])[1][0]
        votes = np.bincount(one.targets[rest][nearest], minlength=3).astype(float)
        votes[one.targets[rest][nearest[0]]] += 0.5
        right += int(votes.argmax() == one.targets[at])
    assert knn(one) == right / len(rows)
