"""Multi-label and ordinal classification, as sets of binary decisions with a sigmoid each.

All labels (or ranks) of a task share the features and the penalty strength.

Letters: n examples, b examples of a batch, c labels or binary decisions, k ordered classes, s distributions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.contracts.example import check_weighable
from regraft.contracts.page import Words
from regraft.tasks.linear import LinearTask
from regraft.tasks.losses import Sigmoid, fit_temperature, sigmoid
from regraft.words import counted, joined, listed, parted

if TYPE_CHECKING:
    from torch import Tensor


MINIMUM = 10
"""Minimum number of examples per stratum (our choice)."""


class BinaryTask(LinearTask):
    """A sigmoid for each binary decision; `encoded` targets are 1 or 0."""

    def stated(
        self, logits: Float[np.ndarray, "n c"], targets: Shaped[np.ndarray, "n ..."]
    ) -> tuple[Float[np.ndarray, "s 2"], Int[np.ndarray, " s"], Int[np.ndarray, " s"]]:
        """Return each decision as a distribution over no (logit 0) and yes."""
        column, of_example = logits.reshape(-1, 1), np.repeat(np.arange(len(logits)), logits.shape[1])
        yes = self.encoded(targets, {}).ravel().astype(np.int64)
        return np.concatenate([np.zeros_like(column), column], axis=1), yes, of_example

    def rescaled(
        self, logits: Float[np.ndarray, "n c"], targets: Shaped[np.ndarray, "n ..."]
    ) -> Float[np.ndarray, "n c"]:
        """Return the logits divided by the one temperature that minimises the log loss over all decisions."""
        choices, true, _ = self.stated(logits, targets)
        return logits / np.float32(fit_temperature(choices, true))

    def solved_loss(self, targets: Shaped[np.ndarray, "n ..."], *, balanced: bool = False) -> Sigmoid:
        """Return the loss of independent logistic regressions with one penalty."""
        check_weighable(self, balanced=balanced)
        return Sigmoid(self.encoded(targets, {}))

    def objective(
        self, targets: Shaped[np.ndarray, "n ..."], *, balanced: bool, smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Return the binary cross entropy, averaged over examples and decisions."""
        check_weighable(self, balanced=balanced, smoothing=smoothing)
        return _cross_entropy


@dataclass(frozen=True)
class MultiLabel(BinaryTask):
    """A sigmoid for each label; the linear head is solved by independent logistic regressions."""

    classes: tuple[str, ...]
    delimiter: str = ""
    """Delimiter of the labels in a cell; empty if each label was a column."""
    kind: str = "multilabel"
    exclusive: bool = False

    def words(self) -> Words:
        """Return the names that reports use: labels."""
        labels = counted(len(self.classes), "label")
        return Words(
            output="label",
            outputs="labels",
            asked=f"with {labels}",
            labelled=f"with any of {labels}",
            given=f"a probability for each of {labels}, any number of which may apply",
            purpose="Predicts which of the labels above apply to inputs of the kind the model was trained on",
        )

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the delimiter, so that a later test reads its table in the same way."""
        return {"delimiter": self.delimiter}

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the labels if each was a column."""
        return () if self.delimiter else self.classes

    def named(self, label: str) -> Sequence[str]:
        return parted(label)

    def encode(self, labels: Sequence[str]) -> Float[np.ndarray, "n c"]:
        """Return 1 for the labels that an example has, else 0; float32.

        Raises:
            BadData: a label is not one of the classes.
        """
        targets = np.zeros((len(labels), len(self.classes)), dtype=np.float32)
        for row, label in enumerate(labels):
            targets[row, [self.position(name) for name in parted(label)]] = 1.0
        return targets

    def outputs(self, logits: Float[np.ndarray, "n c"], temperature: float = 1.0) -> Float[np.ndarray, "n c"]:
        """Return the probability of every label."""
        return sigmoid(logits.astype(np.float64) / temperature)

    def graph(self, output: "Tensor", temperature: float, placed: Mapping[str, "Tensor"]) -> "Mapping[str, Tensor]":
        return {"outputs": (output / temperature).sigmoid()}

    def decode(self, outputs: Float[np.ndarray, "n c"]) -> list[str]:
        """Return the labels with a probability of at least 0.5."""
        return [joined(name for name, p in zip(self.classes, row, strict=True) if p >= 0.5) for row in outputs.tolist()]

    def strata(self, targets: Float[np.ndarray, "n c"]) -> Int[np.ndarray, "n"]:
        """Return the rarest label of each example."""
        return by_rarest(targets)

    def scores(self, logits: Float[np.ndarray, "n c"], targets: Float[np.ndarray, "n c"]) -> dict[str, float]:
        """Return the accuracy over all pairs of example and label."""
        return {"tags_right": float(((logits >= 0) == (targets > 0)).mean())}


