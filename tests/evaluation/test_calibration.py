"""Temperature scaling and the calibration error."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax as scipy_log_softmax

from regraft.contracts.metric import metric
from regraft.evaluation.calibration import calibrate, calibrated_reference, fit_temperature, reliability
from regraft.evaluation.metrics.probabilities import stated
from regraft.folds import folds
from regraft.identity import derive_seed
from regraft.tasks.losses import log_softmax, softmax


def _logits(n: int, temperature: float, seed: int = 0, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is exactly right once they are divided by `temperature`."""
    rng = np.random.default_rng(seed)
    right = rng.normal(size=(n, num_classes)) * 2
    drawn = (softmax(right).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return right * temperature, np.minimum(drawn, num_classes - 1)


def test_softmax_equals_scipy_and_survives_huge_logits() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 5)) * 30
    np.testing.assert_allclose(log_softmax(logits), scipy_log_softmax(logits, axis=1), atol=1e-12)
    assert softmax(np.array([[1e30, 0.0]], dtype=np.float32)).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_one_with_the_lowest_log_loss(temperature: float) -> None:
    logits, targets = _logits(300, temperature)

    def loss(log_t: float) -> float:
        return float(-scipy_log_softmax(logits / np.exp(log_t), axis=1)[np.arange(300), targets].mean())

    known = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}).x)
    assert fit_temperature(logits, targets) == pytest.approx(known, rel=1e-6)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.2)


def test_the_temperature_stays_in_its_range() -> None:
    targets = np.arange(30) % 3
    assert fit_temperature(np.eye(3)[targets], targets) == 0.05
    assert fit_temperature(np.eye(3)[(targets + 1) % 3], targets) == 20.0
    assert fit_temperature(np.zeros((30, 3)), targets) == 1.0


def test_scaling_the_logits_scales_the_temperature() -> None:
    logits, targets = _logits(200, 1.0)
    assert fit_temperature(logits * 3, targets) == pytest.approx(3 * fit_temperature(logits, targets), rel=1e-9)


def test_overconfident_logits_are_softened() -> None:
    logits, targets = _logits(400, 3.0)
    found = calibrate(logits, targets)
    assert found.kept
    assert found.temperature == fit_temperature(logits, targets)
    assert found.log_loss_after < found.log_loss_before
    assert found.ece_after < found.ece_before
    assert found.log_loss_before == pytest.approx(metric("log_loss").compute(targets, softmax(logits)))


def test_a_temperature_that_does_not_help_unseen_examples_is_dropped() -> None:
    results = [calibrate(*_logits(25, 1.0, seed)) for seed in range(40)]
    dropped = [found for found in results if not found.kept]
    assert 10 < len(dropped) < 40
    for found in results:
        assert found.kept == (found.log_loss_after < found.log_loss_before)
    for found in dropped:
        assert found.temperature == 1.0
        assert found.reason.startswith("uncalibrated: n too small (cross-validated log loss ")


def test_without_a_mistake_nothing_is_learned() -> None:
    targets = np.arange(60) % 3
    found = calibrate(np.eye(3)[targets] * 2, targets)
    assert (found.kept, found.temperature) == (False, 1.0)
    assert found.reason == "uncalibrated: no mistakes among 60 out-of-fold predictions to learn from"


def test_logits_that_say_nothing_are_not_scaled_away() -> None:
    targets = np.arange(60) % 3
    found = calibrate(np.eye(3)[(targets + 1) % 3], targets)
    assert not found.kept
    assert "exceeds 20" in found.reason


def test_each_example_is_cooled_by_a_temperature_fitted_without_its_group() -> None:
    logits, targets = _logits(60, 1.5)
    groups = np.arange(60) // 3
    default, grouped = calibrate(logits, targets), calibrate(logits, targets, groups=groups)
    assert default.log_loss_after != grouped.log_loss_after
    dealt, by_hand = folds(targets, groups, 5, derive_seed(0, "calibration")).of_example, np.empty(60)
    for fold in range(5):
        inside = dealt == fold
        cooled = logits[inside] / fit_temperature(logits[~inside], targets[~inside])
        by_hand[inside] = -scipy_log_softmax(cooled, axis=1)[np.arange(inside.sum()), targets[inside]]
    assert grouped.log_loss_after == pytest.approx(by_hand.mean())


def test_the_calibrated_reference_is_what_the_style_guide_measured() -> None:
    # 200 rows, two classes, confidence uniform in [0.5, 1]: 0.06 on average of 500 simulations.
    confidence = np.linspace(0.5, 1.0, 200)
    reference = calibrated_reference(confidence)
    assert reference == pytest.approx(0.06, abs=0.01)
    assert calibrated_reference(np.tile(confidence, 50), num_draws=20) < 0.015


def test_the_reliability_curve_holds_every_example_once_and_adds_up_to_the_error() -> None:
    logits, targets = _logits(300, 2.0)
    bins = reliability(*stated(targets, softmax(logits)))
    assert sum(one.num_examples for one in bins) == 300
    assert all(one.low < one.confidence <= one.high for one in bins)
    total = sum(one.num_examples * abs(one.accuracy.value - one.confidence) for one in bins) / 300
    assert total == pytest.approx(metric("ece").compute(targets, softmax(logits)))
    assert all(one.accuracy.method == "wilson" for one in bins)
