"""Temperature scaling, and how far stated confidence is from observed accuracy.

Letters in shapes: n examples, c classes, q predictions per example.

One number divides all logits: it changes no label and no ranking of classes within an example. It is fitted on
out-of-fold logits and kept only if it lowers the log loss of examples it was not fitted on.

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
"""Intervals of equal width that confidences are put in."""
_SMALL = 500
"""Below this many examples a failure to improve is put down to their number (our choice; DESIGN promise 7)."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The temperature to divide logits by, and why; figures are NaN where none was fitted."""

    temperature: float
    """1 when no temperature is kept; above 1 softens."""
    kept: bool
    """Whether a fitted temperature is used."""
    reason: str
    """Why, in one sentence; `uncalibrated, …` when it is not kept."""
    num_examples: int = 0
    """Out-of-fold examples it rests on."""
    log_loss_before: float = nan
    """Mean log loss of the logits as they are, in nats."""
    log_loss_after: float = nan
    """Mean log loss of every example under the temperature fitted without its fold, in nats."""
    ece_before: float = nan
    """Expected calibration error of the logits as they are."""
    ece_after: float = nan
    """The same under the temperature fitted without the example's fold."""
    ece_reference: float = nan
    """What a perfectly calibrated model with these confidences would score on so few examples, on average."""


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The predictions, one per example or one per label of an example, whose confidence lies in (low, high]."""

    low: float
    """Lower end of the confidence."""
    high: float
    """Upper end of the confidence."""
    num_examples: int
    """How many predictions there are; bins without any are left out."""
    confidence: float
    """Their mean confidence."""
    accuracy: Measured
    """The share of them that is right; of labels, the share whose example has the label."""


def calibrate(
    logits: Float[np.ndarray, "n c"],
    targets: Int[np.ndarray, " n"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> Calibration:
    """Fit a temperature on out-of-fold logits, and keep it if it lowers cross-validated log loss.

    The log loss is cross-validated over five grouped, stratified folds drawn from `seed`. A temperature at the edge of
    its range (no mistake to learn from, say) is never kept.

    Raises:
        BadData: fewer than two examples or groups.
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
        reason = f"uncalibrated, no mistake among {n} out-of-fold predictions to learn from"
    elif temperature in RANGE:
        reason = f"uncalibrated, the best temperature is beyond {temperature:g}: the logits say nothing reliable"
    elif after < before:
        kept, reason = True, f"temperature {temperature:.3f} lowers the {change}"
    else:
        reason = ("uncalibrated, n too small" if n < _SMALL else "uncalibrated, no temperature helps") + f" ({change})"
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
    """The calibration error that a perfectly calibrated model with these confidences shows, on average of draws.

    A finite sample overstates the error, so a measured one means something only beside this. Each draw makes every
    prediction right with the probability it states, independently of all others.
    """
    rng = np.random.default_rng(derive_seed(seed, "calibrated reference"))
    of_bin = bin_of(confidence)
    total = 0.0
    for _ in range(num_draws):
        surplus = confidence - (rng.random(len(confidence)) < confidence)
        total += np.abs(np.bincount(of_bin, surplus)).sum() / len(confidence)
    return total / num_draws


def bin_of(confidence: Float[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
    """The bin of every confidence in [0, 1], in [0, 15); bin i is (i / 15, (i + 1) / 15]."""
    inner_edges = np.arange(1, NUM_BINS) / NUM_BINS
    return np.searchsorted(inner_edges, confidence.astype(np.float64), side="left")


def reliability(
    confidence: Float[np.ndarray, "n q"],
    right: Float[np.ndarray, "n q"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> tuple[ReliabilityBin, ...]:
    """Confidence against accuracy in the 15 bins of the calibration error, empty ones left out.

    An example has one prediction, or one per label. These are pooled; those of one example stay together when intervals
    are made.
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
