"""What is asked of a model: the target's codec, the head, the loss, the decoding, the metrics.

One file on the shelf of tasks defines one task, as `task(classes) -> Task`. The module imports no torch; `head` and
`objective` do when they are called. Whatever depends on the kind of target stands here, so that strategies do not ask.

Letters: n examples, c outputs, d features, r rows (an example has one per view).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.registry import Shelf
from regraft.tasks._rows import RowSource, Views

if TYPE_CHECKING:
    from torch import Tensor, nn

TASKS = Shelf("task", "regraft.tasks")


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """A linear head at its optimum."""

    weight: Float[np.ndarray, "c d"]
    """Weights on the features as they are stored."""
    bias: Float[np.ndarray, "c"]
    """Biases."""
    out_of_fold: Float[np.ndarray, "n c"] | None
    """Logits of each example's plain view, by a head that saw nothing of its fold; None without folds."""
    facts: Mapping[str, Any]
    """What was chosen and how, as JSON: `c`, what was tried, whether the solver converged."""


class Task(ABC):
    """A kind of question; a value made from the labels that occur."""

    kind: str
    """The task's name on the shelf."""
    classes: tuple[str, ...]
    """Names of the outputs, in order."""
    view: str
    """The view of the top state that the head reads: `pooled`, `grid` or `tokens`."""
    metrics: tuple[str, ...]
    """Names of the metrics to report, the one to compare by first."""

    @property
    def num_outputs(self) -> int:
        """Length of a row of logits."""
        return len(self.classes)

    @abstractmethod
    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Labels as the numbers that loss and metrics take."""

    @abstractmethod
    def probabilities(self, logits: Float[np.ndarray, "n c"], temperature: float = 1.0) -> Float[np.ndarray, "n c"]:
        """Logits as probabilities, divided by `temperature` before."""

    @abstractmethod
    def scores(self, logits: Float[np.ndarray, "n c"], targets: Shaped[np.ndarray, "n ..."]) -> dict[str, float]:
        """A few numbers to watch while training, by name; they decide nothing."""

    @abstractmethod
    def rescaled(
        self, logits: Float[np.ndarray, "n c"], targets: Shaped[np.ndarray, "n ..."]
    ) -> Float[np.ndarray, "n c"]:
        """The logits with the confidence that these examples bear out; as they are where the task states none.

        What is trained too long is overconfident before its answers get worse, and confidence is mended afterwards.
        So the epoch to keep is chosen by the loss of rescaled logits.
        """

    @abstractmethod
    def solve(
        self,
        features: RowSource,
        targets: Shaped[np.ndarray, "n ..."],
        *,
        views: Views,
        fold_of: Int[np.ndarray, "n"] | None,
        c: float,
        balanced: bool,
    ) -> Solution:
        """The head solved to its optimum on features (r d), each example weighing the same however many views it has.

        `c` is the inverse strength of the penalty; 0: chosen by cross-validation over `fold_of`, or where that is
        None, one over the number of features. `balanced`: every class weighs the same, where there are classes.
        """

    @abstractmethod
    def head(self, width: int, dropout: float) -> "nn.Module":
        """A fresh head with the parameters `weight` (c d) and `bias` (c)."""

    @abstractmethod
    def objective(
        self, targets: Shaped[np.ndarray, "n ..."], *, balanced: bool, smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """The loss to train with: (logits (b c), targets (b ...)) -> mean loss of a batch, a scalar.

        `targets` are those of the training examples, for what the loss must know of them. `balanced`: every class
        weighs the same; `smoothing`: label smoothing in [0, 1). A task without classes refuses both.
        """
