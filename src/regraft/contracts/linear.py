"""A task whose head is linear and convex: it is solved to its optimum on stored features, and never trained by steps
where nothing below it is.

Letters: n examples, c outputs, k classes, labels or target values (c unless a task says otherwise), d features, r rows
(an example has one per view), m examples of a fold, s choices between o options.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from regraft.contracts.task import Task
from regraft.errors import BadRecipe, BadRequest
from regraft.labels import parted
from regraft.values import Prediction

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.tasks.rows import RowSource, Views


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """A linear head at its optimum."""

    weight: Float[np.ndarray, "c d"]
    """Weights on the features as they are stored."""
    bias: Float[np.ndarray, "c"]
    """Biases."""
    out_of_fold: Float[np.ndarray, "n c"] | None
    """Logits of each example's plain view, by a head that saw nothing of its fold, nan where it has none (-1); None
    without folds."""
    facts: Mapping[str, Any]
    """What was chosen and how, as JSON: `c`, what was tried, whether the solver converged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldLogits:
    """What the scores of one fold of one repeat of a cross-validation are made of."""

    repeat: int
    """Number of the repeat, from 0."""
    fold: int
    """Number of the fold, from 0."""
    num_folds: int
    """Folds of this repeat; it is complete once fold `num_folds` - 1 has come."""
    examples: Int[np.ndarray, "m"]
    """The examples held out, in rising order."""
    logits: Float[np.ndarray, "m c"]
    """Float32 logits of their plain views."""
    c: float
    """The inverse strength of the penalty, chosen without them."""


def linear(task: Task) -> "LinearTask":
    """The task as a linear one.

    Raises:
        BadRequest: it has no linear head.
    """
    if not isinstance(task, LinearTask):
        raise BadRequest(
            f"This needs one vector of logits per example, which a {task.kind} task does not have.",
            fix="leave the option out, or choose another strategy.",
        )
    return task


def check_weighable(task: Task, *, balanced: bool = False, smoothing: float = 0.0) -> None:
    """Whether these options of training make sense; they do where an example is a choice between classes.

    Raises:
        BadRecipe: they are set, and there is no such choice.
    """
    for name, given, neutral in (("balanced", balanced, "false"), ("smoothing", smoothing, "0")):
        if given and not task.weighable:
            raise BadRecipe(
                f"options.{name} is {str(given).lower()}, which needs a choice between classes; this is a "
                f"{task.kind} task.",
                fix=f"--set options.{name}={neutral}, or leave it out.",
            )


class LinearTask(Task):
    """A task with one vector of logits per example."""

    answers: Literal["probabilities", "values", "records"] = "probabilities"
    exclusive: bool = True

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Length of a row of logits."""

    @abstractmethod
    def rescaled(self, raw: Float[np.ndarray, "n c"], targets: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "n c"]:
        """The logits with the confidence that these examples bear out; as they are where the task states none.

        What is trained too long is overconfident before its predictions get worse, and confidence is mended afterwards.
        So the epoch to keep is chosen by the loss of rescaled logits.
        """

    @abstractmethod
    def solve(
        self,
        features: "RowSource",
        targets: Shaped[np.ndarray, "n ..."],
        *,
        views: "Views",
        fold_of: Int[np.ndarray, "n"] | None,
        c: float,
        balanced: bool,
    ) -> Solution:
        """The head solved to its optimum on features (r d), each example weighing the same however many views it has.

        `c` is the inverse strength of the penalty; 0: chosen by cross-validation over `fold_of`, or where that is
        None, one over the number of features. `balanced`: every class weighs the same, where there are classes.

        Raises:
            BadRecipe: `balanced` where there are no classes.
        """

    @abstractmethod
    def cross_validate(
        self,
        features: "RowSource",
        targets: Shaped[np.ndarray, "n ..."],
        *,
        views: "Views",
        fold_of_repeats: Iterable[Int[np.ndarray, "n"]],
        c: float,
        balanced: bool,
        max_seconds: float,
    ) -> Iterator[FoldLogits]:
        """Held-out logits of every fold of every repeat, by heads whose penalty was chosen without that fold.

        Whole repeats only; none is begun when one more as long as the longest so far would pass `max_seconds`, save the
        first. `c` and `balanced` as for `solve`.
        """

    def untaught(
        self, outside: Shaped[np.ndarray, "n ..."], inside: Shaped[np.ndarray, "m ..."]
    ) -> Bool[np.ndarray, " m"]:
        """Which of the targets `inside` are of a class, have a label (or lack one that all `outside` have) or a second
        value that none `outside` shows."""
        if self.exclusive:
            return super().untaught(outside, inside)
        constant = (outside == outside[:1]).all(axis=0)
        return np.asarray((inside != outside[:1])[:, constant].any(axis=1))

    def gathered(
        self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any
    ) -> Float[np.ndarray, "n c"]:
        """The logits; those of an example's pieces averaged."""
        rows = np.concatenate(batches) if batches else np.zeros((0, self.num_outputs), dtype=np.float32)
        if not len(rows) or len(example_of_row) == int(example_of_row[-1]) + 1:
            return rows
        sums = np.zeros((int(example_of_row[-1]) + 1, self.num_outputs), dtype=np.float64)
        np.add.at(sums, example_of_row, rows)
        return (sums / np.bincount(example_of_row)[:, None]).astype(np.float32)

    def judged(
        self, raw: np.ndarray, targets: np.ndarray, mean_loss: float, loss: "Callable[[Any, Any], Tensor]"
    ) -> tuple[float, float]:
        """The loss of the logits, and of those whose confidence was mended."""
        import torch

        encoded = torch.from_numpy(self.encoded(targets, {}))
        plain, mended = (float(loss(torch.from_numpy(one), encoded)) for one in (raw, self.rescaled(raw, targets)))
        return plain, mended

    def predictions(self, outputs: Float[np.ndarray, "n k"]) -> list[Prediction]:
        """Probabilities or values by name, and the label that they say."""
        numbers, made = self.answers == "values", []
        for label, row in zip(self.decode(outputs), outputs, strict=True):
            named = dict(zip(self.classes, map(float, row), strict=True))
            made.append(
                Prediction(
                    id="",
                    label=label,
                    labels=None if self.exclusive or numbers else parted(label),
                    probabilities={} if numbers else named,
                    values=named if numbers else {},
                )
            )
        return made