def _cross_entropy(logits: "Tensor", goals: "Tensor") -> "Tensor":
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(logits.float(), goals)


def by_rarest(targets: Float[np.ndarray, "n c"]) -> Int[np.ndarray, " n"]:
    """Return the index of the rarest label of each example; c if it has none, or if that label is too rare.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) also begins with the label that has the fewest
    examples, as the hardest to distribute. Here examples are distributed once, by that label alone, which respects
    integer counts and groups (our choice).
    """
    num_labels = targets.shape[1]
    has = targets > 0
    counts = has.sum(axis=0)
    order = np.argsort(counts, kind="stable")
    first = np.where(has.any(axis=1), order[has[:, order].argmax(axis=1)], num_labels)
    named = np.bincount(first, minlength=num_labels + 1)
    return np.where(named[first] < MINIMUM, num_labels, first).astype(np.int64)


@dataclass(frozen=True)
class Ordinal(BinaryTask):
    """Ordinal classification: one class per example, from ordered classes such as grades, stages or stars.

    K classes become K - 1 binary decisions, "is it above rank k?", each with its own logistic regression. The
    probability of a class is that of being above the rank below it minus that of being above its own (Frank and Hall
    2001, A simple approach to ordinal classification). Since they are trained separately, the probabilities of
    exceeding k may increase with k; the running minimum over the ranks makes them non-increasing (our choice), so that
    class probabilities are non-negative and sum to 1.

    A sigmoid for each rank but the highest; the linear head is solved by independent logistic regressions.
    """

    classes: tuple[str, ...]
    kind: str = "ordinal"
    ranked: bool = True

    def words(self) -> Words:
        """Return the names that reports use: ordered classes."""
        of = f"of {counted(len(self.classes), 'class', 'classes')}"
        return Words(
            output="class",
            outputs="classes, or their order,",
            asked=f"of {len(self.classes)} ranked classes",
            labelled=f"{of}, in rising order {listed(self.classes, limit=12)}",
            given=f"one {of} in rising order, with a probability for each",
            purpose="Assigns inputs of the kind the model was trained on to the ranked classes above",
        )

    @property
    def num_outputs(self) -> int:
        """Number of classes minus one."""
        return len(self.classes) - 1

    def encoded(self, targets: Int[np.ndarray, "n"], placements: Mapping[str, np.ndarray]) -> Float[np.ndarray, "n c"]:
        """Return 1 for every rank that an example is above, else 0; float32."""
        return (targets[:, None] > np.arange(self.num_outputs)).astype(np.float32)

    def outputs(self, logits: Float[np.ndarray, "n c"], temperature: float = 1.0) -> Float[np.ndarray, "n k"]:
        """Return the probability of every class; rows sum to 1."""
        above = np.minimum.accumulate(sigmoid(logits.astype(np.float64) / temperature), axis=1)
        edges = np.pad(above, ((0, 0), (1, 1)), constant_values=((0, 0), (1.0, 0.0)))
        return edges[:, :-1] - edges[:, 1:]

    def graph(self, output: "Tensor", temperature: float, placed: Mapping[str, "Tensor"]) -> "Mapping[str, Tensor]":
        import torch

        above = list(torch.split((output / temperature).sigmoid(), 1, dim=1))
        for at in range(1, len(above)):
            above[at] = torch.minimum(above[at], above[at - 1])
        edges = torch.cat([torch.ones_like(above[0]), *above, torch.zeros_like(above[0])], dim=1)
        return {"outputs": edges[:, :-1] - edges[:, 1:]}

    def scores(self, logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, "n"]) -> dict[str, float]:
        """Return the accuracy, and the mean absolute difference in ranks."""
        ranks = self.outputs(logits).argmax(axis=1)
        return {"accuracy": float((ranks == targets).mean()), "rank_mae": float(np.abs(ranks - targets).mean())}


def multilabel(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> MultiLabel:
    """Return the multi-label task with these labels, in this order; `facts` may have `delimiter`."""
    return MultiLabel(tuple(dict.fromkeys(classes)), delimiter=str((facts or {}).get("delimiter", "")))


def ordinal(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Ordinal:
    """Return the ordinal task with these classes, from the lowest rank to the highest; `facts` is unused."""
    return Ordinal(tuple(dict.fromkeys(classes)))


NAMES = ("multilabel", "ordinal")
ENTRIES = {"multilabel": multilabel, "ordinal": ordinal}
