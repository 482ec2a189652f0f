"""Metrics of predicted probabilities, for classes and labels, with calibration figures; and metrics of multi-label
classification, with what a report shows by label.

Targets are classes `Int "n"` in [0, c) with probabilities `Float "n c"` that sum to 1 by row, or labels, 0 or 1 `Float
"n c"`, with a probability each; labels at 0.5 or above are predicted.

Letters in shapes: n examples, c classes or labels, q predictions per example (1, or one per label), b resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import isnan
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Shaped

from regraft.contracts.metric import Figures, Metric, Sample, Tested
from regraft.contracts.page import Block, Context, Table, worst
from regraft.evaluation.calibration import NUM_BINS, ReliabilityBin, bin_of, calibrated_reference, reliability
from regraft.evaluation.intervals import Statistic, bootstrap, num_resamples_for
from regraft.evaluation.metrics._common import (
    ClassScores,
    auroc_of,
    average_precision_of,
    columns,
    counts,
    mean,
    mean_of,
    over_labels,
    predicted_labels,
    right_if_one_class,
    safe_ratio,
    scores_of,
    share_of,
    told_of,
)
from regraft.evaluation.thresholds import BestF1, OperatingPoint, Scored, apply, choose
from regraft.values import Measured, shown

_EPS = float(np.finfo(np.float64).eps)


def log_losses(targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]) -> np.ndarray:
    """Negative log-likelihood (base e) of each target, `Float "n"`; log c for a uniform prediction.

    Labels: the mean over labels of the binary log loss; log 2 for a uniform prediction. Probabilities are clipped to
    [eps, 1 - eps] with the eps of float64, as in scikit-learn, so a certain error costs 36.04 instead of infinity.
    """
    wide = probabilities.astype(np.float64)
    given = wide[np.arange(len(targets)), targets][:, None] if targets.ndim == 1 else np.abs(targets - 1 + wide)
    return -np.log(np.clip(given, _EPS, 1 - _EPS)).mean(axis=1)


def squared_distances(targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]) -> np.ndarray:
    """Brier score: squared distance between the probabilities and the target's one-hot row, `Float "n"`.

    Summed over classes, so in [0, 2]; halved for two classes, so in [0, 1], which is the score of the second class
    alone, as in scikit-learn's brier_score_loss. Labels: the mean over labels of the binary score, in [0, 1]. Source:
    Brier 1950.
    """
    num_classes = probabilities.shape[1]
    rows = np.eye(num_classes)[targets] if targets.ndim == 1 else targets.astype(np.float64)
    together = num_classes if targets.ndim == 2 else 2 if num_classes == 2 else 1
    return ((probabilities - rows) ** 2).sum(axis=1) / together


def stated(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]
) -> tuple[Float[np.ndarray, "n q"], Float[np.ndarray, "n q"]]:
    """Return the confidence of every prediction, and 1 if it is correct: one per example, or one per label.

    The confidence of a class is the largest probability. That of a label is its probability, which is correct if the
    example has the label.
    """
    if targets.ndim == 2:
        return probabilities.astype(np.float64), targets.astype(np.float64)
    right = probabilities.argmax(axis=1) == targets
    return probabilities.max(axis=1, keepdims=True).astype(np.float64), right[:, None].astype(np.float64)


def surplus_by_bin(targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]) -> np.ndarray:
    """Return confidence minus correctness of each example by calibration bin, and its number of predictions; `Float "n
    16"`."""
    confidence, right = stated(targets, probabilities)
    surplus, of_bin = confidence - right, bin_of(confidence)
    by_bin = [np.where(of_bin == number, surplus, 0.0).sum(axis=1) for number in range(NUM_BINS)]
    return np.column_stack([*by_bin, np.full(len(surplus), float(surplus.shape[1]))])


def calibration_error(sums: Float[np.ndarray, "b 16"]) -> Float[np.ndarray, " b"]:
    """Expected calibration error: mean absolute gap between confidence and accuracy over bins, weighted by their
    predictions.

    Biased upwards for small n: compare with `calibration.calibrated_reference`, which the report shows beside it.
    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    with np.errstate(invalid="ignore"):  # of nothing it is NaN
        return np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1]


