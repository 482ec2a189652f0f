"""Two models on the same examples, and one model on two sets of examples."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from answers import sample
from regraft.contracts.metric import Sample, metric
from regraft.errors import UnknownName
from regraft.evaluation.differences import compare, difference, mcnemar
from regraft.evaluation.intervals import measure
from regraft.values import Measured


def _models(n: int, only_a: int, only_b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two models that disagree on `only_a + only_b` of n examples, spread evenly; both are right on the rest."""
    order = np.random.default_rng(0).permutation(n)
    targets = np.arange(n) % 2
    labels_a, labels_b = targets.copy(), targets.copy()
    labels_b[order[:only_a]] ^= 1
    labels_a[order[only_a : only_a + only_b]] ^= 1
    soft = np.array([[0.8, 0.2], [0.2, 0.8]])
    return targets, soft[labels_a], soft[labels_b]


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 5), (3, 9), (12, 12), (40, 61), (700, 800), (0, 1200)])
def test_mcnemar_equals_scipys_binomial_test(only_a: int, only_b: int) -> None:
    known = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(known, rel=1e-9)


def test_a_clear_difference_is_real() -> None:
    found = compare(*_models(200, only_a=30, only_b=6), names=("probe", "tuned"))
    assert found.outcome == "real"
    assert (found.only_a_right, found.only_b_right) == (30, 6)
    assert found.difference.value == pytest.approx(24 / 200) == pytest.approx(found.a - found.b)
    assert found.difference.low is not None
    assert 0 < found.difference.low < 0.12
    assert found.verdict.startswith("Real: probe is better. Accuracy +0.120 [+0.0")
    assert "McNemar p = " in found.verdict


def test_swapping_the_models_swaps_the_result() -> None:
    targets, a, b = _models(200, only_a=30, only_b=6)
    one, other = compare(targets, a, b), compare(targets, b, a)
    assert other.difference.value == -one.difference.value
    assert other.p_value == one.p_value
    assert other.verdict.startswith("Real: b is better")


def test_a_small_difference_is_not_resolved() -> None:
    found = compare(*_models(200, only_a=8, only_b=5))
    assert found.outcome == "not resolved"
    assert found.difference.low is not None
    assert found.difference.high is not None
    assert found.difference.low < 0 < found.difference.high
    assert "could be chance" in found.verdict


def test_five_discordant_examples_prove_nothing_even_when_the_bootstrap_would_say_so() -> None:
    found = compare(*_models(100, only_a=5, only_b=0))
    assert found.difference.low is not None
    assert found.difference.low > 0
    assert found.p_value == pytest.approx(0.0625)
    assert found.outcome == "not resolved"


def test_the_same_predictions_are_no_difference() -> None:
    targets, a, _ = _models(50, only_a=5, only_b=0)
    found = compare(targets, a, a)
    assert (found.difference.value, found.p_value, found.outcome) == (0.0, 1.0, "not resolved")
    assert found.verdict == "No difference: a and b make the same predictions."


def test_too_few_groups_give_no_verdict() -> None:
    found = compare(*_models(200, only_a=30, only_b=6), groups=np.arange(200) % 7)
    assert found.outcome == "too few groups"
    assert found.difference.low is None
    assert found.verdict.startswith("Undecided: too few groups (7 < 10)")


def test_a_difference_that_one_group_carries_is_not_resolved() -> None:
    targets, a, b = _models(200, only_a=30, only_b=6)
    discordant = (a.argmax(1) == targets) & (b.argmax(1) != targets)
    groups = np.where(discordant, 100, np.arange(200) % 20)
    assert compare(targets, a, b).outcome == "real"
    assert compare(targets, a, b, groups=groups).outcome == "not resolved"


def test_the_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 300)
    p = np.clip(rng.normal(0.25 + 0.5 * targets, 0.3), 0.01, 0.99)
    a = np.stack([1 - p, p], axis=1)
    found = compare(targets, a, 0.97 * a + 0.03 * 0.5, metric="log_loss")
    alone = measure(metric("log_loss"), targets, a)
    assert found.a == pytest.approx(alone.value)
    assert _width(found.difference) < 0.3 * _width(alone)


def _width(found: Measured) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def test_lower_is_better_where_the_metric_says_so() -> None:
    targets, a, b = _models(200, only_a=30, only_b=6)
    found = compare(targets, a, b, metric="brier")
    assert found.difference.value < 0
    assert found.verdict.startswith("Real: a is better. Brier score -0.")


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UnknownName):
        compare(*_models(20, 1, 1), metric="acc")


