"""Means, spreads and blocks of rows."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from regraft.tasks import rows
from regraft.tasks._solvers import leading_axes
from regraft.tasks.rows import Rows, block_rows, moments


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
    np.testing.assert_allclose(scaling.deviation(), scaler.scale_, rtol=1e-9)


@pytest.mark.parametrize("stream_above", [0, 1 << 30])
def test_a_pass_gives_every_row_that_is_asked_for_once(stream_above: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "STREAM_ABOVE", stream_above)
    features, weights, fold_of_row = make(30_000, 40)
    assert block_rows(40) < 30_000
    held = Rows(features, weights, fold_of_row, 4)
    scaler = StandardScaler().fit(features.astype(np.float64), sample_weight=weights)
    deviation = np.maximum(scaler.scale_, rows.SPREAD_FLOOR * np.median(scaler.scale_))
    assert (len(held.held) == 0) == (stream_above == 0)
    seen = np.zeros(len(features))
    for index, block in held.blocks(fold_of_row != 2):
        seen[index] += 1
        np.testing.assert_allclose(block, (features[index] - scaler.mean_) / deviation, rtol=0, atol=1e-2)
    assert np.array_equal(seen, (fold_of_row != 2).astype(float))
    asked = np.array([29_999, 3, 500])
    expected = ((features[asked] - scaler.mean_) / deviation) @ np.ones((40, 1))
    np.testing.assert_allclose(held.product(np.ones((1, 40)), asked), expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize(("width", "share"), [(20, 1 - 1e-5), (500, 0.95)])
def test_axes_are_orthogonal_and_hold_nearly_all_that_so_many_can_hold(width: int, share: float) -> None:
    random = np.random.default_rng(0)
    mixing = np.linalg.qr(random.standard_normal((width, width)))[0]
    features = (random.standard_normal((900, width)) * np.arange(1, width + 1) ** -0.7) @ mixing
    held = Rows(features, np.ones(900), np.zeros(900, dtype=np.int64), 1)
    axes = leading_axes(held)
    assert axes.basis is not None
    count = len(axes.variance)
    np.testing.assert_allclose(axes.basis.T @ axes.basis, np.eye(count), rtol=0, atol=1e-5)
    standard = np.concatenate([block for _, block in held.blocks(np.ones(900, dtype=bool))])
    best = np.sort(np.linalg.svd(standard)[1] ** 2 / 900)[::-1][:count].sum()
    assert share * best < axes.variance.sum() <= best * (1 + 1e-6)