@dataclass(frozen=True, kw_only=True)
class ProbabilityFigures(Figures):
    """Calibration of predicted probabilities."""

    reliability: tuple[ReliabilityBin, ...]
    """Accuracy by confidence."""
    ece_reference: float
    """Average calibration error of a perfectly calibrated model with these confidences and this sample size."""

    header: ClassVar[tuple[str, ...]] = ("Stated confidence", "examples", "mean confidence", "accuracy")
    """Header of the calibration table."""

    def blocks(self, of: Context) -> Iterator[Block]:
        """Return the section on calibration."""
        rows = [
            (f"{one.low:.2f} to {one.high:.2f}", str(one.num_examples), shown(one.confidence), one.accuracy.told())
            for one in self.reliability
        ]
        error = of.metrics.get("ece")
        said = (
            ""
            if error is None
            else (
                f"Expected calibration error {shown(error.value)}; a perfectly calibrated model would score about "
                f"{shown(self.ece_reference)} with this few examples."
            )
        )
        about = "How well the predicted probabilities match observed frequencies."
        yield Block("Calibration", (f"{about} {of.calibration}", Table(self.header, rows), said), ("reliability",))


def probability_fields(tested: Tested) -> dict[str, Any]:
    """Return the fields of `ProbabilityFigures`."""
    confidence, right = stated(tested.targets, tested.outputs)
    return {
        "reliability": reliability(confidence, right, **tested.how),
        "ece_reference": calibrated_reference(confidence.ravel(), seed=tested.seed),
    }


@dataclass(frozen=True, kw_only=True)
class LabelScores(ClassScores):
    """Results of one label."""

    average_precision: Measured
    """Average precision of the label; `support` / n for chance; nan without examples."""
    auroc: Measured
    """AUROC of the label; nan without positive or negative examples."""
    chosen: OperatingPoint | None
    """Performance at the threshold with the highest F1 on other examples, taken as given; None if none was chosen."""


@dataclass(frozen=True, kw_only=True)
class LabelFigures(ProbabilityFigures):
    """Results by label."""

    per_label: tuple[LabelScores, ...]
    """Results of every label."""

    header: ClassVar[tuple[str, ...]] = (
        "Stated probability",
        "predictions",
        "mean probability",
        "share with the label",
    )

    def blocks(self, of: Context) -> Iterator[Block]:
        """Return sections: metrics by label with thresholds, calibration."""
        keys = ("average_precision", "auroc", "recall", "precision", "f1")
        told = [
            (one.average_precision, (one.name, str(one.support), str(one.predicted), *told_of(one, *keys)))
            for one in self.per_label
        ]
        said, rows = worst("labels", told, "average precision")
        header: tuple[str, ...] = (
            "Label",
            "examples",
            "predicted",
            "average precision",
            "AUROC",
            "recall",
            "precision",
            "F1",
        )
        thresholds = [
            (one.name, shown(one.chosen.threshold), *told_of(one.chosen, "sensitivity", "precision"))
            for one in self.per_label
            if one.chosen
        ]
        yield Block(
            "Metrics by label",
            (
                f"Recall, precision and F1 are computed at a decision threshold of 0.5. {said}",
                Table(header, rows),
            ),
            ("labels",),
        )
        yield from super().blocks(of)
        if thresholds:
            said = "With the threshold that maximises F1 on other examples; for rare labels it is often far below 0.5:"
            header = ("Label", "threshold", "recall", "precision")
            yield Block("Decision threshold", (said, Table(header, thresholds)))

    def guess(self, of: Context) -> str:
        """Return the mean average precision of a random ranking: the mean prevalence of the labels that occur."""
        shares = [one.support / of.num_examples for one in self.per_label if one.support]
        return f"Random ranking would score {shown(sum(shares) / len(shares))}." if shares else ""


def figures_of_labels(tested: Tested) -> LabelFigures:
    """Compute results by label, and calibration."""
    absent = [name for name, count in zip(tested.names, tested.targets.sum(axis=0), strict=True) if not count]
    return LabelFigures(
        per_label=label_scores(tested.targets, tested.outputs, tested.names, held=tested.held, **tested.how),
        notes=(f"No example has {', '.join(absent)}: averages over labels omit it.",) if absent else (),
        **probability_fields(tested),
    )


