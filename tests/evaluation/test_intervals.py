"""Intervals: against references, by exact enumeration, and where there can be none."""

from math import comb

import numpy as np
import pytest
from scipy import stats

from regraft.contracts.metric import Metric, metric, metrics_for
from regraft.evaluation._student import t_quantile
from regraft.evaluation.intervals import Statistic, bootstrap, measure, measure_all, nadeau_bengio, share, wilson

SHARE = (0.0, 1.0)


def _mean_of(values: np.ndarray, **more: object) -> Statistic:
    return Statistic(of_weights=lambda w: (w @ values) / w.sum(axis=1), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 7, 40, 500])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_equals_scipy(n: int, level: float) -> None:
    for successes in {0, 1, n // 3, n - 1, n}:
        known = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
        assert wilson(successes, n, level) == pytest.approx((known.low, known.high), abs=1e-12)


@pytest.mark.parametrize("n", [20, 50, 153])
def test_wilson_covers_close_to_its_level_on_average_by_exact_enumeration(n: int) -> None:
    ends = [wilson(k, n) for k in range(n + 1)]
    covered = [
        sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k, (low, high) in enumerate(ends) if low <= p <= high)
        for p in np.linspace(0.01, 0.99, 99).tolist()
    ]
    assert 0.945 < np.mean(covered) < 0.96
    assert min(covered) > 0.82


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_student_quantiles_equal_scipy() -> None:
    for degrees in (1, 2, 3, 7, 24, 49, 300, 10_000):
        for probability in (0.1, 0.6, 0.9, 0.975, 0.9995):
            assert t_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-9)


def test_the_bootstrap_equals_scipys_bca_up_to_the_draw() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    known = stats.bootstrap((values,), np.mean, n_resamples=20_000, random_state=0, method="BCa").confidence_interval
    found = bootstrap({"mean": _mean_of(values)}, 60, num_resamples=20_000)["mean"]
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((known.low, known.high), rel=0.02)


def test_the_reflected_bootstrap_equals_scipys_basic_one_up_to_the_draw() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    known = stats.bootstrap((values,), np.mean, n_resamples=20_000, random_state=0, method="basic").confidence_interval
    found = bootstrap({"mean": _mean_of(values, reflected=True)}, 60, num_resamples=20_000)["mean"]
    assert (found.low, found.high) == pytest.approx((known.low, known.high), rel=0.02)
    assert found.method == "bootstrap, reflected"


def test_whole_groups_are_drawn_so_copies_within_groups_narrow_nothing() -> None:
    values = np.random.default_rng(0).normal(size=30)
    once = bootstrap({"mean": _mean_of(values)}, 30)["mean"]
    copied = np.repeat(values, 8)
    groups = np.repeat(np.arange(30), 8)
    by_group = bootstrap({"mean": _mean_of(copied)}, 240, groups=groups)["mean"]
    assert (by_group.low, by_group.high) == pytest.approx((once.low, once.high), rel=1e-9)
    assert by_group.method == "bootstrap by group"
    taken_as_independent = bootstrap({"mean": _mean_of(copied)}, 240)["mean"]
    assert _width(taken_as_independent) < 0.5 * _width(by_group)


def _width(found: object) -> float:
    return found.high - found.low  # type: ignore[attr-defined,no-any-return]


def test_few_groups_give_no_interval_and_say_so() -> None:
    rng = np.random.default_rng(0)
    targets, probabilities = rng.integers(0, 2, 70), rng.dirichlet([1, 1], 70)
    found = measure_all(metrics_for("classification", 2), targets, probabilities, groups=np.arange(70) % 7)
    for one in found.values():
        assert one.low is None
        assert one.high is None
        assert one.method == "too few groups (7 < 10)"


def test_groups_of_one_example_are_no_groups() -> None:
    rng = np.random.default_rng(0)
    targets, probabilities = rng.integers(0, 2, 50), rng.dirichlet([1, 1], 50)
    for name in ("accuracy", "auroc"):
        alone = measure(metric(name), targets, probabilities, seed=3)
        assert measure(metric(name), targets, probabilities, groups=np.arange(50), seed=3) == alone


def test_the_seed_decides_and_metrics_do_not_move_one_another() -> None:
    rng = np.random.default_rng(0)
    targets, probabilities = rng.integers(0, 2, 80), rng.dirichlet([1, 1], 80)
    together = measure_all(metrics_for("classification", 2), targets, probabilities, seed=5)
    for name, found in together.items():
        assert measure(metric(name), targets, probabilities, seed=5) == found
    assert measure(metric("auroc"), targets, probabilities, seed=6) != together["auroc"]


def test_accuracy_has_wilsons_interval_even_at_one() -> None:
    found = measure(metric("accuracy"), np.arange(20) % 2, np.eye(2)[np.arange(20) % 2])
    assert (found.value, found.high, found.method) == (1.0, 1.0, "wilson")
    assert found.low == pytest.approx(wilson(20, 20)[0])


def test_a_perfect_accuracy_by_group_counts_each_group_once() -> None:
    targets = np.arange(60) % 2
    found = measure(metric("accuracy"), targets, np.eye(2)[targets], groups=np.arange(60) // 5)
    assert (found.low, found.method) == (pytest.approx(wilson(12, 12)[0]), "wilson on groups")


def test_a_number_that_never_varies_has_no_interval() -> None:
    found = measure(metric("auroc"), np.arange(40) % 2, np.eye(2)[np.arange(40) % 2])
    assert (found.value, found.low) == (1.0, None)
    assert found.method == "no interval: every resample gives the same value"


def test_a_metric_that_is_often_undefined_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    targets = np.array([1, 1] + [0] * 38)
    found = measure(metric("auroc"), targets, rng.dirichlet([1, 1], 40))
    assert found.low is None
    assert found.method.startswith("undefined on 1")


def test_a_metric_without_a_weighted_form_gets_the_same_interval() -> None:
    rng = np.random.default_rng(0)
    targets, probabilities = rng.integers(0, 3, 60), rng.dirichlet([1, 1, 1], 60)
    ours = metric("log_loss")
    plain = Metric(
        name="plain", title="Plain", higher_is_better=False, range=ours.range, needs="probabilities",
        kinds=ours.kinds, compute=ours.compute,
    )  # fmt: skip
    found, known = (measure(one, targets, probabilities, seed=1) for one in (plain, ours))
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-9)


def test_a_share_is_wilsons_without_groups_and_bootstrapped_with() -> None:
    rng = np.random.default_rng(0)
    hits, among, groups = rng.random(200) < 0.7, rng.random(200) < 0.5, rng.integers(0, 25, 200)
    plain = share(hits, among)
    inside = int(among.sum())
    assert (plain.low, plain.high) == wilson(int((hits & among).sum()), inside)
    by_group = share(hits, among, groups=groups)
    assert by_group.value == plain.value == (hits & among).sum() / inside
    assert by_group.method == "bootstrap by group"
    assert by_group.low is not None
    assert by_group.low < by_group.value


def test_a_share_of_nothing_is_not_a_number() -> None:
    found = share(np.array([True]), np.array([False]))
    assert np.isnan(found.value)
    assert found.low is None


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
    assert nadeau_bengio(np.ones((2, 5)), bounds=SHARE).method == "no interval: every fold scores the same"
    assert nadeau_bengio(np.array([[0.5, np.nan]]), bounds=SHARE).method == "too few folds with a score"
    few = nadeau_bengio(np.array([[0.5, 0.6]]), bounds=SHARE, num_groups=7)
    assert (few.value, few.low, few.method) == (0.55, None, "too few groups (7 < 10)")
