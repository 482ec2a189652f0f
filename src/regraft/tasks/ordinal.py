"""One class per example, the classes having ranks: grades, stages, stars.

K classes are K - 1 questions, "is it above rank k?", each answered by a logistic regression of its own; the probability
of a class is that of being above the rank below it less that of being above its own (Frank and Hall 2001, A simple
approach to ordinal classification). Separately learned, these probabilities may rise with k, which they must not:
they are made to fall by taking at each rank the least so far (our choice), so that every class has a probability of 0
or more and they sum to 1.

Letters: n examples, b of a batch, k classes, c = k - 1 questions, d features, r rows (an example has one per view).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.task import FoldLogits, Solution, Task, Words
from regraft.tasks import _binary
from regraft.tasks._positions import positions_of
from regraft.tasks.rows import RowSource, Views
from regraft.words import counted, listed

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Ordinal(Task):
    """A sigmoid for each rank but the highest; solved by independent logistic regressions."""

    classes: tuple[str, ...]
    kind: str = "ordinal"
    view: str = "pooled"
    ranked: bool = True

    def words(self) -> Words:
        """Ranked classes."""
        of = f"of {counted(len(self.classes), 'class', 'classes')}"
        return Words(
            output="class",
            outputs="classes, or their order,",
            asked=f"of {len(self.classes)} ranked classes",
            labelled=f"{of}, in rising order {listed(self.classes, limit=12)}",
            given=f"one {of} in rising order, with a probability for each",
            purpose="To put inputs of the kind it was trained on into the ranked classes above",
        )

    @property
    def num_outputs(self) -> int:
        """One less than there are classes."""
        return len(self.classes) - 1

    @property
    def facts(self) -> Mapping[str, Any]:
        """Nothing beside the classes."""
        return {}

    @property
    def columns(self) -> tuple[str, ...]:
        """None: the name of the column is no part of the task."""
        return ()

    def prepared(self, targets: Int[np.ndarray, "n"]) -> "Ordinal":
        """The task as it is: it has no scale."""
        return self

    def encode(self, labels: Sequence[str]) -> Int[np.ndarray, "n"]:
        """Labels as ranks from 0.

        Raises:
            BadData: a label is not one of the classes.
        """
        return positions_of(labels, self.classes)

    def goals(self, targets: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n c"]:
        """1 for every rank that an example is above, else 0; float32."""
        above: Float[np.ndarray, "n c"] = (targets[:, None] > np.arange(self.num_outputs)).astype(np.float32)
        return above

    def outputs(self, logits: Float[np.ndarray, "n c"], temperature: float = 1.0) -> Float[np.ndarray, "n k"]:
        """The probability of every class; rows sum to 1."""
        above = np.minimum.accumulate(_binary.sigmoid(logits.astype(np.float64) / temperature), axis=1)
        edges = np.pad(above, ((0, 0), (1, 1)), constant_values=((0, 0), (1.0, 0.0)))
        classes: Float[np.ndarray, "n k"] = edges[:, :-1] - edges[:, 1:]
        return classes

    def decode(self, outputs: Float[np.ndarray, "n k"]) -> list[str]:
        """The most probable class of each row."""
        return [self.classes[at] for at in outputs.argmax(axis=1).tolist()]

    def stated(
        self, logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, "n"]
    ) -> tuple[Float[np.ndarray, "s 2"], Int[np.ndarray, "s"], Int[np.ndarray, "s"]]:
        """A choice for each example and rank: above it or not."""
        return _binary.as_choices(logits, self.goals(targets))

    def strata(self, targets: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """The classes."""
        return targets

    def scores(self, logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, "n"]) -> dict[str, float]:
        """The share of right classes, and the mean distance in ranks."""
        ranks = self.outputs(logits).argmax(axis=1)
        return {"accuracy": float((ranks == targets).mean()), "rank_mae": float(np.abs(ranks - targets).mean())}

    def rescaled(self, logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n c"]:
        """The logits divided by the temperature of least log loss."""
        return _binary.rescaled(logits, self.goals(targets))

    def solve(
        self,
        features: RowSource,
        targets: Int[np.ndarray, "n"],
        *,
        views: Views,
        fold_of: Int[np.ndarray, "n"] | None,
        c: float,
        balanced: bool,
    ) -> Solution:
        """Independent logistic regressions; `c` of the least log loss on average of ranks."""
        self.check(balanced=balanced)
        return _binary.solve(features, self.goals(targets), views=views, fold_of=fold_of, c=c)

    def cross_validate(
        self,
        features: RowSource,
        targets: Int[np.ndarray, "n"],
        *,
        views: Views,
        fold_of_repeats: Iterable[Int[np.ndarray, "n"]],
        c: float,
        balanced: bool,
        max_seconds: float,
    ) -> Iterator[FoldLogits]:
        """Logits of logistic regressions that never saw the example."""
        self.check(balanced=balanced)
        return _binary.cross_validate(
            features, self.goals(targets), views=views, fold_of_repeats=fold_of_repeats, c=c, max_seconds=max_seconds
        )

    def head(self, width: int, dropout: float) -> "nn.Module":
        """A zero-initialised linear layer on the pooled view."""
        from regraft.nn.heads import PooledHead

        return PooledHead(width, self.num_outputs, dropout=dropout)

    def objective(
        self, targets: Int[np.ndarray, "n"], *, balanced: bool, smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Mean binary cross entropy over examples and ranks."""
        self.check(balanced=balanced, smoothing=smoothing)
        return _binary.loss


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Ordinal:
    """The task with these classes, from the lowest rank to the highest. There are no facts beside."""
    return Ordinal(tuple(dict.fromkeys(classes)))


ENTRY = task
