"""Temperature scaling, and the calibration of predicted probabilities.

Letters in shapes: n examples, c classes, q predictions per example.

A single temperature divides all logits; it changes no label and no ranking of classes within an example. It is fitted
on out-of-fold logits and kept only if it lowers the log loss of examples it was not fitted on.

Source: Guo et al. 2017, arXiv:1706.04599.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.contracts.metric import metric
from regraft.evaluation.intervals import share
from regraft.folds import folds as deal
from regraft.identity import derive_seed
from regraft.tasks.losses import RANGE, fit_temperature, log_losses, softmax
from regraft.values import Measured

NUM_BINS = 15
"""Number of equal-width confidence bins."""
_SMALL = 500
"""Below this number of examples, a failure to improve is attributed to the small sample (our choice)."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The temperature to divide logits by, and the reason; figures are NaN if none was fitted."""

    temperature: float
    """1 if no temperature is kept; above 1 makes predictions less confident."""
    kept: bool
    """Whether a fitted temperature is used."""
    reason: str
    """The reason, in one sentence; `uncalibrated, …` if not kept."""
    num_examples: int = 0
    """Number of out-of-fold examples it was fitted on."""
    log_loss_before: float = nan
    """Mean log loss of the uncalibrated logits, in nats."""
    log_loss_after: float = nan
    """Cross-validated mean log loss with the temperature, in nats."""
    ece_before: float = nan
    """Expected calibration error of the uncalibrated logits."""
    ece_after: float = nan
    """Cross-validated expected calibration error with the temperature."""
    ece_reference: float = nan
    """Average expected calibration error of a perfectly calibrated model with these confidences and this sample
    size."""


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Predictions (one per example, or one per label of an example) with a confidence in (low, high]."""

    low: float
    """Lower end of the bin."""
    high: float
    """Upper end of the bin."""
    num_examples: int
    """Number of predictions; empty bins are omitted."""
    confidence: float
    """Their mean confidence."""
    accuracy: Measured
    """Share of correct predictions; for labels, the share whose example has the label."""


def calibrate(
    logits: Float[np.ndarray, "n c"],
    targets: Int[np.ndarray, " n"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> Calibration:
    """Fit a temperature on out-of-fold logits, and keep it if it lowers the cross-validated log loss.

    The log loss is cross-validated over five grouped, stratified folds drawn from `seed`. A temperature at the edge of
    its range (if there are no errors to learn from, say) is never kept.

    Raises:
        BadData: there are fewer than two examples or groups.
    """
    folds = deal(targets, groups, 5, derive_seed(seed, "calibration")).of_example
    cooled = logits.astype(np.float64)
    for fold in np.unique(folds):
        inside = folds == fold
        cooled[inside] /= fit_temperature(logits[~inside], targets[~inside])
    before, after = _log_loss(logits, targets), _log_loss(cooled, targets)
    temperature = fit_temperature(logits, targets)

    n, change = len(targets), f"cross-validated log loss {before:.4f} → {after:.4f}, n = {len(targets)}"
    kept = False
    if (logits.argmax(axis=1) == targets).all():
        reason = f"uncalibrated: no mistakes among {n} out-of-fold predictions to learn from"
    elif temperature in RANGE:
        reason = f"uncalibrated: the optimal temperature exceeds {temperature:g}, so the logits are unreliable"
    elif after < before:
        kept, reason = True, f"temperature {temperature:.3f} lowers the {change}"
    else:
        reason = ("uncalibrated: n too small" if n < _SMALL else "uncalibrated: no temperature helps") + f" ({change})"
    ece = metric("ece")
    probabilities = softmax(logits)
    return Calibration(
        temperature=temperature if kept else 1.0,
        kept=kept,
        reason=reason,
        num_examples=n,
        log_loss_before=before,
        log_loss_after=after,
        ece_before=ece.compute(targets, probabilities),
        ece_after=ece.compute(targets, softmax(cooled)),
        ece_reference=calibrated_reference(probabilities.max(axis=1), seed=seed),
    )


def calibrated_reference(confidence: Float[np.ndarray, " q"], *, num_draws: int = 200, seed: int = 0) -> float:
    """Return the average calibration error of a perfectly calibrated model with these confidences.

    Finite samples overstate the error, so a measured value should be compared with this. Each draw makes every
    prediction correct with the predicted probability, independently.
    """
    rng = np.random.default_rng(derive_seed(seed, "calibrated reference"))
    of_bin = bin_of(confidence)
    total = 0.0
    for _ in range(num_draws):
        surplus = confidence - (rng.random(len(confidence)) < confidence)
        total += np.abs(np.bincount(of_bin, surplus)).sum() / len(confidence)
    return total / num_draws


def bin_of(confidence: Float[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
    """Return the bin of every confidence in [0, 1], in [0, 15); bin i is (i / 15, (i + 1) / 15]."""
    inner_edges = np.arange(1, NUM_BINS) / NUM_BINS
    return np.searchsorted(inner_edges, confidence.astype(np.float64), side="left")


def reliability(
    confidence: Float[np.ndarray, "n q"],
    right: Float[np.ndarray, "n q"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> tuple[ReliabilityBin, ...]:
    """Return confidence against accuracy in the 15 bins of the calibration error, omitting empty ones.

    An example has one prediction, or one per label; these are pooled, and those of one example are resampled together.
    """
    if right.shape[1] > 1:
        groups = np.repeat(np.arange(len(right)) if groups is None else groups, right.shape[1])
    pooled, hits = confidence.ravel(), right.ravel() > 0
    of_bin = bin_of(pooled)
    return tuple(
        ReliabilityBin(
            low=number / NUM_BINS,
            high=(number + 1) / NUM_BINS,
            num_examples=int((of_bin == number).sum()),
            confidence=float(pooled[of_bin == number].mean()),
            accuracy=share(hits, of_bin == number, groups=groups, seed=seed),
        )
        for number in np.unique(of_bin).tolist()
    )


def _log_loss(logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, " n"]) -> float:
    return float(log_losses(logits, targets).mean())
