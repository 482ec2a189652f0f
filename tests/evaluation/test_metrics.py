"""Every metric on the shelf, held to the same promises, and to scikit-learn where it has the metric."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
from sklearn import metrics as reference

from answers import KINDS, perfect, sample, wrong
from regraft.contracts.metric import main_metric, metric, metrics_for
from regraft.errors import UnknownName
from regraft.evaluation.intervals import measure


def _scores(p: np.ndarray) -> np.ndarray:
    return p[:, 1] if p.shape[1] == 2 else p


def _one_hot(t: np.ndarray, p: np.ndarray) -> np.ndarray:
    return t if p.shape[1] == 2 else np.eye(p.shape[1])[t]


def _ece_by_hand(t: np.ndarray, p: np.ndarray) -> float:
    return _ece_of(p.max(1), p.argmax(1) == t)


def _ece_of(confidence: np.ndarray, right: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    total = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def _labels(p: np.ndarray) -> np.ndarray:
    return (p >= 0.5).astype(int)


def _mean(of_label: Callable[[np.ndarray, np.ndarray], float], t: np.ndarray, p: np.ndarray) -> float:
    return float(np.mean([of_label(t[:, at], p[:, at]) for at in range(t.shape[1])]))


Reference = Callable[[np.ndarray, np.ndarray], float]

OF_CLASSES: dict[str, Reference] = {
    "accuracy": lambda t, p: reference.accuracy_score(t, p.argmax(1)),
    "balanced_accuracy": lambda t, p: reference.balanced_accuracy_score(t, p.argmax(1)),
    "macro_f1": lambda t, p: reference.f1_score(t, p.argmax(1), average="macro"),
    "log_loss": lambda t, p: reference.log_loss(t, p, labels=list(range(p.shape[1]))),
    "brier": lambda t, p: reference.brier_score_loss(t, _scores(p)),
    "ece": _ece_by_hand,
}

GOLDEN: dict[str, dict[str, Reference]] = {
    "classification": OF_CLASSES
    | {
        "auroc": lambda t, p: reference.roc_auc_score(t, _scores(p), multi_class="ovr"),
        "average_precision": lambda t, p: reference.average_precision_score(_one_hot(t, p), _scores(p)),
    },
    "ordinal": OF_CLASSES
    | {
        "rank_mae": lambda t, p: reference.mean_absolute_error(t, p.argmax(1)),
        "quadratic_weighted_kappa": lambda t, p: reference.cohen_kappa_score(t, p.argmax(1), weights="quadratic"),
        "within_one": lambda t, p: reference.accuracy_score(np.abs(t - p.argmax(1)) <= 1, np.ones(len(t), dtype=bool)),
    },
    "multilabel": {
        "mean_average_precision": lambda t, p: reference.average_precision_score(t, p, average="macro"),
        "macro_auroc": lambda t, p: reference.roc_auc_score(t, p, average="macro"),
        "micro_f1": lambda t, p: reference.f1_score(t, _labels(p), average="micro"),
        "macro_f1": lambda t, p: reference.f1_score(t, _labels(p), average="macro"),
        "hamming_loss": lambda t, p: reference.hamming_loss(t, _labels(p)),
        "subset_accuracy": lambda t, p: reference.accuracy_score(t, _labels(p)),
        "log_loss": lambda t, p: _mean(lambda one, q: reference.log_loss(one, q, labels=[0, 1]), t, p),
        "brier": lambda t, p: _mean(reference.brier_score_loss, t, p),
        "ece": lambda t, p: _ece_of(p.ravel(), t.ravel() > 0),
    },
    "regression": {
        "mae": reference.mean_absolute_error,
        "rmse": reference.root_mean_squared_error,
        "r2": reference.r2_score,
        "median_absolute_error": reference.median_absolute_error,
    },
}

EVERY = [(kind, name) for kind in KINDS for name in metrics_for(kind)]


@pytest.mark.parametrize("num_outputs", [2, 3, 7])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, known in GOLDEN.items() for name in sorted(known)])
def test_a_metric_equals_the_reference_ties_included(kind: str, name: str, num_outputs: int) -> None:
    for seed, digits in [(0, 1), (1, 2), (2, 6)]:
        targets, outputs = sample(kind, num_outputs=num_outputs, seed=seed, digits=digits)
        assert metric(name).compute(targets, outputs) == pytest.approx(
            GOLDEN[kind][name](targets, outputs), rel=1e-12, abs=1e-12
        )


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_metric_has_the_name_of_its_entry_and_stays_in_its_range(kind: str, name: str) -> None:
    one = metric(name)
    low, high = one.range
    assert one.name == name
    assert low < high
    for seed in range(5):
        targets, _ = sample(kind, seed=seed)
        _, unrelated = sample(kind, seed=seed + 100)
        for outputs in (unrelated, wrong(kind, targets, 3)):
            assert low <= one.compute(targets, outputs) <= high


@pytest.mark.parametrize("num_outputs", [2, 5])
@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_perfect_prediction_scores_the_best_there_is(kind: str, name: str, num_outputs: int) -> None:
    targets, _ = sample(kind, num_outputs=num_outputs)
    one = metric(name)
    best = one.range[1] if one.higher_is_better else one.range[0]
    assert one.compute(targets, perfect(kind, targets, num_outputs)) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_order_of_the_examples_does_not_matter(kind: str, name: str) -> None:
    targets, outputs = sample(kind, num_outputs=4)
    order = np.random.default_rng(1).permutation(len(targets))
    one = metric(name)
    assert one.compute(targets[order], outputs[order]) == pytest.approx(
        one.compute(targets, outputs), rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("num_outputs", [2, 3])
@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_weight_counts_as_that_many_copies(kind: str, name: str, num_outputs: int) -> None:
    targets, outputs = sample(kind, n=60, num_outputs=num_outputs)
    weights = np.random.default_rng(3).integers(0, 4, (5, 60))
    one = metric(name)
    found = one.of_weights(targets, outputs)(weights.astype(np.float64))
    for row, value in zip(weights, found, strict=True):
        copies = np.repeat(np.arange(60), row)
        assert value == pytest.approx(one.compute(targets[copies], outputs[copies]), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("num_outputs", [2, 4])
@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_interval_contains_the_estimate_and_stays_in_range(
    kind: str, name: str, num_outputs: int, grouped: bool
) -> None:
    if (name, num_outputs) == ("within_one", 2):
        num_outputs = 3  # of two ranks every answer is within one
    targets, outputs = sample(kind, num_outputs=num_outputs)
    groups = np.arange(150) // 5 if grouped else None
    found = measure(metric(name), targets, outputs, groups=groups, seed=0)
    low, high = metric(name).range
    assert found.low is not None
    assert found.high is not None
    assert low <= found.low <= found.value <= found.high <= high
    assert found.low < found.high


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_task_has_one_main_metric_and_it_comes_first(kind: str) -> None:
    fitting = metrics_for(kind)
    assert [name for name, one in fitting.items() if kind in one.main] == [main_metric(kind).name] == [*fitting][:1]


def test_what_a_kind_cannot_define_is_undefined_with_its_reason() -> None:
    constant, nothing = np.full((20, 1), 0.1), np.zeros((20, 3))
    for name, targets, outputs, why in [
        ("r2", constant, constant + 1, "the targets are constant"),
        ("mean_average_precision", nothing, nothing + 0.2, "no example has a label"),
        ("macro_auroc", nothing, nothing + 0.2, "no label has both positive and negative examples"),
        ("micro_f1", nothing, nothing, "no example has a label"),
        ("quadratic_weighted_kappa", np.zeros(20, dtype=int), np.eye(3)[np.zeros(20, dtype=int)], "of one class"),
    ]:
        found = measure(metric(name), targets, outputs)
        assert np.isnan(found.value)
        assert found.low is None
        assert found.method.startswith("undefined: ")
        assert why in found.method


def test_a_label_that_no_example_has_is_left_out_of_the_averages() -> None:
    targets, outputs = sample("multilabel", num_outputs=3)
    some, with_absent = [targets[:, :2], outputs[:, :2]], [targets * [1, 1, 0], outputs]
    for name in ("mean_average_precision", "macro_auroc"):
        assert metric(name).compute(*with_absent) == pytest.approx(metric(name).compute(*some))
    predicted_never = [with_absent[0], outputs * [1, 1, 0]]
    assert metric("macro_f1").compute(*predicted_never) == pytest.approx(
        reference.f1_score(targets * [1, 1, 0], _labels(predicted_never[1]), average="macro", zero_division=np.nan)
    )


def test_r2_has_no_lower_bound() -> None:
    targets = np.array([[0.0], [1.0]])
    assert metric("r2").compute(targets, targets - 1000) == pytest.approx(reference.r2_score(targets, targets - 1000))


@pytest.mark.parametrize("name", ["auroc", "average_precision"])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_ranking_metric_is_undefined_when_a_class_is_absent(name: str, num_classes: int) -> None:
    _, probabilities = sample("classification", 20, num_classes)
    targets = np.zeros(20, dtype=int)
    found = measure(metric(name), targets, probabilities)
    assert np.isnan(found.value)
    assert found.low is None
    assert "undefined" in found.method


def test_averages_over_classes_leave_out_an_absent_class_as_scikit_learn_does() -> None:
    targets, predicted = np.array([0, 0, 2, 2]), np.eye(4)[[0, 2, 2, 2]]
    assert metric("balanced_accuracy").compute(targets, predicted) == pytest.approx(0.75)
    assert metric("macro_f1").compute(targets, predicted) == pytest.approx(
        reference.f1_score(targets, predicted.argmax(1), average="macro")
    )


def test_a_certain_mistake_costs_a_finite_log_loss() -> None:
    assert metric("log_loss").compute(np.array([1]), np.array([[1.0, 0.0]])) == pytest.approx(36.0437, abs=1e-4)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_single_precision_gives_the_same_numbers(kind: str, name: str) -> None:
    targets, outputs = sample(kind, digits=6)
    single = metric(name).compute(targets, outputs.astype(np.float32))
    assert single == pytest.approx(metric(name).compute(targets, outputs), abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("family", ["classes", "probabilities", "values"])
def test_a_family_lists_the_names_of_its_entries(family: str) -> None:
    module = import_module(f"regraft.evaluation.metrics.{family}")
    assert sorted(module.ENTRIES) == list(module.NAMES)
    assert [one.name for one in module.ENTRIES.values()] == list(module.ENTRIES)


def test_the_shelf_offers_what_suits_the_task() -> None:
    for kind, known in GOLDEN.items():
        assert set(known) == set(metrics_for(kind, 2))
    assert metrics_for("no such kind") == {}
    with pytest.raises(LookupError, match="no such kind"):
        main_metric("no such kind")
    with pytest.raises(UnknownName, match="did you mean 'accuracy'"):
        metric("acuracy")


def test_the_room_loads_neither_torch_nor_scipy_nor_scikit_learn(child_env: dict[str, str]) -> None:
    program = (
        "import sys, numpy as np\n"
        "from regraft.evaluation import calibration, differences, ood, report\n"
        "rng = np.random.default_rng(0)\n"
        "t, p = rng.integers(0, 3, 30), rng.dirichlet([1, 1, 1], 30)\n"
        "report.evaluate(t, p, ['x', 'y', 'z']); calibration.calibrate(np.log(p), t); differences.compare(t, p, p)\n"
        "for kind, targets in (('ordinal', t), ('multilabel', np.eye(3)[t]), ('regression', p)):\n"
        "    report.evaluate(targets, p, ['x', 'y', 'z'], kind=kind)\n"
        "print(sorted({'torch', 'scipy', 'sklearn', 'PIL'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=child_env)
    assert done.stdout.strip() == "[]"


def test_top5_accuracy_equals_scikit_learn_and_counts_earlier_classes_first_in_ties() -> None:
    targets, probabilities = sample("classification", n=400, num_outputs=30, digits=6)
    assert metric("top5_accuracy").compute(targets, probabilities) == pytest.approx(
        reference.top_k_accuracy_score(targets, probabilities, k=5, labels=range(30))
    )
    even = np.full((12, 12), 1 / 12)
    assert metric("top5_accuracy").compute(np.arange(12), even) == pytest.approx(5 / 12)


def test_top5_accuracy_is_told_from_eleven_classes_on() -> None:
    told = {count: "top5_accuracy" in metrics_for("classification", count) for count in (2, 10, 11, 393)}
    assert told == {2: False, 10: False, 11: True, 393: True}
