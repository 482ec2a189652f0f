"""What is asked of a model: the target's codec, the head, the loss, the decoding, the metrics.

One file on the shelf of tasks defines one task: its `ENTRY` is a function `(classes, facts) -> Task`; `facts` are what
`Task.facts` gave for a saved model, or what the recipe's [target] says. The module imports no torch; `head` and
`objective` do when they are called. Whatever depends on the kind of target stands here, so that strategies do not ask.

Letters: n examples, c outputs, k classes, tags or numbers asked for (c unless a task says otherwise), d features,
r rows (an example has one per view), m examples of a fold, s choices between o options.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.errors import BadRecipe
from regraft.folds import Folds, folds
from regraft.registry import Shelf

if TYPE_CHECKING:
    from torch import Tensor, nn

    from regraft.tasks.rows import RowSource, Views


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


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a task calls its outputs, for pages, tables and messages."""

    output: str
    """`class`, `label`, `target`."""
    outputs: str
    """The same of several."""
    asked: str
    """What the examples have, as it continues `153 test examples`: `of 6 classes`; may be empty."""
    labelled: str
    """The same, with the names where they are needed to understand it."""
    given: str
    """What a model gives, as it continues `One input gives`: `one of 6 classes, with a probability for each`."""
    purpose: str
    """What a model is for, as a clause: `To sort inputs of the kind it was trained on into the classes above`."""
    caution: str = ""
    """What to know of predictions in place of what is said of probabilities, where none are stated."""
    fields: str = "answer.label, answer.probabilities"
    """What to print of a prediction called `answer`, in an example of code."""
    column: str = "p"
    """Begins the name of a column of outputs in a table of predictions: `p:NAME`."""


class Task(ABC):
    """A kind of question; a value made from the labels that occur."""

    kind: str
    """The task's name on the shelf."""
    classes: tuple[str, ...]
    """Names of the classes, tags or numbers asked for, in order."""
    view: str
    """The view of the top state that the head reads: `pooled`, `grid` or `tokens`."""
    states_probabilities: bool = True
    """Whether a column of `outputs` holds a probability; else it holds a number in the user's unit."""
    ranked: bool = False
    """Whether the classes have ranks, and so an order that is part of the task."""
    exclusive: bool = True
    """Whether an example is of one class: then the rows of `outputs` sum to 1, and the largest is the answer."""

    weighable: bool = False
    """Whether classes can be balanced and labels smoothed: where an example is one of several classes without ranks."""

    @abstractmethod
    def words(self) -> Words:
        """What its outputs are called."""

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Length of a row of logits."""

    @property
    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What a saved model must know of the task beside kind and classes, as JSON."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """What the columns of a table are called that hold a label, where their names are part of the task."""

    @abstractmethod
    def prepared(self, targets: Shaped[np.ndarray, "n ..."]) -> "Task":
        """The task, knowing what it must of the training targets: their scale, where it has one."""

    def check(self, *, balanced: bool = False, smoothing: float = 0.0, class_balance: float = 0.0) -> None:
        """Whether these options of training make sense; they do where an example is a choice between classes.

        Raises:
            BadRecipe: they are set, and there is no such choice.
        """
        asked = (("balanced", balanced, "false"), ("smoothing", smoothing, "0"), ("class_balance", class_balance, "0"))
        for name, given, neutral in asked:
            if given and not self.weighable:
                raise BadRecipe(
                    f"options.{name} is {str(given).lower()}, which needs a choice between classes; this is a "
                    f"{self.kind} task.",
                    fix=f"--set options.{name}={neutral}, or leave it out.",
                )

    @abstractmethod
    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Labels as the numbers that metrics take."""

    @abstractmethod
    def goals(self, targets: Shaped[np.ndarray, "n ..."]) -> np.ndarray:
        """Targets as the loss takes them."""

    @abstractmethod
    def outputs(self, logits: Float[np.ndarray, "n c"], temperature: float = 1.0) -> Float[np.ndarray, "n k"]:
        """Logits as probabilities, divided by `temperature` before; or as numbers in the user's units."""

    @abstractmethod
    def decode(self, outputs: Float[np.ndarray, "n k"]) -> list[str]:
        """The label that each row says, as `encode` takes it."""

    @abstractmethod
    def stated(
        self, logits: Float[np.ndarray, "n c"], targets: Shaped[np.ndarray, "n ..."]
    ) -> tuple[Float[np.ndarray, "s o"], Int[np.ndarray, "s"], Int[np.ndarray, "s"]] | None:
        """Every probability that is stated, as a choice between some options: their logits, which option is true, and
        which example it is of. This is what calibration looks at; None where no probability is stated."""

    @abstractmethod
    def strata(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, "n"]:
        """A number for every example; parts and folds are drawn so that each has its share of every number."""

    def kinds(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, "n"]:
        """The class of every example; one for all where an example is not of one class."""
        return targets if self.exclusive else np.zeros(len(targets), dtype=np.int64)

    def deal(
        self, targets: Shaped[np.ndarray, "n ..."], groups: Shaped[np.ndarray, "n"] | None, num_folds: int, seed: int
    ) -> Folds:
        """The examples in folds, each with its share of every stratum; a group stays in one fold."""
        return folds(self.strata(targets), groups, num_folds, seed, kept=self.exclusive)

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

    @abstractmethod
    def head(self, width: int, dropout: float) -> "nn.Module":
        """A fresh head with the parameters `weight` (c d) and `bias` (c)."""

    @abstractmethod
    def objective(
        self, targets: Shaped[np.ndarray, "n ..."], *, balanced: bool, smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """The loss to train with: (logits (b c), goals (b ...)) -> mean loss of a batch, a scalar.

        `targets` are those of the training examples, for what the loss must know of them. `balanced`: every class
        weighs the same; `smoothing`: label smoothing in [0, 1).

        Raises:
            BadRecipe: the task has no classes to balance or smooth.
        """


MakeTask = Callable[..., Task]
"""(classes, facts) -> the task; without facts, those of a task that has seen no data."""

TASKS: Shelf[MakeTask] = Shelf("task", "regraft.tasks")