def label_scores(
    targets: Float[np.ndarray, "n c"],
    probabilities: Float[np.ndarray, "n c"],
    labels: Sequence[str],
    *,
    held: Sample | None = None,
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> tuple[LabelScores, ...]:
    """Compute the results of every label: ranking metrics with bootstrap intervals; predictions at 0.5 with Wilson's,
    or by group.

    `held`: examples to choose the threshold of every label on; without them none is chosen.
    """
    actual, given = targets > 0, predicted_labels(probabilities)
    rankings = {"average_precision": average_precision_of, "auroc": auroc_of}
    ranked = bootstrap(
        {
            f"{name} {at}": Statistic(
                of_weights=partial(of_one, actual[:, at], probabilities[:, at]),
                bounds=(0.0, 1.0),
                undefined="all examples have the same value for this label",
            )
            for at in range(len(labels))
            for name, of_one in rankings.items()
        },
        len(targets),
        groups=groups,
        num_resamples=num_resamples_for(len(targets), len(labels)),
        seed=seed,
    )

    def chosen(at: int) -> OperatingPoint | None:
        if held is None:
            return None
        on = Scored(positive=held.targets[:, at] > 0, scores=held.outputs[:, at], groups=held.groups)
        tried = Scored(positive=actual[:, at], scores=probabilities[:, at], groups=groups)
        threshold = choose(BestF1(), on)
        return None if isnan(threshold) else apply(threshold, tried, rule=str(BestF1()), seed=seed)

    return tuple(
        LabelScores(
            **vars(scores_of(label, actual[:, at], given[:, at], groups=groups, seed=seed)),
            average_precision=ranked[f"average_precision {at}"],
            auroc=ranked[f"auroc {at}"],
            chosen=chosen(at),
        )
        for at, label in enumerate(labels)
    )


def wrong_labels(
    targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"]
) -> Float[np.ndarray, "n 2"]:
    """Return the number of wrongly predicted labels (missing or extra) of each example, and the number of labels."""
    wrong = (predicted_labels(probabilities) != (targets > 0)).sum(axis=1)
    return np.column_stack([wrong, np.full(len(wrong), float(targets.shape[1]))])


def all_right(targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, " n"]:
    """Return whether the predicted labels equal the example's exactly."""
    return (predicted_labels(probabilities) == (targets > 0)).all(axis=1)


def micro_f1(
    targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Micro-averaged F1 (harmonic mean of precision and recall), dominated by frequent labels.

    nan if no example has a label and none is predicted.
    """
    right, actual, predicted = (part.sum(axis=1) for part in counts(targets, probabilities, weights))
    return safe_ratio(2 * right, actual + predicted)


_of_each = partial(
    Metric,
    higher_is_better=False,
    kinds=frozenset({"classification", "multilabel", "ordinal"}),
    columns=columns,
    right=right_if_one_class,
)
_of_labels = partial(Metric, higher_is_better=True, range=(0.0, 1.0), kinds=frozenset({"multilabel"}), columns=columns)

NAMES = (
    "brier",
    "ece",
    "hamming_loss",
    "log_loss",
    "macro_auroc",
    "mean_average_precision",
    "micro_f1",
    "subset_accuracy",
)
_EVERY = (
    _of_each(name="brier", title="Brier score", range=(0.0, 2.0), **mean_of(squared_distances)),
    _of_each(
        name="ece", title="Expected calibration error", range=(0.0, 1.0), statistics=surplus_by_bin,
        value=calibration_error, interval="reflected",
    ),
    _of_each(name="log_loss", title="Log loss", range=(0.0, float("inf")), **mean_of(log_losses)),
    _of_labels(
        name="hamming_loss", title="Hamming loss", higher_is_better=False, statistics=wrong_labels, value=mean
    ),
    _of_labels(
        name="macro_auroc", title="Macro AUROC", of_sample=over_labels(auroc_of),
        undefined="no label has both positive and negative examples",
    ),
    _of_labels(
        name="mean_average_precision", title="Mean average precision", of_sample=over_labels(average_precision_of),
        main=frozenset({"multilabel"}), undefined="no example has a label", figures=figures_of_labels,
    ),
    _of_labels(name="micro_f1", title="Micro F1", of_sample=micro_f1, undefined="no example has a label"),
    _of_labels(name="subset_accuracy", title="All labels correct (subset accuracy)", **share_of(all_right)),
)  # fmt: skip
ENTRIES = {one.name: one for one in _EVERY}
