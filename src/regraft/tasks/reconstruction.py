"""Reconstruction: some numbers of a row are hidden, and predicted from the others. No labels are needed.

A network trained in this way is a denoising autoencoder, and a backbone for tasks with few labels. A fraction of the
known cells (`prepare.hidden`), different in every view, is replaced by the column mean; the loss is the squared error
of these cells alone, in units of the variance of their columns over the training rows, so predicting the means has a
loss of 1 on such rows. The head is a linear layer, which is discarded when the network is used as a backbone.

Sources: Vincent et al. 2008, doi:10.1145/1390156.1390294 (denoising autoencoders, masking noise); Pathak et al. 2016,
arXiv:1604.07379 (loss on the hidden values alone). Letters: n rows, b rows of a batch, d columns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.example import as_records, check_weighable
from regraft.contracts.page import Words
from regraft.contracts.task import Reads, Task
from regraft.values import Prediction

if TYPE_CHECKING:
    from torch import Tensor, nn

READS = Reads(itself="values")


@dataclass(frozen=True)
class Reconstruction(Task):
    """Prediction of the hidden numbers of a row."""

    num_columns: int = 0
    """Number of columns; 0 until known."""
    kind: str = "reconstruction"
    classes: tuple[str, ...] = ()
    reads: Reads = READS
    needs_labels: bool = False
    moves: bool = True

    def words(self) -> Words:
        """Return the names that reports use: cells."""
        return Words(
            output="row",
            outputs="rows",
            asked="with hidden cells",
            labelled="without labels",
            given="the sum of the squared errors of its hidden cells, and that of predicting the means",
            purpose="Serves as the backbone for other transfers: `--backbone bundle:PATH`",
            caution="It predicts only how well a row's cells follow from one another.",
            fields="prediction.record",
            probe="head alone",
        )

    def for_preparation(self, preparation: Any) -> Task:
        """Return the task with the preparation's columns."""
        return replace(self, num_columns=len(preparation.columns))

    def named(self, label: str) -> Sequence[str]:
        """Return nothing: there are no classes."""
        return ()

    def encode(self, labels: Sequence[str]) -> Int[np.ndarray, " n"]:
        """Return zeros: the numbers to be predicted are part of the row itself."""
        return np.zeros(len(labels), dtype=np.int64)

    def encoded(self, targets: np.ndarray, placements: Mapping[str, np.ndarray]) -> Float[np.ndarray, "b d"]:
        """Return the hidden numbers, NaN for the others."""
        return placements["truth"]

    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """Return a linear layer: a vector -> a number per column, initially its mean, 0."""
        from regraft.nn.stages import PooledHead

        return PooledHead(widths[self.reads.readout], self.num_columns, dropout=dropout)

    def objective(self, targets: np.ndarray, *, balanced: bool, smoothing: float) -> "Callable[[Any, Any], Tensor]":
        """Return the mean squared error over the hidden cells of a batch."""
        check_weighable(self, balanced=balanced, smoothing=smoothing)

        def loss(output: "Tensor", truth: "Tensor") -> "Tensor":
            hidden = ~truth.isnan()
            return ((output - truth.nan_to_num()) * hidden).square().sum() / hidden.sum().clamp(min=1)

        return loss

    def gathered(self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any) -> np.ndarray:
        """Return for each row the squared errors of its hidden cells, summed, as `squares`; those of predicting the
        means, as `of_means`; and the number of these `cells`."""
        if not batches:
            return as_records([])
        output, truth = np.concatenate(batches).astype(np.float64), placements["truth"].astype(np.float64)
        sums = [np.nansum((output - truth) ** 2, axis=1), np.nansum(truth**2, axis=1), (~np.isnan(truth)).sum(axis=1)]
        names = ("squares", "of_means", "cells")
        return as_records([dict(zip(names, one, strict=True)) for one in np.transpose(sums).tolist()])

    def judged(
        self, raw: np.ndarray, targets: np.ndarray, mean_loss: float, loss: "Callable[[Any, Any], Tensor]"
    ) -> tuple[float, float]:
        """Return the mean squared error over cells, not over rows, which have different numbers of them."""
        mean = sum(one["squares"] for one in raw) / max(1.0, sum(one["cells"] for one in raw))
        return mean, mean

    def scores(self, raw: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Return the mean squared error."""
        return {"hidden_mse": self.judged(raw, targets, 0.0, max)[0]}

    def decode(self, outputs: np.ndarray) -> list[str]:
        """Return empty labels: rows have none."""
        return [""] * len(outputs)

    def predictions(self, outputs: np.ndarray) -> list[Prediction]:
        """Return predictions that contain only a `record`."""
        return [Prediction(id="", label="", probabilities={}) for _ in outputs]


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Reconstruction:
    """Return the reconstruction task."""
    return Reconstruction()


ENTRY = task
