"""What a test resolves, what more data would bring, what training costs: against simulation and count."""

import numpy as np
import pytest

from regraft.advisor.cost import Plan, Rates, cost
from regraft.advisor.noise import learning_curve, predicted, smallest_difference
from regraft.backbones.costs import NetworkCosts, costs_of
from regraft.backbones.opening import card_at_hand
from regraft.values import Measured


def test_a_difference_of_that_size_is_found_in_four_cases_of_five() -> None:
    rng, num, disagree = np.random.default_rng(0), 400, 0.2
    gap = smallest_difference(num, disagree)
    found = 0
    for _ in range(2000):
        only_a, only_b, _ = rng.multinomial(num, [(disagree + gap) / 2, (disagree - gap) / 2, 1 - disagree])
        found += abs(only_a - only_b) / np.sqrt(only_a + only_b) > 1.96
    assert 0.77 < found / 2000 < 0.83


def test_without_test_examples_nothing_is_resolved() -> None:
    assert smallest_difference(0, 0.2) == 1.0


def test_predicted_intervals_hold_what_another_sample_shows() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(2000):
        here, there = rng.binomial(200, 0.8) / 200, rng.binomial(100, 0.8) / 100
        half = 1.96 * np.sqrt(here * (1 - here) / 200)
        told = predicted(Measured(value=here, low=here - half, high=here + half), 200, 100)
        assert told.low is not None
        assert told.high is not None
        inside += told.low <= there <= told.high
    assert 0.87 < inside / 2000 < 0.93


def test_a_power_law_is_continued_to_twice_the_examples() -> None:
    sizes = np.array([100, 100, 200, 200, 400])
    curve = learning_curve(sizes, 2.0 * sizes**-0.5)
    assert curve.exponent == pytest.approx(0.5)
    assert curve.doubled.value == pytest.approx(2.0 * 800**-0.5)
    assert curve.doubled.low is not None
    assert curve.doubled.low < curve.doubled.value


@pytest.fixture(scope="module")
def network() -> NetworkCosts:
    return costs_of(*card_at_hand("googlenet:tiny@random", 32))


def plan(cut: str, **changes: object) -> Plan:
    known = {"cut": cut, "examples": 100, "others": 20, "views": 2, "epochs": 3, "batch": 10, "min_steps": 0,
             "checked": 256, "dtype": "float32"}  # fmt: skip
    return Plan(**known | changes)  # type: ignore[arg-type]


def test_what_is_frozen_is_run_once_and_what_is_trained_in_every_step(network: NetworkCosts) -> None:
    stages = tuple(part.name for part in network.stages)
    whole = sum(part.multiply_adds for part in network.stages)
    below = sum(part.multiply_adds for part in network.stages[: stages.index("4e") + 1]) / whole
    rates = Rates(loading=0.001, running=0.02, training=0.1)
    inner = cost(network, stages, plan("4e"), rates)
    assert inner.filling_s == pytest.approx((100 * 2 + 20) * (0.001 + below * 0.02) + 120 * (1 - below) * 0.02)
    assert inner.training_s == pytest.approx(3 * 100 * 0.1)
    folds = cost(network, stages, plan("4e", validated=10, trainings=5.0), rates)
    assert folds.training_s == pytest.approx(5 * (inner.training_s + 3 * 10 * (1 - below) * 0.02))
    full = cost(network, stages, plan("input", views=0), rates)
    assert full.filling_s == pytest.approx(120 * (0.001 + 0.02))
    assert full.training_s == pytest.approx(3 * 100 * (0.1 + 0.001))
    assert full.disk_bytes == 0
    assert full.memory_bytes > inner.memory_bytes
    probe = cost(network, stages, plan("output", epochs=0), rates)
    assert probe.training_s == 0
    assert probe.disk_bytes == 220 * 4 * 256
