"""What is asked of a model: targets, head, loss, outputs, predictions.

One file on the shelf of tasks defines one task: its `ENTRY` is a function `(classes, facts) -> Task`; `facts` are what
`Task.facts` gave for a saved model, or what the recipe's [target] says. Whatever depends on the kind of target stands
in the task, so that nothing else asks for its name. Tasks whose head is convex are `tasks.linear.LinearTask`.

A *target* is what metrics compare with, an *encoded* one what the loss takes. Targets of all examples are one numpy
array: of numbers where they have one shape, of objects where each is a record (boxes, a span). Letters: n examples,
b rows of a batch (an example has one per view and piece).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Int, Shaped

from regraft.contracts.example import Example
from regraft.errors import BadRecipe
from regraft.folds import Folds, folds, teachable
from regraft.registry import Shelf
from regraft.values import Prediction

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Reads:
    """What the head reads of a network."""

    readout: str = "pooled"
    """A readout of the top state: `pooled` (n d), `tokens` (n t d) or `grid` (n c h w)."""
    strides: tuple[int, ...] = ()
    """Strides of the taps that it reads besides, as a feature pyramid does; the card says which tap has which."""


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
    fields: str = "prediction.label, prediction.probabilities"
    """What to print of a prediction called `prediction`, in an example of code."""
    column: str = "p"
    """Begins the name of a column of outputs in a table of predictions: `p:NAME`."""


class Task(ABC):
    """A kind of question; a value made from the labels that occur."""

    kind: str
    """The task's name on the shelf."""
    classes: tuple[str, ...]
    """Names of what is predicted, in order: classes, labels, target values; empty where there are none."""
    reads: Reads = Reads()
    """What the head reads; with strides it is given a mapping of all it reads by name, else the readout alone."""
    needs_labels: bool = True
    """Whether examples have labels; not where the input is its own target."""
    taught: bool = False
    """Whether targets are what another network sees in the examples (`Needs.others`), not what labels say: `encode`
    then gives targets without numbers, and a strategy that has a teacher brings them."""
    split_rule: Literal["stratified", "disjoint classes"] = "stratified"
    """`disjoint classes`: what is tested on are classes (identities) that were never trained on."""
    answers: Literal["probabilities", "values", "records"] = "records"
    """What `outputs` hold: probabilities or numbers (n k), or a record for each example."""
    ranked: bool = False
    """Whether the classes have ranks, and so an order that is part of the task."""
    exclusive: bool = False
    """Whether an example is of one class: then outputs sum to 1, and the largest is the prediction."""
    weighable: bool = False
    """Whether classes can be balanced and labels smoothed: where an example is one of several classes without ranks."""
    moves: bool = False
    """Whether targets move with views and pieces, so that `encoded` and `gathered` want placements."""
    generates: bool = False
    """Whether predictions are generated step by step (a translation) instead of read off the head's output."""

    @property
    def states_probabilities(self) -> bool:
        """Whether `outputs` hold probabilities."""
        return self.answers == "probabilities"

    def words(self) -> Words:
        """What its outputs are called; a task with better words than these gives them."""
        return Words(
            output="class",
            outputs="classes",
            asked="",
            labelled=f"with labels of the {self.kind} task",
            given=f"a {self.kind} prediction",
            purpose=f"To predict on inputs of the kind it was trained on ({self.kind})",
            fields="prediction.label",
        )

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a saved model must know of the task beside kind and classes, as JSON."""
        return {}

    @property
    def columns(self) -> tuple[str, ...]:
        """What the columns of a table are called that hold a label, where their names are part of the task."""
        return ()

    def named(self, label: str) -> Sequence[str]:
        """Which of `classes` a label names; `classes` are all those that the labels of a data set name."""
        return (label,)

    def for_preparation(self, preparation: Any) -> "Task":
        """The task, knowing what it must of how records are made: one that writes text takes its vocabulary there."""
        return self

    def targets(self, examples: Sequence[Example]) -> np.ndarray:
        """The target of every example."""
        return self.encode([example.label for example in examples])

    @abstractmethod
    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Labels, as a table or folder writes them, as targets."""

    def prepared(self, targets: Shaped[np.ndarray, "n ..."]) -> "Task":
        """The task, knowing what it must of the training targets: their scale, where it has one."""
        return self

    def strata(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
        """A number for every example; splits and folds are drawn so that each has its share of every number."""
        return np.zeros(len(targets), dtype=np.int64)

    def identities(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
        """The class (identity) of every example, which one split has alone: asked with the rule `disjoint classes`."""
        return targets

    def kinds(self, targets: Shaped[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
        """The class of every example; one for all where an example is not of one class."""
        return targets if self.exclusive else np.zeros(len(targets), dtype=np.int64)

    def deal(
        self, targets: Shaped[np.ndarray, "n ..."], groups: Shaped[np.ndarray, " n"] | None, num_folds: int, seed: int
    ) -> Folds:
        """The examples in folds, each with its share of every stratum; a group stays in one fold, and no fold tests
        what the others cannot teach."""
        dealt = folds(self.strata(targets), groups, num_folds, seed, kept=self.exclusive)
        return teachable(dealt, targets, groups, self.untaught)

    def untaught(
        self, outside: Shaped[np.ndarray, "n ..."], inside: Shaped[np.ndarray, "m ..."]
    ) -> Bool[np.ndarray, " m"]:
        """Which of the targets `inside` show what none of those `outside` shows, so that a model trained on the latter
        cannot know it: their class. None where examples have none, or where the tested classes are new by intent."""
        if self.exclusive and self.split_rule == "stratified":
            return np.isin(inside, outside, invert=True)
        return np.zeros(len(inside), dtype=bool)

    @abstractmethod
    def encoded(self, targets: Shaped[np.ndarray, "b ..."], placements: Mapping[str, np.ndarray]) -> Any:
        """The targets of a batch as the loss takes them: an array, or a mapping of arrays by name.

        `placements` say how each row was cut out of its example, so that boxes and spans move with it; may be empty.
        """

    @abstractmethod
    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """A fresh head: what it reads -> a tensor with the row on the first axis, or a mapping of such by name.

        `widths` are the channels of all that it reads, by readout and tap; `source_head` is the pretrained network's
        own, for a task that goes on with it.
        """

    @abstractmethod
    def objective(
        self, targets: Shaped[np.ndarray, "n ..."], *, balanced: bool, smoothing: float
    ) -> "Callable[[Any, Any], Tensor]":
        """The loss to train with: (head's output, encoded targets) -> mean loss of a batch, a scalar.

        `targets` are those of the training examples, for what the loss must know of them. `balanced`: every class
        weighs the same; `smoothing`: label smoothing in [0, 1).
        """

    @abstractmethod
    def gathered(self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any) -> np.ndarray:
        """Raw outputs of examples from the head's outputs of batches (numpy), in their order: pieces are merged here.
        With `generates`, the batches hold what the network generated."""

    def judged(
        self, raw: np.ndarray, targets: np.ndarray, mean_loss: float, loss: "Callable[[Any, Any], Tensor]"
    ) -> tuple[float, float]:
        """The validation loss, and what chooses the epoch to keep: the same unless confidence can be mended."""
        return mean_loss, mean_loss

    def scores(self, raw: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """A few numbers to watch while training, by name; they decide nothing."""
        return {}

    def outputs(self, raw: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Raw outputs as metrics take them: probabilities, values in the user's units, or records."""
        return raw

    def stated(self, raw: np.ndarray, targets: np.ndarray) -> "tuple[np.ndarray, np.ndarray, np.ndarray] | None":
        """Every probability that is stated, as a choice between some options: their logits (s o), which option is true
        (s), and which example it is of (s). Calibration looks at these; None where no probability is stated."""
        return None

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> list[str]:
        """The label that each output says, as `encode` takes it."""

    @abstractmethod
    def predictions(self, outputs: np.ndarray) -> list[Prediction]:
        """What the user is told of each output, not yet named."""


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


def as_records(records: Sequence[Any]) -> Shaped[np.ndarray, " n"]:
    """Targets or outputs that are records as one array of objects, whatever numpy might make of tuples or lists."""
    array = np.empty(len(records), dtype=object)
    for at, record in enumerate(records):
        array[at] = record
    return array


MakeTask = Callable[..., Task]
"""(classes, facts) -> the task; without facts, those of a task that has seen no data."""

TASKS: Shelf[MakeTask] = Shelf("task", "regraft.tasks")
