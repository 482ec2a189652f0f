"""Intervals of means over tasks: what they hold, and how often."""

import _pooled
import numpy as np
import pytest
from _pooled import Table, interval, mean_of, shown


def table(values: np.ndarray, *, task: str = "a", units: np.ndarray | None = None) -> Table:
    return Table(task=task, values=values, units=np.arange(values.shape[1]) if units is None else units)


def test_one_task_without_effect_of_seeds_has_the_interval_of_a_share() -> None:
    right = (np.arange(400) < 300).astype(float)
    low, high = interval([table(np.tile(right, (3, 1)))]) or (0.0, 0.0)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - half, abs=0.15 * half)
    assert high == pytest.approx(0.75 + half, abs=0.15 * half)


def test_a_pooled_mean_weighs_every_task_the_same() -> None:
    tables = [table(np.ones((3, 20)), task="a"), table(np.zeros((3, 400)), task="b")]
    assert mean_of(tables) == 0.5
    assert interval(tables) == (0.5, 0.5)


def test_patients_are_drawn_whole() -> None:
    values = np.tile(np.repeat(np.arange(20) % 2, 10).astype(float), (3, 1))
    alone, by_patient = table(values), table(values, units=np.repeat(np.arange(20), 10))
    narrow, wide = interval([alone]), interval([by_patient])
    assert narrow is not None
    assert wide is not None
    assert wide[1] - wide[0] == pytest.approx(np.sqrt(10) * (narrow[1] - narrow[0]), rel=0.15)


def test_seeds_and_patients_are_drawn_apart_also_where_there_are_as_many() -> None:
    both = np.kron(np.eye(12), np.ones(4))  # each seed is right about one patient: drawn together, that counts double
    several = [table(both, task=task, units=np.repeat(np.arange(12), 4)) for task in "abcdefgh"]
    low, high = interval(several) or (0.0, 0.0)
    assert low < both.mean() < high


def test_two_seeds_have_no_interval_nor_has_one_task_of_nine_patients() -> None:
    few_patients = table(np.ones((3, 90)), units=np.repeat(np.arange(9), 10))
    assert interval([table(np.ones((2, 90)))]) is None
    assert interval([few_patients]) is None
    assert shown([few_patients]) == "1.000 (too few groups)"
    assert interval([few_patients, table(np.ones((3, 90)), task="b")]) == (1.0, 1.0)


def test_a_model_against_itself_has_no_difference_at_all() -> None:
    one = table(np.random.default_rng(0).integers(2, size=(3, 50)).astype(float))
    assert interval([one - one]) == (0.0, 0.0)


def test_tasks_that_differ_make_a_wider_interval_when_they_are_drawn_too() -> None:
    tables = [table(np.full((3, 50), at / 4), task=str(at)) for at in range(5)]
    assert interval(tables) == (0.5, 0.5)
    low, high = interval(tables, tasks_too=True) or (0.0, 0.0)
    spread = 1.96 * np.std(np.arange(5) / 4) / np.sqrt(5)
    assert high - low == pytest.approx(2 * spread, rel=0.15)


@pytest.mark.parametrize("seed_effect", [0.0, 0.03])
def test_of_a_hundred_intervals_about_ninety_five_hold_the_truth(
    seed_effect: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pooled, "RESAMPLES", 500)
    _pooled._times.cache_clear()
    random, held = np.random.default_rng(0), 0
    for _ in range(200):
        tables = []
        for task in range(5):
            seeds, examples = random.normal(0, seed_effect, (3, 1)), random.normal(0, 0.45, 200)
            values = 0.05 + seeds + examples + random.normal(0, 0.3, (3, 200))
            tables.append(table(values, task=str(task)))
        low, high = interval(tables) or (0.0, 0.0)
        held += low <= 0.05 <= high
    _pooled._times.cache_clear()
    assert 180 <= held <= 200
