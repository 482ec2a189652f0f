"""Labels one by one."""

import numpy as np
import pytest
from sklearn import metrics as reference

from answers import sample
from regraft.contracts.metric import Sample
from regraft.evaluation.calibration import reliability
from regraft.evaluation.intervals import wilson
from regraft.evaluation.metrics.probabilities import label_scores, stated

LABELS = ("sun", "sea", "sand")


def test_every_label_has_the_numbers_that_scikit_learn_gives_it() -> None:
    targets, probabilities = sample("multilabel", digits=6)
    for at, found in enumerate(label_scores(targets, probabilities, LABELS)):
        actual, scores = targets[:, at], probabilities[:, at]
        given = scores >= 0.5
        assert (found.name, found.support, found.predicted) == (LABELS[at], actual.sum(), given.sum())
        for ours, known in [
            (found.average_precision, reference.average_precision_score(actual, scores)),
            (found.auroc, reference.roc_auc_score(actual, scores)),
            (found.recall, reference.recall_score(actual, given)),
            (found.precision, reference.precision_score(actual, given)),
            (found.f1, reference.f1_score(actual, given)),
        ]:
            assert ours.value == pytest.approx(known)
            assert ours.low is not None
            assert ours.high is not None
            assert ours.low < ours.value < ours.high
        assert (found.recall.low, found.recall.high) == wilson(float((given * actual).sum()), int(actual.sum()))
        assert found.auroc.method == "bootstrap"


def test_a_label_that_no_example_has_is_not_defined_and_says_so() -> None:
    targets, probabilities = sample("multilabel")
    absent = label_scores(targets * np.float32([1, 0, 1]), probabilities * [1, 0, 1], LABELS)[1]
    assert (absent.support, absent.predicted) == (0, 0)
    for one in (absent.average_precision, absent.auroc, absent.recall, absent.precision, absent.f1):
        assert np.isnan(one.value)
        assert one.low is None
    assert absent.auroc.method == "undefined: all examples have the same value for this label"


def test_the_threshold_of_a_label_is_chosen_on_other_examples_for_its_f1() -> None:
    targets, probabilities = sample("multilabel", digits=6)
    others, their = sample("multilabel", seed=4, digits=6)
    for at, found in enumerate(
        label_scores(targets, probabilities, LABELS, held=Sample(targets=others, outputs=their))
    ):
        assert found.chosen is not None
        threshold = found.chosen.threshold
        best = max(reference.f1_score(others[:, at], their[:, at] >= score) for score in their[:, at])
        assert reference.f1_score(others[:, at], their[:, at] >= threshold) == pytest.approx(best)
        given = probabilities[:, at] >= threshold
        assert found.chosen.sensitivity.value == pytest.approx(reference.recall_score(targets[:, at], given))
        assert found.chosen.precision.value == pytest.approx(reference.precision_score(targets[:, at], given))
    none = Sample(targets=np.zeros((20, 3)), outputs=np.tile(np.linspace(0, 1, 20)[:, None], 3))
    assert [one.chosen for one in label_scores(targets, probabilities, LABELS, held=none)] == [None] * 3


def test_intervals_of_labels_are_by_group_where_there_are_groups() -> None:
    targets, probabilities = (np.repeat(part, 4, axis=0) for part in sample("multilabel", n=60))
    grouped = label_scores(targets, probabilities, LABELS, groups=np.arange(240) // 4)[0]
    apart = label_scores(targets, probabilities, LABELS)[0]
    assert grouped.auroc.method == grouped.recall.method == "bootstrap by group"
    for one, other in ((grouped.auroc, apart.auroc), (grouped.recall, apart.recall)):
        assert one.high is not None
        assert one.low is not None
        assert other.high is not None
        assert other.low is not None
        assert one.high - one.low > 1.4 * (other.high - other.low)  # copies are no evidence: about twice as wide


def test_reliability_pools_the_labels_and_keeps_those_of_an_example_together() -> None:
    targets, probabilities = sample("multilabel", digits=6)
    bins = reliability(*stated(targets, probabilities))
    assert sum(one.num_examples for one in bins) == targets.size
    assert sum(one.num_examples * one.accuracy.value for one in bins) == pytest.approx(targets.sum())
    assert sum(one.num_examples * one.confidence for one in bins) == pytest.approx(probabilities.sum())
    same = np.repeat(probabilities[:, :1], 3, axis=1), np.repeat(targets[:, :1], 3, axis=1)
    of_one, of_copies = reliability(probabilities[:, :1], targets[:, :1]), reliability(*same)
    largest = int(np.argmax([one.num_examples * (0 < one.accuracy.value < 1) for one in of_one]))
    one, copies = of_one[largest].accuracy, of_copies[largest].accuracy
    assert copies.method == "bootstrap by group"
    assert one.high is not None
    assert one.low is not None
    assert copies.high is not None
    assert copies.low is not None
    assert copies.high - copies.low == pytest.approx(one.high - one.low, rel=0.3)
