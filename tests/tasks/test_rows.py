"""Means, spreads and blocks of rows."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from regraft.tasks._forms import leading_axes
from regraft.tasks.rows import Blocks, Views, block_rows, moments


def make(num_rows: int = 700, width: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    features = (random.standard_normal((num_rows, width)) * np.logspace(-2, 2, width) + 100).astype(np.float32)
    return features, random.uniform(0, 2, num_rows), random.permutation(num_rows) % 4


@pytest.mark.parametrize("without", [(), (1,), (0, 3)])
def test_means_and_spreads_are_those_of_the_rows_kept(without: tuple[int, ...]) -> None:
    features, weights, fold_of_row = make()
    scaling = moments(features, weights, fold_of_row, 4).scaling(without)
    kept = ~np.isin(fold_of_row, without)
    scaler = StandardScaler().fit(features[kept].astype(np.float64), sample_weight=weights[kept])
    np.testing.assert_allclose(scaling.mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaling.spread(), scaler.scale_, rtol=1e-9)


@pytest.mark.parametrize("stream_above", [0, 1 << 30])
def test_a_pass_gives_every_row_outside_the_folds_left_out_once(stream_above: int) -> None:
    features, weights, fold_of_row = make(30_000, 40)
    assert block_rows(40) < 30_000
    scaling = moments(features, weights, fold_of_row, 4).scaling()
    blocks = Blocks(features, scaling, fold_of_row, stream_above=stream_above)
    assert blocks.streamed == (stream_above == 0)
    seen = np.zeros(len(features))
    for index, rows in blocks([2]):
        seen[index] += 1
        expected = (features[index] - scaling.mean) * scaling.inverse
        np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-2)
    assert np.array_equal(seen, (fold_of_row != 2).astype(float))


def test_all_axes_of_a_narrow_sample_are_its_principal_ones() -> None:
    sample = np.random.default_rng(0).standard_normal((400, 20)) * np.logspace(0, 1, 20)
    axes = leading_axes(sample)
    assert axes.basis is not None
    np.testing.assert_allclose(np.sort(axes.variance), np.linalg.svd(sample)[1][::-1] ** 2 / 400, rtol=1e-9)


def test_the_leading_axes_of_a_wide_sample_hold_nearly_all_that_can_be_held() -> None:
    random = np.random.default_rng(0)
    sample = random.standard_normal((900, 500)) * np.arange(1, 501) ** -0.7
    axes = leading_axes(sample)
    assert axes.basis is not None
    np.testing.assert_allclose(axes.basis.T @ axes.basis, np.eye(len(axes.variance)), rtol=0, atol=1e-10)
    best = np.sort(np.linalg.svd(sample)[1] ** 2 / 900)[::-1][: len(axes.variance)].sum()
    assert 0.98 * best < axes.variance.sum() <= best * (1 + 1e-9)


def test_plain_rows_are_found_in_the_order_of_the_examples() -> None:
    views = Views(example_of_row=np.array([1, 0, 1, 0]), view_of_row=np.array([0, 1, 1, 0]))
    assert views.plain_rows().tolist() == [3, 0]
    assert views.row_weights(np.array([1.0, 4.0])).tolist() == [2.0, 0.5, 2.0, 0.5]
