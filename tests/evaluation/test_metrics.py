"""Every metric on the shelf, held to the same promises, and to scikit-learn where it has the metric."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as reference

from regraft.errors import UnknownName
from regraft.evaluation._contract import metric, metrics_for
from regraft.evaluation.intervals import measure

NAMES = list(metrics_for("classification"))


def _scores(p: np.ndarray) -> np.ndarray:
    return p[:, 1] if p.shape[1] == 2 else p


def _one_hot(t: np.ndarray, p: np.ndarray) -> np.ndarray:
    return t if p.shape[1] == 2 else np.eye(p.shape[1])[t]


def _ece_by_hand(t: np.ndarray, p: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    confidence, right, total = p.max(1), p.argmax(1) == t, 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


GOLDEN: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda t, p: reference.accuracy_score(t, p.argmax(1)),
    "balanced_accuracy": lambda t, p: reference.balanced_accuracy_score(t, p.argmax(1)),
    "macro_f1": lambda t, p: reference.f1_score(t, p.argmax(1), average="macro"),
    "auroc": lambda t, p: reference.roc_auc_score(t, _scores(p), multi_class="ovr"),
    "average_precision": lambda t, p: reference.average_precision_score(_one_hot(t, p), _scores(p)),
    "log_loss": lambda t, p: reference.log_loss(t, p, labels=list(range(p.shape[1]))),
    "brier": lambda t, p: reference.brier_score_loss(t, _scores(p)),
    "ece": _ece_by_hand,
}


def _sample(num_classes: int, n: int = 150, seed: int = 0, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities rounded so that many scores are equal."""
    rng = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, n - num_classes)])
    logits = rng.normal(size=(n, num_classes))
    logits[np.arange(n), targets] += 1
    whole = np.round(np.exp(logits) / np.exp(logits).sum(1, keepdims=True) * 10**digits) + 1
    return targets, whole / whole.sum(1, keepdims=True)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_metric_equals_the_reference_ties_included(name: str, num_classes: int) -> None:
    for seed, digits in [(0, 1), (1, 2), (2, 6)]:
        targets, probabilities = _sample(num_classes, seed=seed, digits=digits)
        assert metric(name).compute(targets, probabilities) == pytest.approx(
            GOLDEN[name](targets, probabilities), abs=1e-12
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_is_named_after_its_file_and_stays_in_its_range(name: str) -> None:
    one = metric(name)
    low, high = one.range
    assert one.name == name
    assert low < high
    for seed in range(5):
        targets, _ = _sample(3, seed=seed)
        _, unrelated = _sample(3, seed=seed + 100)
        for probabilities in (unrelated, np.eye(3)[(targets + 1) % 3]):
            assert low <= one.compute(targets, probabilities) <= high


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_scores_the_best_there_is(name: str, num_classes: int) -> None:
    targets, _ = _sample(num_classes)
    one = metric(name)
    best = one.range[1] if one.higher_is_better else one.range[0]
    assert one.compute(targets, np.eye(num_classes)[targets]) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_examples_does_not_matter(name: str) -> None:
    targets, probabilities = _sample(4)
    order = np.random.default_rng(1).permutation(len(targets))
    one = metric(name)
    assert one.compute(targets[order], probabilities[order]) == pytest.approx(
        one.compute(targets, probabilities), abs=1e-12
    )


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_weight_counts_as_that_many_copies(name: str, num_classes: int) -> None:
    targets, probabilities = _sample(num_classes, n=60)
    weights = np.random.default_rng(3).integers(0, 4, (5, 60))
    one = metric(name)
    assert one.weighted is not None
    found = one.weighted(targets, probabilities, weights.astype(np.float64))
    for row, value in zip(weights, found, strict=True):
        copies = np.repeat(np.arange(60), row)
        assert value == pytest.approx(one.compute(targets[copies], probabilities[copies]), abs=1e-12)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_the_interval_contains_the_estimate_and_stays_in_range(name: str, num_classes: int, grouped: bool) -> None:
    targets, probabilities = _sample(num_classes)
    groups = np.arange(150) // 5 if grouped else None
    found = measure(metric(name), targets, probabilities, groups=groups, seed=0)
    low, high = metric(name).range
    assert found.low is not None
    assert found.high is not None
    assert low <= found.low <= found.value <= found.high <= high
    assert found.low < found.high


@pytest.mark.parametrize("name", ["auroc", "average_precision"])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_ranking_metric_is_undefined_when_a_class_is_absent(name: str, num_classes: int) -> None:
    _, probabilities = _sample(num_classes, n=20)
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


def test_single_precision_gives_the_same_numbers() -> None:
    targets, probabilities = _sample(3, digits=6)
    for name in NAMES:
        single = metric(name).compute(targets, probabilities.astype(np.float32))
        assert single == pytest.approx(metric(name).compute(targets, probabilities), abs=1e-5)


def test_the_shelf_offers_what_fits_the_task() -> None:
    assert set(GOLDEN) <= set(metrics_for("classification", 2))
    assert "accuracy" not in metrics_for("no such kind")
    with pytest.raises(UnknownName, match="did you mean 'accuracy'"):
        metric("acuracy")


def test_the_room_loads_neither_torch_nor_scipy_nor_scikit_learn(child_env: dict[str, str]) -> None:
    program = (
        "import sys, numpy as np\n"
        "from regraft.evaluation import calibration, gap, paired, report, unlike\n"
        "rng = np.random.default_rng(0)\n"
        "t, p = rng.integers(0, 3, 30), rng.dirichlet([1, 1, 1], 30)\n"
        "report.evaluate(t, p, ['x', 'y', 'z']); calibration.calibrate(np.log(p), t); paired.compare(t, p, p)\n"
        "print(sorted({'torch', 'scipy', 'sklearn', 'PIL'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=child_env)
    assert done.stdout.strip() == "[]"
