"""The whole evaluation as one value."""

import json

import numpy as np
import pytest

from answers import KINDS, sample
from regraft.contracts.metric import Sample, main_metric, metrics_for
from regraft.evaluation.intervals import measure_all
from regraft.evaluation.metrics.classes import ClassFigures
from regraft.evaluation.metrics.values import ValueFigures
from regraft.evaluation.report import Evaluation, evaluate
from regraft.evaluation.thresholds import ByCost
from regraft.records import from_json, to_json


def _sample(n: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, num_classes, n)
    logits = rng.normal(size=(n, num_classes)) + 1.5 * np.eye(num_classes)[targets]
    return targets, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def _classes(found: Evaluation) -> ClassFigures:
    assert isinstance(found.figures, ClassFigures)
    return found.figures


def test_an_evaluation_holds_every_metric_of_the_task_and_survives_json() -> None:
    targets, probabilities = _sample(80, 3)
    found = evaluate(targets, probabilities, ["x", "y", "z"], seed=4)
    assert found.metrics == measure_all(metrics_for("classification", 3), targets, probabilities, seed=4)
    figures = _classes(found)
    assert sum(map(sum, figures.confusion)) == found.num_examples == 80
    assert [one.name for one in figures.per_class] == ["x", "y", "z"]
    assert (figures.operating_points, figures.positive_class, found.num_groups, found.notes) == ((), None, None, ())
    plain = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert plain["metrics"]["accuracy"]["value"] == found.metrics["accuracy"].value
    assert plain["figures"]["per_class"][1]["recall"]["method"] == "wilson"


def test_two_classes_have_thresholds_chosen_elsewhere_or_a_note() -> None:
    targets, probabilities = _sample(80, 2)
    without = evaluate(targets, probabilities, ["well", "ill"])
    assert _classes(without).operating_points == ()
    assert without.notes == ("No thresholds: no validation or out-of-fold probabilities are available to choose them.",)
    chosen_targets, chosen = _sample(100, 2, seed=1)
    held = Sample(targets=chosen_targets, outputs=chosen)
    found = evaluate(
        targets, probabilities, ["well", "ill"], held=held, rules=[ByCost(false_positive=1, false_negative=2)]
    )
    assert _classes(found).positive_class == "ill"
    assert [point.rule for point in _classes(found).operating_points] == [
        "lowest cost, 1 per false positive and 2 per false negative"
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
    assert found.notes == ("No example of z: averages over classes omit it or are undefined.",)
    plain = to_json(found)
    assert plain["metrics"]["auroc"]["value"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_of_every_kind_holds_its_metrics_and_its_own_parts(kind: str) -> None:
    targets, outputs = sample(kind, n=80)
    found = evaluate(targets, outputs, ["x", "y", "z"], kind=kind, num_resamples=200)
    assert found.metrics == measure_all(metrics_for(kind, 3), targets, outputs, num_resamples=200)
    assert (found.kind, found.main_metric, found.num_examples) == (kind, main_metric(kind).name, 80)
    plain = json.loads(json.dumps(to_json(found), allow_nan=False))
    own = {
        "classification": {"per_class", "confusion", "most_confused", "reliability", "ece_reference"},
        "ordinal": {"per_class", "confusion", "most_confused", "reliability", "ece_reference"},
        "multilabel": {"per_label", "reliability", "ece_reference"},
        "regression": {"per_target"},
    }
    assert {name for name, value in plain["figures"].items() if value} - {"notes"} == own[kind]
    assert from_json(Evaluation, plain) == found


def test_a_kind_that_is_new_has_its_metrics_only_once_one_is_its_main_one() -> None:
    targets, outputs = sample("classification")
    with pytest.raises(LookupError, match="depth"):
        evaluate(targets, outputs, ["x", "y", "z"], kind="depth", metrics={})


def test_a_regression_is_measured_against_a_prediction_that_looks_at_nothing() -> None:
    targets, outputs = sample("regression", num_outputs=1)
    found = evaluate(targets, outputs, ["price"], kind="regression", trained_on=targets[:30])
    assert isinstance(found.figures, ValueFigures)
    baseline = found.figures.baseline
    assert baseline is not None
    assert baseline.outputs == (float(np.median(targets[:30])),)
    assert list(baseline.metrics) == list(found.metrics)
    assert found.notes == ()


def test_several_targets_come_with_a_note_on_their_units() -> None:
    found = evaluate(*sample("regression", num_outputs=2), ["price", "area"], kind="regression", num_resamples=200)
    (note,) = found.notes
    assert note.startswith("The figures are unweighted means over price, area, each in its own unit")


def test_a_label_that_no_example_has_is_named() -> None:
    targets, outputs = sample("multilabel")
    found = evaluate(targets * np.float32([1, 1, 0]), outputs, ["x", "y", "z"], kind="multilabel", num_resamples=200)
    assert found.notes == ("No example has z: averages over labels omit it.",)


def test_two_ranks_have_no_thresholds_and_no_note_of_them() -> None:
    found = evaluate(*sample("ordinal", num_outputs=2), ["low", "high"], kind="ordinal", num_resamples=200)
    figures = _classes(found)
    assert (figures.operating_points, figures.positive_class, found.notes) == ((), None, ())
