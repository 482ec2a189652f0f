"""Thresholds for two classes: chosen on one set, tried on another."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from regraft.evaluation.intervals import wilson
from regraft.evaluation.thresholds import AtSpecificity, ByCost, Scored, apply, choose, operate


def _scored(n: int, seed: int, digits: int = 2) -> Scored:
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    scores = 1 / (1 + np.exp(-rng.normal(1.5 * positive - 0.75, 1.0)))
    return Scored(positive=positive, scores=np.round(scores, digits))


@pytest.mark.parametrize("specificity", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("seed", range(4))
def test_the_chosen_threshold_is_the_best_point_of_scikit_learns_curve(specificity: float, seed: int) -> None:
    on = _scored(150, seed)
    false_rate, true_rate, _ = roc_curve(on.positive, on.scores, drop_intermediate=False)
    best = true_rate[false_rate <= 1 - specificity + 1e-12].max()
    flagged = on.scores >= choose(AtSpecificity(specificity=specificity), on)
    assert (~flagged)[~on.positive].mean() >= specificity - 1e-12
    assert flagged[on.positive].mean() == pytest.approx(best)


@pytest.mark.parametrize(("false_positive", "false_negative"), [(1, 1), (1, 10), (10, 1), (0, 1)])
def test_the_chosen_threshold_has_the_lowest_cost_of_all(false_positive: float, false_negative: float) -> None:
    on = _scored(120, 1)

    def cost(threshold: float) -> float:
        flagged = on.scores >= threshold
        return false_positive * (flagged & ~on.positive).sum() + false_negative * (~flagged & on.positive).sum()

    found = choose(ByCost(false_positive=false_positive, false_negative=false_negative), on)
    assert cost(found) == min(cost(t) for t in [*np.unique(on.scores), 2.0])


def test_a_dear_miss_lowers_the_threshold() -> None:
    on = _scored(200, 0)
    cheap, dear = (choose(ByCost(false_positive=1, false_negative=cost), on) for cost in (1, 20))
    assert dear < cheap


def test_the_threshold_lies_midway_between_the_scores_it_parts() -> None:
    on = Scored(positive=np.array([False, False, True, True]), scores=np.array([0.1, 0.3, 0.5, 0.9]))
    assert choose(AtSpecificity(specificity=0.9), on) == pytest.approx(0.4 / 2 + 0.4 / 2)
    assert choose(ByCost(false_positive=1, false_negative=1), on) == pytest.approx(0.4)


def test_nothing_is_flagged_when_every_score_is_the_same() -> None:
    on = Scored(positive=np.arange(10) < 5, scores=np.full(10, 0.5))
    assert choose(AtSpecificity(specificity=0.9), on) > 0.5


def test_a_given_threshold_has_wilson_intervals() -> None:
    on = _scored(100, 0)
    found = apply(0.5, on)
    flagged = on.scores >= 0.5
    hits, positives = int((flagged & on.positive).sum()), int(on.positive.sum())
    assert found.sensitivity.value == hits / positives
    assert (found.sensitivity.low, found.sensitivity.high) == wilson(hits, positives)
    assert found.specificity.value == (~flagged & ~on.positive).sum() / (~on.positive).sum()
    assert found.precision.value == hits / flagged.sum()


def test_the_choice_on_a_small_set_widens_the_interval() -> None:
    tried = _scored(400, 1)
    rule = AtSpecificity(specificity=0.9)
    found = operate(rule, _scored(60, 2), tried)
    fixed = apply(found.threshold, tried)
    assert found.sensitivity.value == fixed.sensitivity.value
    assert found.sensitivity.high is not None
    assert found.sensitivity.low is not None
    assert fixed.sensitivity.high is not None
    assert fixed.sensitivity.low is not None
    wider = (found.sensitivity.high - found.sensitivity.low) / (fixed.sensitivity.high - fixed.sensitivity.low)
    assert wider > 1.5
    assert found.rule == "specificity of at least 0.9"


def test_labels_of_the_tried_examples_do_not_move_the_threshold() -> None:
    chosen_on, tried = _scored(100, 0), _scored(100, 1)
    swapped = Scored(positive=~tried.positive, scores=tried.scores)
    rule = ByCost(false_positive=1, false_negative=3)
    assert operate(rule, chosen_on, tried).threshold == operate(rule, chosen_on, swapped).threshold


def test_cost_is_told_per_example_with_an_interval() -> None:
    rule, tried = ByCost(false_positive=1, false_negative=5), _scored(200, 1)
    found = operate(rule, _scored(200, 0), tried)
    flagged = tried.scores >= found.threshold
    paid = (flagged & ~tried.positive).sum() + 5 * (~flagged & tried.positive).sum()
    assert found.cost is not None
    assert found.cost.value == pytest.approx(paid / 200)
    assert found.cost.low is not None
    assert found.cost.low < found.cost.value
    assert operate(AtSpecificity(specificity=0.9), _scored(50, 0), tried).cost is None


def test_a_perfect_score_falls_back_on_wilson() -> None:
    positive = np.arange(40) % 2 == 0
    perfect = Scored(positive=positive, scores=positive.astype(float))
    found = operate(AtSpecificity(specificity=0.9), perfect, perfect)
    assert (found.sensitivity.value, found.sensitivity.method) == (1.0, "wilson")
    assert found.sensitivity.low == pytest.approx(wilson(20, 20)[0])


def test_few_groups_on_either_side_give_no_interval() -> None:
    plain, other = _scored(80, 0), _scored(80, 1)
    few = Scored(positive=plain.positive, scores=plain.scores, groups=np.arange(80) % 4)
    for chosen_on, tried in ((few, other), (other, few)):
        found = operate(AtSpecificity(specificity=0.9), chosen_on, tried)
        assert found.sensitivity.low is None
        assert found.sensitivity.method == "too few groups (4 < 10)"
