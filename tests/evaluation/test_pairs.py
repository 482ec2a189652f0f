"""Metrics of pairs against scikit-learn, under weights of identities, and what is refused."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from regraft.contracts.example import as_records
from regraft.contracts.metric import metric
from regraft.evaluation.report import evaluate
from regraft.tasks import pairs

NONE = np.zeros((0, 2), dtype=np.int64)


def sample(seed: int, identities: int = 8, shots: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    of = np.repeat(np.arange(identities), shots)
    made = random.normal(size=(len(of), 5)) + 2 * random.normal(size=(identities, 5))[of]
    return as_records([{"identity": int(one), "pairs": NONE} for one in of]), made / np.linalg.norm(
        made, axis=1, keepdims=True
    )


def pairs_by_hand(targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    left, right = np.triu_indices(len(targets), 1)
    of = np.array([one["identity"] for one in targets])
    return left, right, of[left] == of[right], (outputs[left] * outputs[right]).sum(1)


@pytest.mark.parametrize("seed", range(5))
def test_auroc_and_rates_are_scikit_learn_s(seed: int) -> None:
    targets, outputs = sample(seed)
    _, _, same, alike = pairs_by_hand(targets, outputs)
    false, true, _ = roc_curve(same, alike, drop_intermediate=False)
    assert metric("pair_auroc").compute(targets, outputs) == pytest.approx(roc_auc_score(same, alike))
    assert metric("tar_at_far_0.1").compute(targets, outputs) == pytest.approx(true[false <= 0.1].max())
    eer = metric("eer").compute(targets, outputs)
    assert np.interp(eer, false, true) == pytest.approx(1 - eer, abs=0.02)


def test_an_identity_that_is_drawn_twice_counts_twice_and_its_pairs_with_others_four_times() -> None:
    targets, outputs = sample(1)
    left, right, same, alike = pairs_by_hand(targets, outputs)
    times = np.array([2, 1, 0, 3, 1, 1, 0, 2])[[one["identity"] for one in targets]].astype(float)
    of_pairs = np.where(same, times[left], times[left] * times[right])
    found = metric("pair_auroc").of_weights(targets, outputs)(times[None])[0]
    assert found == pytest.approx(roc_auc_score(same, alike, sample_weight=of_pairs))


def test_a_rate_with_too_few_pairs_is_refused_and_intervals_draw_identities() -> None:
    targets, outputs = sample(2, identities=11)
    found = evaluate(targets, outputs, ("a",), kind="verification", num_resamples=50)
    assert found.main_metric == "pair_auroc"
    assert found.metrics["pair_auroc"].method == "bootstrap by group"
    few = found.metrics["tar_at_far_0.01"]
    assert np.isnan(few.value)
    assert "fewer than 1,000 pairs" not in found.metrics["tar_at_far_0.1"].method
    assert (found.figures.same, found.figures.different, found.figures.given) == (66, 880, False)
    assert "fewer than 1,000 pairs" in few.method


def test_given_pairs_alone_count_and_accuracy_takes_its_threshold_from_other_folds() -> None:
    targets, outputs = sample(3)
    left, right, same, alike = pairs_by_hand(targets, outputs)
    chosen = np.concatenate([np.flatnonzero(same)[:20], np.flatnonzero(~same)[:20]])
    fold = np.arange(40) % 4
    for number, pair in enumerate(chosen):
        for at in (left[pair], right[pair]):
            targets[at]["pairs"] = np.concatenate([targets[at]["pairs"], [[fold[number], number]]])
    found = metric("pair_auroc").compute(targets, outputs)
    assert found == pytest.approx(roc_auc_score(same[chosen], alike[chosen]))
    expected = []
    for one in range(4):
        others, own = chosen[fold != one], chosen[fold == one]
        limits = np.unique(alike[chosen])[::-1]
        scores = [np.mean((alike[others] >= limit) == same[others]) for limit in limits]
        expected.append(np.mean((alike[own] >= limits[int(np.argmax(scores))]) == same[own]))
    assert metric("pair_accuracy").compute(targets, outputs) == pytest.approx(np.mean(expected))


def test_of_very_many_pairs_some_are_drawn_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MAX_PAIRS", 50)
    of = np.repeat(np.arange(10), 4)
    left, right = pairs.all_pairs(of)
    assert (len(left), int((of[left] == of[right]).sum())) == (50, 25)
    assert np.array_equal(left, pairs.all_pairs(of)[0])


def test_a_threshold_accepts_no_larger_share_than_asked_for() -> None:
    targets, outputs = sample(4, identities=20)
    _, _, same, alike = pairs_by_hand(targets, outputs)
    for rate in (0.1, 0.02):
        limit = pairs.threshold_at(alike, same, rate)
        assert np.mean(alike[~same] >= limit) <= rate
    equal = pairs.threshold_at(alike, same, None)
    assert np.mean(alike[~same] >= equal) == pytest.approx(np.mean(alike[same] < equal), abs=0.05)
