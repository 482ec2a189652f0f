"""Intervals over repeated fits: seeds that share their test examples, and folds."""

import numpy as np
import pytest
from scipy import stats

from regraft.evaluation.differences import crossed, nadeau_bengio, t_quantile

SHARE = (0.0, 1.0)


def width(values: np.ndarray, **options: np.ndarray) -> float:
    found = crossed(values, **options)
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def test_numbers_per_seed_have_students_interval() -> None:
    values = np.array([0.2, 0.5, 0.9, 0.4])
    found = crossed(values[:, None])
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_seeds_that_do_not_differ_leave_the_interval_of_a_mean_over_examples() -> None:
    right = (np.arange(400) < 300).astype(float)
    low, high = stats.t.interval(0.95, 399, loc=0.75, scale=stats.sem(right))
    found = crossed(np.tile(right, (3, 1)))
    assert (found.value, found.low, found.high) == pytest.approx((0.75, low, high))


def test_groups_are_counted_whole() -> None:
    values = np.tile(np.repeat(np.arange(40) % 2, 10).astype(float), (3, 1))
    alone, by_group = width(values), width(values, groups=np.repeat(np.arange(40), 10))
    assert by_group / alone == pytest.approx(np.sqrt(10), rel=0.05)


def test_a_mean_stays_within_its_range() -> None:
    found = crossed(np.array([[1.0], [1.0], [0.9]]), bounds=(0.0, 1.0))
    assert found.high == 1.0
    assert found.low is not None
    assert 0.0 < found.low < 0.9


def test_two_seeds_have_no_interval_nor_have_nine_groups() -> None:
    assert crossed(np.ones((2, 50))).method == "too few seeds (2 < 3)"
    assert crossed(np.ones((3, 90)), groups=np.repeat(np.arange(9), 10)).method == "too few groups (9 < 10)"
    assert crossed(np.ones((3, 9))).method == "too few examples (9 < 10)"


@pytest.mark.parametrize("num_seeds", [3, 5])
@pytest.mark.parametrize("seed_effect", [0.0, 0.005, 0.02, 0.05])
def test_of_a_hundred_intervals_ninety_two_or_more_hold_the_truth(num_seeds: int, seed_effect: float) -> None:
    random, held, times = np.random.default_rng(0), 0, 300
    for _ in range(times):
        seeds, examples = random.normal(0, seed_effect, (num_seeds, 1)), random.normal(0, 0.2, 1000)
        found = crossed(0.05 + seeds + examples + random.normal(0, 0.5, (num_seeds, 1000)))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.05 <= found.high
    assert held / times >= 0.92


def test_student_quantiles_equal_scipy() -> None:
    for degrees in (1, 2, 3, 7, 24, 49, 300, 10_000):
        for probability in (0.1, 0.6, 0.9, 0.975, 0.9995):
            assert t_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-9)


def test_nadeau_bengio_equals_its_formula_with_scipys_t() -> None:
    scores = np.random.default_rng(0).normal(0.8, 0.04, (3, 5))
    found = nadeau_bengio(scores, bounds=SHARE)
    error = np.sqrt((1 / 15 + 1 / 4) * scores.var(ddof=1))
    low, high = stats.t.interval(0.95, 14, loc=scores.mean(), scale=error)
    assert (found.value, found.low, found.high) == pytest.approx((scores.mean(), low, high))
    assert found.method == "nadeau-bengio"
    naive = stats.t.interval(0.95, 14, loc=scores.mean(), scale=np.sqrt(scores.var(ddof=1) / 15))
    assert high - low > 2 * (naive[1] - naive[0])


def test_nadeau_bengio_stays_in_bounds_and_says_when_it_has_nothing_to_go_by() -> None:
    assert nadeau_bengio(np.array([[1.0, 0.98, 1.0]]), bounds=SHARE).high == 1.0
    assert nadeau_bengio(np.ones((2, 5)), bounds=SHARE).method == "no interval: all folds have the same score"
    assert nadeau_bengio(np.array([[0.5, np.nan]]), bounds=SHARE).method == "too few folds with a score"
    few = nadeau_bengio(np.array([[0.5, 0.6]]), bounds=SHARE, num_groups=7)
    assert (few.value, few.low, few.method) == (0.55, None, "too few groups (7 < 10)")
