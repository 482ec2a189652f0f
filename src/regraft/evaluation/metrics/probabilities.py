"""Metrics of stated probabilities, for classes and labels alike, and the figures that tell how far to trust them.

Targets are classes `Int "n"` in [0, c) with probabilities `Float "n c"` that sum to 1 by row, or labels, 0 or 1
`Float "n c"`, with the probability of each.

Letters in shapes: n examples, c classes or labels, q predictions per example (1, or one per label), b resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import Figures, Metric, Tested
from regraft.contracts.page import Block, Context, Table
from regraft.evaluation.calibration import NUM_BINS, ReliabilityBin, bin_of, calibrated_reference, reliability
from regraft.evaluation.metrics._common import columns, mean, per_example, right_if_one_class
from regraft.values import shown

_EPS = float(np.finfo(np.float64).eps)


def log_losses(targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]) -> np.ndarray:
    """Negative logarithm (base e) of the probability given to each target, `Float "n"`; log c for a uniform guess.

    Labels: the mean over them, each a question with two outcomes; log 2 for a uniform guess. Probabilities are clipped
    to [eps, 1 - eps] with the eps of float64, as in scikit-learn, so one certain mistake costs 36.04, not infinity.
    """
    wide = probabilities.astype(np.float64)
    given = wide[np.arange(len(targets)), targets][:, None] if targets.ndim == 1 else np.abs(targets - 1 + wide)
    return -np.log(np.clip(given, _EPS, 1 - _EPS)).mean(axis=1)


def squared_distances(targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]) -> np.ndarray:
    """Squared distance between the probabilities and the target's one-hot row, `Float "n"`.

    Summed over classes, so in [0, 2]; halved for two classes, so in [0, 1] there, which is the score of the second
    class alone. The convention of scikit-learn's brier_score_loss. Labels: the mean over labels of each one's score
    alone, in [0, 1]. Source: Brier 1950.
    """
    num_classes = probabilities.shape[1]
    rows = np.eye(num_classes)[targets] if targets.ndim == 1 else targets.astype(np.float64)
    together = num_classes if targets.ndim == 2 else 2 if num_classes == 2 else 1
    return ((probabilities - rows) ** 2).sum(axis=1) / together


def stated(
    targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]
) -> tuple[Float[np.ndarray, "n q"], Float[np.ndarray, "n q"]]:
    """The confidence in every prediction, and 1 where it is right: one per example, or one per label.

    The confidence in a class is the largest probability. That in a label is its probability, and the prediction is
    right where the example has the label.
    """
    if targets.ndim == 2:
        return probabilities.astype(np.float64), targets.astype(np.float64)
    right = probabilities.argmax(axis=1) == targets
    return probabilities.max(axis=1, keepdims=True).astype(np.float64), right[:, None].astype(np.float64)


def surplus_by_bin(targets: Shaped[np.ndarray, "n ..."], probabilities: Float[np.ndarray, "n c"]) -> np.ndarray:
    """Confidence less rightness of each example in each of the 15 bins, and its predictions; `Float "n 16"`."""
    confidence, right = stated(targets, probabilities)
    surplus, of_bin = confidence - right, bin_of(confidence)
    by_bin = [np.where(of_bin == number, surplus, 0.0).sum(axis=1) for number in range(NUM_BINS)]
    return np.column_stack([*by_bin, np.full(len(surplus), float(surplus.shape[1]))])


def calibration_error(sums: Float[np.ndarray, "b 16"]) -> Float[np.ndarray, " b"]:
    """The mean absolute gap between confidence and accuracy of the bins, weighted by how many predictions fall in each.

    Biased upwards when n is small: see `calibration.calibrated_reference`, which the report shows beside it. Source:
    Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    with np.errstate(invalid="ignore"):  # of nothing it is NaN
        return np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1]


@dataclass(frozen=True, kw_only=True)
class ProbabilityFigures(Figures):
    """How far stated probabilities can be trusted."""

    reliability: tuple[ReliabilityBin, ...]
    """Accuracy by stated confidence."""
    ece_reference: float
    """The calibration error that a perfectly calibrated model with these confidences shows on so few examples."""

    header: ClassVar[tuple[str, ...]] = ("Stated confidence", "examples", "mean confidence", "accuracy")
    """Of the table of calibration."""

    def blocks(self, of: Context) -> Iterator[Block]:
        """Whether the probabilities can be trusted."""
        rows = [
            (f"{one.low:.2f} to {one.high:.2f}", str(one.num_examples), shown(one.confidence), one.accuracy.told())
            for one in self.reliability
        ]
        error = of.metrics.get("ece")
        said = (
            ""
            if error is None
            else (
                f"Expected calibration error {shown(error.value)}; a perfectly calibrated model would show about "
                f"{shown(self.ece_reference)} on so few examples."
            )
        )
        about = "How far the stated probabilities can be trusted."
        yield Block("Calibration", (f"{about} {of.calibration}", Table(self.header, rows), said), ("reliability",))


def probability_fields(tested: Tested) -> dict[str, Any]:
    """The fields of `ProbabilityFigures`."""
    confidence, right = stated(tested.targets, tested.outputs)
    return {
        "reliability": reliability(confidence, right, **tested.how),
        "ece_reference": calibrated_reference(confidence.ravel(), seed=tested.seed),
    }


_metric = partial(
    Metric,
    higher_is_better=False,
    kinds=frozenset({"classification", "multilabel", "ordinal"}),
    columns=columns,
    right=right_if_one_class,
)

NAMES = ("brier", "ece", "log_loss")
_EVERY = (
    _metric(name="brier", title="Brier score", range=(0.0, 2.0), statistics=per_example(squared_distances), value=mean),
    _metric(
        name="ece",
        title="Expected calibration error",
        range=(0.0, 1.0),
        statistics=surplus_by_bin,
        value=calibration_error,
        interval="reflected",
    ),
    _metric(
        name="log_loss", title="Log loss", range=(0.0, float("inf")), statistics=per_example(log_losses), value=mean
    ),
)
ENTRIES = {one.name: one for one in _EVERY}