def test_a_smaller_error_is_better_and_told_in_the_unit_of_the_number() -> None:
    targets, values = sample("regression", num_outputs=1)
    better = targets + 0.5 * (values - targets)
    found = compare(targets, better, values, metric="mae", names=("tuned", "probe"), outputs=["price"])
    assert found.difference.value == pytest.approx(-0.5 * np.abs(values - targets).mean())
    assert found.outcome == "real"
    assert found.verdict.startswith("Real: tuned is better. Mean absolute error -")
    assert found.verdict.endswith("] in the unit of price.")
    assert (found.only_a_right, found.only_b_right, found.p_value) == (None, None, None)
    explained = compare(targets, better, values, metric="r2", names=("tuned", "probe"))
    assert explained.verdict.startswith("Real: tuned is better. R² +")


def test_tags_are_compared_by_ranking_and_ranks_by_distance() -> None:
    for kind, metric_name, better_is in (("multilabel", "mean_average_precision", 1), ("ordinal", "rank_mae", -1)):
        targets, outputs = sample(kind, digits=6)
        worse = sample(kind, seed=9)[1]
        found = compare(targets, outputs, worse, metric=metric_name)
        assert found.verdict.startswith("Real: a is better.")
        assert found.difference.value * better_is > 0
        assert (found.p_value is None) == (kind == "multilabel")


def test_what_is_not_defined_is_not_told() -> None:
    targets = np.ones((20, 1))
    found = compare(targets, targets + 1, targets + 2, metric="r2")
    assert found.verdict == "Undecided: R² is undefined: the targets are constant."
    assert found.outcome == "not resolved"


def _right(right: int, n: int) -> Sample:
    return _predicted(np.arange(n) < right)


def _predicted(right: np.ndarray, groups: np.ndarray | None = None) -> Sample:
    """Two classes, all examples of the second; right where told."""
    return Sample(targets=np.ones(len(right), dtype=np.int64), outputs=np.eye(2)[right.astype(int)], groups=groups)


def test_the_interval_is_newcombes_published_example() -> None:
    # Newcombe 1998, Table II, method 10.
    for (a, n), (b, m), low, high in [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)]:
        found = difference(_right(a, n), _right(b, m))
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
        assert found.value == pytest.approx(a / n - b / m)
        assert found.method == "newcombe"


def test_groups_are_resampled_whole_and_too_few_give_no_interval() -> None:
    rng = np.random.default_rng(0)
    trouble = rng.random(40) < 0.3
    groups = np.repeat(np.arange(40), 5)
    right = ~np.repeat(trouble, 5)
    one, other = _predicted(right, groups), _predicted(rng.random(200) < 0.9)
    grouped, plain = difference(one, other), difference(_predicted(right), other)
    assert grouped.method == "bootstrap by group"
    assert grouped.value == plain.value
    assert grouped.high is not None
    assert grouped.low is not None
    assert plain.high is not None
    assert plain.low is not None
    assert grouped.high - grouped.low > 1.5 * (plain.high - plain.low)
    few = difference(_predicted(right, groups // 10), other)
    assert (few.low, few.method) == (None, "too few groups (4 < 10)")


def test_an_error_that_grows_is_a_fall_as_a_share_that_shrinks_is() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(100, 20, (80, 1))
    learned = Sample(targets=targets, outputs=targets + rng.normal(0, 1, (80, 1)))
    new = Sample(targets=targets, outputs=targets + rng.normal(0, 5, (80, 1)))
    errors = [np.abs(part.outputs - part.targets).mean() for part in (learned, new)]
    found = difference(learned, new, metric="mae")
    assert found.value == pytest.approx(errors[1] - errors[0])
    assert found.low is not None
    assert found.low > 0
    explained = difference(learned, new, metric="r2")
    assert explained.value == pytest.approx(r2_score(targets, learned.outputs) - r2_score(targets, new.outputs))
    assert explained.low is not None
    assert explained.low > 0


def test_the_interval_of_a_gap_in_error_is_that_of_a_difference_of_two_means() -> None:
    rng = np.random.default_rng(1)
    parts = []
    for n, spread in ((300, 1.0), (200, 2.0)):
        targets = rng.normal(size=(n, 1))
        parts.append(Sample(targets=targets, outputs=targets + rng.normal(0, spread, (n, 1))))
    found = difference(parts[0], parts[1], metric="mae")
    errors = [np.abs(part.outputs - part.targets)[:, 0] for part in parts]
    known = stats.ttest_ind(errors[1], errors[0], equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.1 * (known.high - known.low))
    assert found.method == "bootstrap"
