"""Many models on the same examples: intervals that hold for all pairs together."""

import numpy as np
import pytest
from scipy.stats import studentized_range

from regraft.contracts.metric import metric
from regraft.evaluation.differences import compare
from regraft.evaluation.many import ranked


def models(rng: np.random.Generator, targets: np.ndarray, accuracies: list[float]) -> dict[str, list[np.ndarray]]:
    """Probabilities of models that are right by chance, independently, with these probabilities."""
    found = {}
    for number, accuracy in enumerate(accuracies):
        predicted = np.where(rng.random(len(targets)) < accuracy, targets, 1 - targets)
        found[f"m{number}"] = [np.eye(2)[predicted] * 0.98 + 0.01]
    return found


def test_two_models_differ_as_the_paired_comparison_says() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 400)
    outputs = models(rng, targets, [0.9, 0.8])
    found = ranked(targets, outputs, metric="accuracy")
    paired = compare(targets, outputs["m0"][0], outputs["m1"][0], metric="accuracy")
    gap = found.standings[1].behind
    assert gap.value == pytest.approx(paired.difference.value)
    assert gap.low == pytest.approx(paired.difference.low, abs=0.01)
    assert gap.high == pytest.approx(paired.difference.high, abs=0.01)
    assert [one.tied for one in found.standings] == [True, False]


def test_the_margin_of_many_independent_models_is_tukeys() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, 2000)
    found = ranked(targets, models(rng, targets, [0.7] * 8), metric="accuracy")
    last = found.standings[-1].behind
    assert last.high is not None
    assert last.low is not None
    rates = [one.by_seed[0] for one in found.standings]
    deviation = np.sqrt((rates[0] * (1 - rates[0]) + rates[-1] * (1 - rates[-1])) / 2000)
    expected = studentized_range.ppf(0.95, 8, np.inf) / np.sqrt(2)  # 3.03, where one pair alone has 1.96
    assert (last.high - last.low) / 2 / deviation == pytest.approx(expected, rel=0.06)
    assert found.num_pairs == 28


def test_equal_models_are_seldom_told_apart_however_many_there_are() -> None:
    wrong = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        targets = rng.integers(0, 2, 150)
        found = ranked(targets, models(rng, targets, [0.8] * 6), metric="accuracy", seed=seed)
        wrong += not all(one.tied for one in found.standings)
    assert wrong <= 11  # 5 of 100 are expected; more than 11 would happen once in a hundred


def test_the_best_of_equal_models_is_flattered_by_no_less_than_is_stated() -> None:
    gaps, stated = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        targets = rng.integers(0, 2, 200)
        found = ranked(targets, models(rng, targets, [0.8] * 6), metric="accuracy", seed=seed)
        gaps.append(found.standings[0].measured.value - 0.8)
        stated.append(found.optimism)
    assert 0.5 * np.mean(gaps) < np.mean(stated) < 1.05 * np.mean(gaps)


def test_seeds_that_disagree_widen_the_intervals() -> None:
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 2, 300)
    steady, moving = (
        [models(rng, targets, [rate])["m0"][0] for rate in rates] for rates in ([0.8] * 3, [0.7, 0.8, 0.9])
    )
    found = {
        one.name: one.measured
        for one in ranked(targets, {"steady": steady, "moving": moving}, metric="accuracy").standings
    }
    wide = {name: one.high - one.low for name, one in found.items() if one.high is not None and one.low is not None}
    assert wide["moving"] > 2 * wide["steady"]


def test_a_loss_is_ranked_from_below() -> None:
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 2, 200)
    found = ranked(targets, models(rng, targets, [0.7, 0.9]), metric="log_loss")
    assert [one.name for one in found.standings] == ["m1", "m0"]
    assert found.standings[1].behind.value > 0
    assert not metric("log_loss").higher_is_better


def test_with_few_groups_nothing_is_claimed() -> None:
    rng = np.random.default_rng(4)
    targets = rng.integers(0, 2, 100)
    found = ranked(targets, models(rng, targets, [0.9, 0.5]), metric="accuracy", groups=np.arange(100) % 5)
    assert found.standings[1].behind.low is None
    assert "too few groups" in found.standings[1].behind.method
    assert all(one.tied for one in found.standings)


def test_models_with_the_same_outputs_are_tied_exactly() -> None:
    rng = np.random.default_rng(5)
    targets = rng.integers(0, 2, 100)
    (one,) = models(rng, targets, [0.8]).values()
    found = ranked(targets, {"a": one, "b": one}, metric="accuracy")
    assert (found.standings[1].behind.low, found.standings[1].behind.high) == (0.0, 0.0)
    assert found.standings[1].tied
