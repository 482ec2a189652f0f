"""Metrics of reconstruction: errors of predicted masked cells, compared with predicting every column's mean.

Errors are in units of the variance of a column over the training rows, so columns count equally. Intervals resample
rows. Letters: n rows, b resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.contracts.example import as_records
from regraft.contracts.metric import Figures, Metric, Reference, Tested
from regraft.evaluation.differences import PairedDifference, compare
from regraft.evaluation.intervals import measure
from regraft.values import Measured


def sums(targets: Any, outputs: Any) -> Float[np.ndarray, "n 3"]:
    """Return for each row the sum of the squared errors of its hidden cells, that of predicting the means, and the
    number of these cells."""
    return np.array([[one["squares"], one["of_means"], one["cells"]] for one in outputs]).reshape(-1, 3)


def explained(totals: Float[np.ndarray, "b 3"]) -> Float[np.ndarray, " b"]:
    """Return one minus the error relative to that of predicting the training means: at most 1; 0 for the means."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - totals[:, 0] / totals[:, 1]


def mean_square(totals: Float[np.ndarray, "b 3"]) -> Float[np.ndarray, " b"]:
    """Return the mean squared error of the hidden cells; nan if there are none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return totals[:, 0] / totals[:, 2]


@dataclass(frozen=True, kw_only=True)
class CellFigures(Figures):
    """The errors of predicting the mean of every column over the training rows."""

    of_means: Mapping[str, Measured]
    """Its metrics on the same cells."""
    gain: PairedDifference
    """Difference of the mean squared error between the model and this prediction."""

    def reference(self) -> Reference:
        """Return the prediction of the means."""
        said = f"Against always predicting the training means of the same cells: {self.gain.verdict}"
        return Reference(title="training means", metrics=self.of_means, verdict=said)


def figures_of_cells(tested: Tested) -> CellFigures:
    """Return the metrics of predicting the means, and the model's gain over them."""
    means = as_records([{**one, "squares": one["of_means"]} for one in tested.outputs])
    return CellFigures(
        of_means={name: measure(one, tested.targets, means, **tested.how) for name, one in ENTRIES.items()},
        gain=compare(
            tested.targets, tested.outputs, means, metric="hidden_mse", names=("the model", "predicting the means"),
            **tested.how,
        ),
    )  # fmt: skip


_metric = partial(
    Metric, kinds=frozenset({"reconstruction"}), statistics=sums, undefined="no cell is hidden, or all are at the mean"
)
KINDS = ("reconstruction",)
NAMES = ("hidden_mse", "hidden_r2")
ENTRIES = {
    "hidden_r2": _metric(
        name="hidden_r2", title="Explained share of hidden cells", higher_is_better=True,
        range=(-np.inf, 1.0), main=frozenset({"reconstruction"}), value=explained, figures=figures_of_cells,
    ),
    "hidden_mse": _metric(
        name="hidden_mse", title="Mean squared error of hidden cells, in variances", higher_is_better=False,
        range=(0.0, np.inf), value=mean_square,
    ),
}  # fmt: skip
