"""Intervals: against references, by exact enumeration, and where there can be none."""

from math import comb

import numpy as np
import pytest
from scipy import stats

from regraft.contracts.metric import Metric, metric, metrics_for
from regraft.evaluation.intervals import Statistic, bootstrap, measure, measure_all, share, wilson

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
    assert found.method == "no interval: all resamples give the same value"


def test_a_metric_that_is_often_undefined_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    targets = np.array([1, 1] + [0] * 38)
    found = measure(metric("auroc"), targets, rng.dirichlet([1, 1], 40))
    assert found.low is None
    assert found.method.startswith("undefined on 1")


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


def _texts() -> tuple[list[str], list[str]]:
    """Forty sentences of different lengths, each with some words changed."""
    random = np.random.default_rng(0)
    words = [[f"w{one}" for one in random.integers(0, 50, size)] for size in random.integers(3, 12, 40)]
    changed = [[word if random.random() < 0.8 else "?" for word in text] for text in words]
    return [" ".join(text) for text in words], [" ".join(text) for text in changed]


def _found_words(targets: list[str], outputs: list[str]) -> np.ndarray:
    pairs = [(one.split(), other.split()) for one, other in zip(targets, outputs, strict=True)]
    return np.array([[sum(map(str.__eq__, one, other)), len(one)] for one, other in pairs], dtype=float)


def test_a_metric_of_texts_is_measured_from_sums_over_examples() -> None:
    words = Metric(
        name="words", title="Words found", higher_is_better=True, range=SHARE, kinds=frozenset({"sequence"}),
        statistics=_found_words, value=lambda sums: sums[:, 0] / sums[:, 1],
    )  # fmt: skip
    targets, outputs = _texts()
    table = _found_words(targets, outputs)
    found = measure(words, targets, outputs)
    assert found.value == pytest.approx(table[:, 0].sum() / table[:, 1].sum())
    known = stats.bootstrap(
        (table[:, 0], table[:, 1]), lambda hit, of, axis: hit.sum(axis) / of.sum(axis), paired=True,
        n_resamples=20_000, random_state=0, method="BCa",
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.01)


def _same_nearer(identity: np.ndarray, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share of pairs within an identity that are nearer than 1, by the share of other pairs that are."""
    one, other = np.triu_indices(len(identity), 1)
    same, near = identity[one] == identity[other], np.abs(points[one] - points[other]) < 1
    values = []
    for row in weights:
        pairs = np.where(same, row[one], row[one] * row[other])
        values.append((pairs @ (same & near) / (pairs @ same)) - (pairs @ (~same & near) / (pairs @ ~same)))
    return np.array(values)


def test_a_metric_of_pairs_draws_identities_as_one_does_by_hand() -> None:
    pairs = Metric(
        name="pairs", title="Pairs told apart", higher_is_better=True, range=(-1.0, 1.0),
        kinds=frozenset({"verification"}), of_sample=_same_nearer, identities=lambda targets: targets,
    )  # fmt: skip
    random = np.random.default_rng(0)
    identity = np.repeat(np.arange(20), 3)
    points = random.normal(size=20)[identity] * 2 + random.normal(size=60) * 0.4
    together = measure_all({"pairs": pairs}, identity, points)["pairs"]
    assert together.method == "bootstrap by group"
    by_hand = []
    for _ in range(1000):
        drawn = random.integers(0, 20, 20)
        rows = np.concatenate([np.flatnonzero(identity == one) for one in drawn])
        copy = np.repeat(np.arange(20), 3)  # a second copy of an identity is another identity, of which no pair is made
        apart, kept = identity[rows][:, None] != identity[rows][None, :], copy[:, None] == copy[None, :]
        near = np.abs(points[rows][:, None] - points[rows][None, :]) < 1
        upper = np.triu(np.ones((60, 60), dtype=bool), 1)
        by_hand.append(near[upper & kept].mean() - near[upper & apart].mean())
    assert together.low is not None
    assert together.high is not None
    assert together.high - together.low == pytest.approx(np.ptp(np.quantile(by_hand, [0.025, 0.975])), rel=0.2)


def test_a_metric_has_one_of_the_two_forms() -> None:
    for form in ({}, {"statistics": _found_words}, {"statistics": _found_words, "value": len, "of_sample": len}):
        with pytest.raises(TypeError, match="either statistics and value, or of_sample"):
            Metric(
                name="x",
                title="X",
                higher_is_better=True,
                range=SHARE,
                kinds=frozenset(),
                **form,  # type: ignore[arg-type]
            )
