"""The confusion matrix and its classes."""

import numpy as np
import pytest
from sklearn import metrics as reference

from regraft.evaluation.intervals import Statistic, bootstrap, wilson
from regraft.evaluation.metrics._common import class_scores, confusion_matrix, most_confused

CLASSES = ("ant", "bee", "cat", "dog")


def _sample(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, n)
    return targets, np.where(rng.random(n) < 0.6, targets, rng.integers(0, 4, n))


def test_the_matrix_equals_scikit_learns() -> None:
    targets, predicted = _sample()
    assert (confusion_matrix(targets, predicted, 4) == reference.confusion_matrix(targets, predicted)).all()


def test_scores_by_class_equal_scikit_learns() -> None:
    targets, predicted = _sample()
    precision, recall, f1, support = reference.precision_recall_fscore_support(targets, predicted)
    for label, one in enumerate(class_scores(targets, predicted, CLASSES)):
        assert one.name == CLASSES[label]
        assert one.support == support[label]
        assert one.predicted == (predicted == label).sum()
        assert (one.precision.value, one.recall.value, one.f1.value) == pytest.approx(
            (precision[label], recall[label], f1[label])
        )


def test_recall_and_precision_have_wilsons_interval() -> None:
    targets, predicted = _sample()
    one = class_scores(targets, predicted, CLASSES)[2]
    both = int(((targets == 2) & (predicted == 2)).sum())
    assert (one.recall.low, one.recall.high) == wilson(both, one.support)
    assert (one.precision.low, one.precision.high) == wilson(both, one.predicted)


def test_the_interval_of_f1_is_close_to_its_bootstrap() -> None:
    targets, predicted = _sample(600)
    one = class_scores(targets, predicted, CLASSES)[1].f1
    right, total = (targets == 1) & (predicted == 1), (targets == 1).astype(float) + (predicted == 1)
    resampled = bootstrap({"f1": Statistic(of_weights=lambda w: 2 * (w @ right) / (w @ total))}, 600)["f1"]
    assert one.value == pytest.approx(resampled.value)
    assert (one.low, one.high) == pytest.approx((resampled.low, resampled.high), abs=0.01)


def test_groups_are_resampled_whole_or_give_no_interval() -> None:
    targets, predicted = _sample()
    by_group = class_scores(targets, predicted, CLASSES, groups=np.arange(200) // 8)[0]
    assert by_group.recall.method == by_group.f1.method == "bootstrap by group"
    few = class_scores(targets, predicted, CLASSES, groups=np.arange(200) // 40)[0]
    assert few.recall.low is None
    assert few.f1.method == "too few groups (5 < 10)"


def test_a_class_that_never_occurs_has_no_scores() -> None:
    one = class_scores(np.array([0, 1]), np.array([0, 1]), ("a", "b", "c"))[2]
    assert (one.support, one.predicted) == (0, 0)
    assert np.isnan([one.recall.value, one.precision.value, one.f1.value]).all()


def test_the_most_frequent_mistakes_come_first() -> None:
    matrix = np.array([[5, 3, 0], [1, 9, 3], [0, 0, 4]])
    found = [(m.actual, m.predicted, m.count, round(m.share, 3)) for m in most_confused(matrix, ("a", "b", "c"))]
    assert found == [("a", "b", 3, 0.375), ("b", "c", 3, 0.231), ("b", "a", 1, 0.077)]
    assert [m.count for m in most_confused(matrix, ("a", "b", "c"), limit=1)] == [3]
    assert most_confused(np.diag([3, 4]), ("a", "b")) == ()
