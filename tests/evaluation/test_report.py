"""The whole evaluation as one value."""

import json

import numpy as np
import pytest

from regraft.evaluation._contract import metrics_for
from regraft.evaluation.intervals import measure_all
from regraft.evaluation.report import as_json, evaluate
from regraft.evaluation.thresholds import ByCost, Scored


def _sample(n: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, num_classes, n)
    logits = rng.normal(size=(n, num_classes)) + 1.5 * np.eye(num_classes)[targets]
    return targets, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_an_evaluation_holds_every_metric_of_the_task_and_survives_json() -> None:
    targets, probabilities = _sample(80, 3)
    found = evaluate(targets, probabilities, ["x", "y", "z"], seed=4)
    assert found.metrics == measure_all(metrics_for("classification", 3), targets, probabilities, seed=4)
    assert sum(map(sum, found.confusion)) == found.num_examples == 80
    assert [one.name for one in found.per_class] == ["x", "y", "z"]
    assert (found.operating_points, found.positive_class, found.num_groups, found.notes) == ((), None, None, ())
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["metrics"]["accuracy"]["value"] == found.metrics["accuracy"].value
    assert plain["per_class"][1]["recall"]["method"] == "wilson"


def test_two_classes_have_thresholds_chosen_elsewhere_or_a_note() -> None:
    targets, probabilities = _sample(80, 2)
    without = evaluate(targets, probabilities, ["well", "ill"])
    assert without.operating_points == ()
    assert without.notes == ("No thresholds: there are no validation or out-of-fold probabilities to choose them on.",)
    chosen_targets, chosen = _sample(100, 2, seed=1)
    on = Scored(positive=chosen_targets == 1, scores=chosen[:, 1])
    found = evaluate(
        targets, probabilities, ["well", "ill"], chosen_on=on, rules=[ByCost(false_positive=1, false_negative=2)]
    )
    assert found.positive_class == "ill"
    assert [point.rule for point in found.operating_points] == [
        "lowest cost, 1 a false positive and 2 a false negative"
    ]
    assert found.notes == ()


def test_too_few_groups_are_said_once_for_all() -> None:
    targets, probabilities = _sample(60, 3)
    found = evaluate(targets, probabilities, ["x", "y", "z"], groups=np.arange(60) % 5)
    assert found.num_groups == 5
    assert found.notes == ("No intervals: 60 examples, but too few groups (5 < 10).",)
    assert all(one.low is None for one in found.metrics.values())


def test_an_absent_class_is_named_and_its_numbers_are_null() -> None:
    targets, probabilities = _sample(60, 3)
    found = evaluate(np.minimum(targets, 1), probabilities, ["x", "y", "z"])
    assert found.notes == ("No example of z: averages over classes leave it out or are not defined.",)
    plain = found.to_json()
    assert isinstance(plain, dict)
    assert plain["metrics"]["auroc"]["value"] is None  # type: ignore[index,call-overload]


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no JSON form"):
        as_json({"a": {1}})
