"""What is made of trained arms, against numbers worked out by hand."""

from typing import Any

import numpy as np
import pytest

from regraft.contracts.study import STUDIES, Effect, Study
from regraft.lab.judging import Found, Seen, found_of, outcome_of, signal
from regraft.values import Measured

STUDY: Study = STUDIES.get("scales")


def seen(num_right: int, gap: float = 0.1) -> Seen:
    return Seen(right=np.arange(20) < num_right, gap=gap, gradients={})


def only(effect: Effect, a: dict[Any, Seen], b: dict[Any, Seen], /, **costs: dict[str, int]) -> Found:
    study = Study(**{**vars(STUDY), "effects": (effect,)})
    (found,) = found_of(study, {"a": a, "b": b}, costs)
    return found


def test_accuracy_and_gap_are_differences_over_the_seeds_that_both_arms_have() -> None:
    a = {(1.0, 0): seen(15, 0.3), (1.0, 1): seen(16, 0.5), (1.0, 2): seen(20)}
    b = {(1.0, 0): seen(10, 0.1), (1.0, 1): seen(13, 0.2)}
    accuracy = only(Effect(name="x", measure="accuracy", plus="a", minus="b"), a, b)
    gap = only(Effect(name="x", measure="gap", plus="a", minus="b"), a, b)
    assert accuracy.num_seeds == gap.num_seeds == 2
    assert accuracy.difference is not None
    assert accuracy.difference.value == pytest.approx((0.25 + 0.15) / 2)
    assert gap.difference is not None
    assert gap.difference.value == pytest.approx((0.2 + 0.3) / 2)
    assert accuracy.resolved == "open"  # two seeds have no interval


def test_another_share_of_the_training_examples_is_another_effect() -> None:
    a, b = {(1.0, 0): seen(15), (0.5, 0): seen(4)}, {(1.0, 0): seen(10), (0.5, 0): seen(8)}
    found = only(Effect(name="x", measure="accuracy", plus="a", minus="b", share=0.5), a, b)
    assert found.difference is not None
    assert found.difference.value == pytest.approx(-0.2)
    assert only(Effect(name="x", measure="accuracy", plus="a", minus="b", share=0.1), a, b).resolved == "not run"


def test_counted_ratios_are_exact() -> None:
    effect = Effect(name="x", measure="multiply_adds", plus="a", minus="b", above=2.0, worth=0.0)
    found = only(effect, {}, {}, a={"multiply_adds": 1000}, b={"multiply_adds": 10})
    assert found.difference is not None
    assert found.difference.value == 100.0
    assert found.resolved == "as claimed"
    assert only(effect, {}, {}, a={"multiply_adds": 19}, b={"multiply_adds": 10}).resolved == "not here"


def test_the_signal_is_that_of_the_lowest_third_against_the_highest() -> None:
    gradients = {"a": 20.0, "b": 1.0, "c": 1.0, "d": 5.0, "e": 0.1, "f": 0.001}
    assert signal(gradients) == pytest.approx((np.log10(20) + 0) / 2 - (-1 - 3) / 2)


def found(low: float | None, high: float | None, *, key: bool = True, **changes: Any) -> Found:
    effect = Effect(name="x", measure="accuracy", plus="a", minus="b", key=key, **changes)
    value = 0.0 if low is None or high is None else (low + high) / 2
    return Found(effect=effect, difference=Measured(value=value, low=low, high=high), num_seeds=3)


@pytest.mark.parametrize(
    ("low", "high", "changes", "resolved"),
    [
        (0.001, 0.03, {}, "as claimed"),
        (-0.01, 0.03, {}, "open"),
        (-0.03, -0.01, {}, "not here"),
        (-0.008, 0.009, {}, "not here"),
        (-0.015, 0.01, {"above": -0.02, "worth": 0.0}, "as claimed"),
        (-0.025, 0.01, {"above": -0.02, "worth": 0.0}, "open"),
        (-0.05, -0.03, {"above": -0.02, "worth": 0.0}, "not here"),
        (None, None, {}, "open"),
    ],
)
def test_an_effect_is_resolved_by_where_its_interval_lies(
    low: float | None, high: float | None, changes: dict[str, float], resolved: str
) -> None:
    assert found(low, high, **changes).resolved == resolved


def test_the_verdict_rests_on_key_effects_alone() -> None:
    claimed, refuted, vague = found(0.01, 0.02), found(-0.02, -0.01), found(-0.1, 0.1)
    beside = found(-0.2, -0.1, key=False)
    assert outcome_of([claimed, claimed, beside]) == "as claimed"
    assert outcome_of([claimed, refuted]) == "in part"
    assert outcome_of([claimed, vague]) == "in part"
    assert outcome_of([refuted, vague]) == "not here"
    assert outcome_of([vague, vague]) == "not resolved at this scale"
