"""What is made of rows, against numbers worked out by hand."""

from typing import Any

import numpy as np
import pytest

from regraft.contracts.study import Effect
from regraft.lab._arms import Cost
from regraft.lab._report import Found, found_of, outcome_of
from regraft.lab.designs import Widths
from regraft.lab.kept import packed
from regraft.values import Measured


def row(arm: str, seed: int, num_right: int, train: float = 0.8, size: int = 200) -> dict[str, Any]:
    return {"arm": arm, "size": size, "seed": seed, "right": packed(np.arange(20) < num_right), "train_accuracy": train}


def cost(parameters: int, multiply_adds: int) -> Cost:
    widths = Widths(stem=1, body=1)
    return Cost(widths=widths, parameters=parameters, side_parameters=0, multiply_adds=multiply_adds)


def only(effect: Effect, rows: list[Any], **costs: Cost) -> Found:
    (found,) = found_of([effect], rows, costs, (200, 20), None)
    return found


def test_accuracy_and_gap_are_differences_over_the_seeds_that_both_arms_have() -> None:
    rows = [row("a", 0, 15, 0.9), row("a", 1, 16, 1.0), row("b", 0, 10, 0.8), row("b", 1, 13, 0.7), row("a", 2, 20)]
    accuracy = only(Effect(name="x", measure="accuracy", plus="a", minus="b"), rows)
    gap = only(Effect(name="x", measure="gap", plus="a", minus="b"), rows)
    assert accuracy.num_seeds == gap.num_seeds == 2
    assert accuracy.difference is not None
    assert accuracy.difference.value == pytest.approx((0.25 + 0.15) / 2)
    assert gap.difference is not None
    assert gap.difference.value == pytest.approx((0.1 + 0.3) / 2 - 0.2)
    assert accuracy.resolved == "open"  # two seeds have no interval


def test_another_size_is_another_effect() -> None:
    rows = [row("a", 0, 15), row("b", 0, 10), row("a", 0, 4, size=20), row("b", 0, 8, size=20)]
    found = only(Effect(name="x", measure="accuracy", plus="a", minus="b", size=-1), rows)
    assert found.size == 20
    assert found.difference is not None
    assert found.difference.value == pytest.approx(-0.2)


def test_counted_ratios_are_exact() -> None:
    effect = Effect(name="x", measure="multiply_adds", plus="a", minus="b", above=2.0, worth=0.0)
    found = only(effect, [], a=cost(5, 1000), b=cost(5, 10))
    assert found.difference is not None
    assert found.difference.value == 100.0
    assert found.resolved == "as claimed"
    assert only(effect, [], a=cost(5, 19), b=cost(5, 10)).resolved == "not here"


def found(low: float | None, high: float | None, *, key: bool = True, **changes: Any) -> Found:
    effect = Effect(name="x", measure="accuracy", plus="a", minus="b", key=key, **changes)
    value = 0.0 if low is None or high is None else (low + high) / 2
    return Found(effect=effect, size=200, difference=Measured(value=value, low=low, high=high), num_seeds=3)


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
