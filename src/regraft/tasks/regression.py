"""Regression: one or several numbers per example.

The head predicts standardised targets: minus their mean over the training examples, divided by their standard deviation
(after the logarithm, if there is one), so that learning rates suit any unit; `outputs` converts back. With the
logarithm, a prediction is the exponential of the predicted logarithm: closer to the median than to the mean.

Letters: n examples, b examples of a batch, c targets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.example import check_weighable
from regraft.contracts.page import Words
from regraft.errors import BadData
from regraft.tasks.linear import LinearTask
from regraft.tasks.losses import Squares
from regraft.words import counted, joined, listed, number, parted

if TYPE_CHECKING:
    from torch import Tensor

BINS = 10
"""Number of bins by target value for stratified splits and folds (our choice)."""
MINIMUM = 10
"""Minimum number of examples in a bin (our choice)."""
_LARGEST_LOG = 700.0
"""Logarithms are clipped to this value, so that predictions are finite."""


@dataclass(frozen=True)
class Regression(LinearTask):
    """A linear function for each target; the linear head is solved by ridge regression."""

    classes: tuple[str, ...]
    mean: tuple[float, ...] = ()
    """Mean of each target over the training examples, after the transform; empty before these are known."""
    std: tuple[float, ...] = ()
    """Standard deviation of each target over the training examples, after the transform."""
    transform: Literal["none", "log"] = "none"
    """`log` to predict the natural logarithm, for positive targets that vary by factors."""
    kind: str = "regression"
    answers: Literal["probabilities", "values"] = "values"
    exclusive: bool = False

    def words(self) -> Words:
        """Return the names that reports use: targets."""
        return Words(
            output="target",
            outputs="targets",
            asked="",
            labelled=f"with the {'target' if len(self.classes) == 1 else 'targets'} {listed(self.classes)}",
            given=f"{counted(len(self.classes), 'number')}, in the unit of the training labels",
            purpose="Estimates the targets above for inputs of the kind the model was trained on",
            caution="Predictions have no individual intervals: the report gives the overall error. Values "
            "far outside the range of the training labels are extrapolated.",
            fields="prediction.values",
            column="v",
        )

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return mean, standard deviation and transform."""
        return {"mean": list(self.mean), "std": list(self.std), "transform": self.transform}

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the targets."""
        return self.classes

    def prepared(self, targets: Float[np.ndarray, "n c"]) -> "Regression":
        """Return the task with the mean and standard deviation of these targets.

        Raises:
            BadData: a target has the same value for all examples.
        """
        moved = self._transformed(targets)
        mean, std = moved.mean(axis=0), moved.std(axis=0)
        for name, column, wide in zip(self.classes, moved.T, std, strict=True):
            if not wide > 1e-12 * np.abs(column).max(initial=0.0):
                raise BadData(
                    f"{name} is the same for all {len(targets)} training examples, so there is nothing to learn.",
                    fix="add examples with other values, or leave out this target.",
                )
        return replace(self, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def named(self, label: str) -> Sequence[str]:
        return self.classes

    def encode(self, labels: Sequence[str]) -> Float[np.ndarray, "n c"]:
        """Return labels as float64, in the user's units.

        Raises:
            BadData: a label does not have as many finite numbers as there are targets.
        """
        table = [[number(part) for part in parted(label)] for label in labels]
        for label, row in zip(labels, table, strict=True):
            if None in row or len(row) != len(self.classes):
                raise BadData(
                    f"The label {label!r} is not {len(self.classes)} finite number(s) ({', '.join(self.classes)}).",
                    fix="write numbers with a decimal point, several with a semicolon between them.",
                )
        return np.array(table, dtype=np.float64).reshape(len(labels), len(self.classes))

    def encoded(
        self, targets: Float[np.ndarray, "n c"], placements: Mapping[str, np.ndarray]
    ) -> Float[np.ndarray, "n c"]:
        """Return standardised targets, float32."""
        return self._standard(targets).astype(np.float32)

    def outputs(self, logits: Float[np.ndarray, "n c"], temperature: float = 1.0) -> Float[np.ndarray, "n c"]:
        """Return the predicted values in the user's units, float64; the temperature has no effect."""
        moved = logits.astype(np.float64) * np.array(self.std) + np.array(self.mean)
        if self.transform == "log":
            moved = np.exp(np.clip(moved, -_LARGEST_LOG, _LARGEST_LOG))
        return moved

    def graph(self, output: "Tensor", temperature: float, placed: Mapping[str, "Tensor"]) -> "Mapping[str, Tensor]":
        import torch

        moved = output * torch.tensor(self.std) + torch.tensor(self.mean)
        return {"outputs": moved.clamp(-_LARGEST_LOG, _LARGEST_LOG).exp() if self.transform == "log" else moved}

    def decode(self, outputs: Float[np.ndarray, "n c"]) -> list[str]:
        """Return each row's values with six significant digits."""
        return [joined(f"{value:.6g}" for value in row) for row in outputs.tolist()]

    def stated(self, logits: Float[np.ndarray, "n c"], targets: Float[np.ndarray, "n c"]) -> None:
        """Return None: no probabilities are predicted."""

    def strata(self, targets: Float[np.ndarray, "n c"]) -> Int[np.ndarray, "n"]:
        """Return bins of about equal size."""
        return by_rank(targets)

    def scores(self, logits: Float[np.ndarray, "n c"], targets: Float[np.ndarray, "n c"]) -> dict[str, float]:
        """Return the mean absolute error in the user's units, over examples and targets."""
        return {"mae": float(np.abs(self.outputs(logits) - targets).mean())}

    def rescaled(self, logits: Float[np.ndarray, "n c"], targets: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
        """Return the logits unchanged."""
        return logits

    def solved_loss(self, targets: Float[np.ndarray, "n c"], *, balanced: bool = False) -> Squares:
        """Return the loss of ridge regression on the standardised targets."""
        check_weighable(self, balanced=balanced)
        return Squares(self._standard(targets))

    def objective(
        self, targets: Float[np.ndarray, "n c"], *, balanced: bool, smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Return the mean squared error of the standardised targets, which ridge regression minimises as well."""
        from torch.nn.functional import mse_loss

        check_weighable(self, balanced=balanced, smoothing=smoothing)
        return mse_loss

    def _transformed(self, targets: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
        return np.log(targets) if self.transform == "log" else targets

    def _standard(self, targets: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
        return (self._transformed(targets) - np.array(self.mean)) / np.array(self.std)


def by_rank(targets: Float[np.ndarray, "n c"]) -> Int[np.ndarray, " n"]:
    """Return the bin of every example, in [0, 10), fewer for under a hundred examples. Bins have equal size and are
    assigned by rank; with several targets, by the mean rank."""
    count = len(targets)
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in targets.T], axis=1)
    score = (ranks / np.maximum(ranks.max(axis=0), 1)).mean(axis=1)
    order = np.lexsort((np.arange(count), score))
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    bins = max(1, min(BINS, count // MINIMUM))
    return place * bins // max(count, 1)


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Regression:
    """Return the regression task for targets with these names; `facts` may have `mean`, `std` and `transform`."""
    known = dict(facts or {})
    return Regression(
        tuple(classes),
        mean=tuple(map(float, known.get("mean", ()))),
        std=tuple(map(float, known.get("std", ()))),
        transform="log" if known.get("transform") == "log" else "none",
    )


ENTRY = task
