"""The arithmetic of regret on made-up rows."""

from pathlib import Path

import numpy as np
import pytest
from _kept import Kept
from _pooled import mean_of
from _regret import Setting, covered, setting_of, within
from _regret_page import page


def setting(shares: dict[str, float], num: int = 400, seconds: float = 10.0) -> Setting:
    """Recipes that are right on the first part of the test examples, in an order in which they agree."""
    random = np.random.default_rng(0)
    order = random.random(num)
    runs = [
        {"recipe": name, "seconds": seconds, "right": "".join("1" if one < share else "0" for one in order)}
        for name, share in shares.items()
    ]
    return setting_of("made up", list(range(num)), runs)


def test_the_regret_of_a_choice_is_how_much_less_often_it_is_right_than_the_best() -> None:
    found = setting({"best": 0.9, "middle": 0.8, "worst": 0.5})
    right = dict(zip(found.recipes, found.worth.mean(axis=1), strict=True))
    assert found.regret(["best"]).mean == 0
    assert found.regret(["middle"]).mean == pytest.approx(right["best"] - right["middle"])
    both = found.regret(["best", "worst"])
    assert both.values.shape == (2, 400)
    assert both.mean == pytest.approx((right["best"] - right["worst"]) / 2)
    assert found.oracle().mean == 0  # which of them is the best is plain on either half


def test_an_oracle_has_regret_where_the_test_set_does_not_tell_the_recipes_apart() -> None:
    random = np.random.default_rng(1)
    runs = [
        {"recipe": f"{at}", "seconds": 1.0, "right": "".join(random.choice(["0", "1"], size=100))} for at in range(16)
    ]
    found = setting_of("chance", list(range(100)), runs)
    assert 0.05 < found.oracle().mean < 0.3
    assert abs(found.oracle().mean - mean_of([found.regret([one]) for one in found.recipes])) < 0.06


def test_seeds_of_a_recipe_are_averaged() -> None:
    runs = [
        {"recipe": "a", "seconds": 1.0, "right": "11110000"},
        {"recipe": "a", "seconds": 3.0, "right": "00001111"},
        {"recipe": "b", "seconds": 6.0, "right": "11111111"},
    ]
    found = setting_of("seeds", list(range(8)), runs)
    assert found.worth[0].tolist() == [0.5] * 8
    assert found.seconds.tolist() == [2.0, 6.0]
    assert found.budget_s == pytest.approx(0.8)
    assert found.regret(["a"]).mean == pytest.approx(0.5)


def test_halves_divide_no_unit_and_each_example_is_judged_as_often_as_not() -> None:
    runs = [{"recipe": "a", "seconds": 1.0, "right": "10" * 20}]
    found = setting_of("units", [at // 4 for at in range(40)], runs)
    judged = np.zeros(40)
    for picked, other in found.halves():
        assert np.array_equal(picked, ~other)
        assert len(set(found.units[picked]) & set(found.units[other])) == 0
        judged += other
    assert (judged == judged[0]).all()


def test_a_random_search_with_time_for_one_recipe_has_their_mean_regret_and_with_time_for_all_none() -> None:
    shares = {f"{at}": 0.5 + 0.04 * at for at in range(10)}
    few = setting(shares)  # ten recipes of the same price: a tenth of the time is one of them
    expected = mean_of([few.regret([one]) for one in few.recipes])
    assert few.random_search().mean == pytest.approx(expected, abs=0.02)
    free = Setting(name="free", recipes=few.recipes, worth=few.worth, units=few.units,
                   seconds=np.array([0.01] * 9 + [100.0]))  # fmt: skip
    best_but_one = free.regret([few.recipes[8]]).mean
    assert free.random_search().mean == pytest.approx(best_but_one, abs=1e-9)


def test_coverage_and_factors_are_shares() -> None:
    assert covered([(0.8, 0.9), (0.5, 0.6)], [0.85, 0.7]) == 0.5
    assert within([10.0, 10.0, 10.0, 10.0], [14.9, 15.1, 6.7, 6.6]) == 0.5


def test_the_page_has_the_regret_of_every_chooser_and_how_far_predictions_held(tmp_path: Path) -> None:
    kept, where = Kept(tmp_path / "rows.jsonl"), {"name": "hymenoptera", "share": 0.2}
    kept.settle({"backbones": ["googlenet"], "strategies": ["probe", "full"], "seeds": 2, "px": 96, "machine": "M"})
    assert "Nothing was measured yet" in page(kept)
    for recipe, right, seconds in (("googlenet probe", 0.9, 10.0), ("googlenet full", 0.7, 90.0)):
        text = "".join("1" if at < right * 100 else "0" for at in range(100))
        kept.add({"kind": "run", **where, "recipe": recipe, "right": text, "seconds": seconds, "examples": 48})
    kept.add({"kind": "setting", **where, "units": list(range(100))})
    for seed, choice in enumerate(("googlenet probe", "googlenet full")):
        kept.add({"kind": "advice", **where, "seed": seed, "choice": choice, "budget_s": 10.0, "cpu_s": 12.0,
                  "predicted": {"googlenet probe": [0.85, 0.95], "googlenet full": [0.8, 0.9]},
                  "seconds": {"googlenet probe": 11.0, "googlenet full": 200.0}})  # fmt: skip
    text = page(kept)
    assert "| advise | 10.0 |  |" in text  # one of two seeds took the recipe that is 20 points worse
    assert "| oracle | 0.0 | +10.000" in text
    assert "| always full | 20.0 | -10.000" in text
    assert "| small and similar: extract, else fine-tune | 0.0 |" in text
    assert "cover 50% of 4 measured" in text
    assert "in 50% of 4 cases" in text
    assert "1.2 times its budget" in text
    assert "10.0 points, hymenoptera 0.2" in text
