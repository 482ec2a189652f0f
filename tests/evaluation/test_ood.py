"""The out-of-distribution score."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize

from regraft.evaluation.ood import extended_reference, fit_reference


def _features(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes in 40 dimensions, few enough examples that each pulls its class mean towards itself."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 3
    centres = np.random.default_rng(99).normal(size=(3, 40)) * 0.7
    return (centres[targets] + rng.normal(size=(n, 40))).astype(np.float32), targets


def test_distances_are_out_of_fold_as_by_hand_with_scikit_learn() -> None:
    features, targets = _features(60)
    folds = np.arange(60) // 3 % 4
    by_hand = np.empty(60)
    for fold in range(4):
        inside = folds == fold
        unit = normalize(features[~inside].astype(float))
        means = np.stack([unit[targets[~inside] == label].mean(0) for label in range(3)])
        by_hand[inside] = 1 - cosine_similarity(features[inside].astype(float), means).max(1)
    found = fit_reference(features, targets, folds)
    np.testing.assert_allclose(found.distances, np.sort(by_hand), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.class_means, axis=1), 1, atol=1e-6)


def test_new_examples_of_the_same_kind_have_uniform_scores_and_in_sample_ones_too_low() -> None:
    features, targets = _features(90)
    reference = fit_reference(features, targets, np.arange(90) // 3 % 5)
    fresh = reference.score(_features(3000, seed=1)[0])
    assert fresh.mean() == pytest.approx(0.5, abs=0.06)
    assert (fresh > 0.9).mean() == pytest.approx(0.1, abs=0.06)
    assert reference.score(features).mean() < 0.4


def test_inputs_of_another_kind_score_high() -> None:
    features, targets = _features(300)
    reference = fit_reference(features, targets, np.arange(300) // 3 % 5)
    away = -reference.class_means.sum(axis=0, keepdims=True) + _features(300, seed=1)[0] / 20
    assert (reference.score(away) > 0.99).mean() > 0.95
    assert reference.score(np.zeros((1, 40), dtype=np.float32))[0] > 0.95


def test_the_length_of_a_feature_does_not_matter() -> None:
    features, targets = _features(60)
    reference = fit_reference(features, targets, np.arange(60) // 3 % 4)
    np.testing.assert_array_equal(reference.score(features), reference.score(features * 8))


def test_the_table_stays_small_and_the_scores_with_it_right() -> None:
    features, targets = _features(9000)
    reference = fit_reference(features, targets, np.arange(9000) // 3 % 5)
    assert reference.distances.shape == (1001,)
    assert (np.diff(reference.distances) >= 0).all()
    scores = reference.score(_features(5000, seed=1)[0])
    for quantile in (0.1, 0.5, 0.95):
        assert (scores < quantile).mean() == pytest.approx(quantile, abs=0.03)


def test_a_class_that_only_one_fold_holds_is_compared_with_the_others() -> None:
    features, targets = _features(30)
    folds = np.where(targets == 2, 0, np.arange(30) // 3 % 3)
    reference = fit_reference(features, targets, folds)
    assert reference.class_means.shape == (3, 40)
    assert np.isfinite(reference.distances).all()


def test_a_reference_extended_by_a_class_finds_its_inputs_alike_and_keeps_the_old_means() -> None:
    random = np.random.default_rng(3)
    means = np.eye(3, 12) * 8
    features = (means[np.arange(90) % 3] + random.normal(size=(90, 12))).astype(np.float32)
    targets, folds = np.arange(90) % 3, np.arange(90) // 3 % 5
    old, new = targets < 2, targets == 2
    known = fit_reference(features[old], targets[old], folds[old])
    extended = extended_reference(known, features[new], np.zeros(30, dtype=np.int64), folds[new])
    np.testing.assert_array_equal(extended.class_means[:2], known.class_means)
    unit = features[new] / np.linalg.norm(features[new], axis=1, keepdims=True)
    mean = unit.mean(axis=0)
    np.testing.assert_allclose(extended.class_means[2], mean / np.linalg.norm(mean), rtol=1e-5, atol=1e-6)
    assert len(extended.distances) == 90
    assert (np.diff(extended.distances) >= 0).all()
    assert known.score(features[new]).min() == 1.0
    assert extended.score(features[new]).mean() < 0.7
    np.testing.assert_array_less(extended.score(features[old]).mean(), 0.7)


def test_an_extended_reference_keeps_no_more_distances_than_any_other() -> None:
    random = np.random.default_rng(0)
    features, folds = random.normal(size=(3000, 4)).astype(np.float32), np.arange(3000) % 5
    known = fit_reference(features, np.arange(3000) % 2, folds)
    extended = extended_reference(known, features[:1500], np.zeros(1500, dtype=np.int64), folds[:1500])
    assert len(known.distances) == len(extended.distances) == 1001


def test_what_trains_in_every_fold_is_in_all_means_and_has_no_distance() -> None:
    random = np.random.default_rng(0)
    features, targets = random.standard_normal((40, 6)), np.arange(40) % 3
    folds = np.where(targets == 2, -1, np.arange(40) % 2)
    found = fit_reference(features, targets, folds)
    assert len(found.distances) == (targets < 2).sum()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = []
    for at in np.flatnonzero(folds >= 0):
        means = [unit[(targets == label) & (folds != folds[at])].sum(axis=0) for label in range(3)]
        expected.append(1 - max(float(unit[at] @ mean / np.linalg.norm(mean)) for mean in means))
    np.testing.assert_allclose(found.distances, np.sort(expected), atol=1e-6)
