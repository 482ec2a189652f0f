"""What a strategy is: options, checks that refuse before anything is computed or stored, and a `fit`.

A strategy sees tensors only. The problem arrives already cut: its states lie in the store, its frozen part is not in
the trainer's reach. A new strategy is one file in `strategies/` that defines `PRESETS`, a literal, and an `ENTRY`.

Letters: n examples, c outputs, o old classes, d features, b rows.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.contracts.example import check_weighable
from regraft.contracts.task import Task
from regraft.errors import BadRecipe
from regraft.registry import Shelf
from regraft.values import Event

if TYPE_CHECKING:
    from regraft.activations.states import States
    from regraft.backbones.backbone import Backbone
    from regraft.contracts.metric import Sample
    from regraft.contracts.page import Finding
    from regraft.evaluation.calibration import Calibration
    from regraft.evaluation.ood import OODReference
    from regraft.tasks.rows import RowSource


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What is known of a problem before anything is stored."""

    backbone: "Backbone"
    """The network to adapt."""
    cut: str
    """The last frozen stage, `input` or `output`."""
    task: Task
    """Head, loss and decoding."""
    num_views: int | None
    """Views of each example that will be stored; None where every epoch has new ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """A finished model that a strategy adds classes to; its network is the problem's backbone."""

    name: str
    """What its folder is called."""
    classes: tuple[str, ...]
    """The first classes of the task, in the same order."""
    weight: Float[np.ndarray, "o d"]
    """Weights of its head."""
    bias: Float[np.ndarray, "o"]
    """Biases of its head."""
    temperature: float
    """What its logits are divided by."""
    reference: "OODReference | None"
    """What its OOD score rests on."""
    num_examples: int | None
    """How many examples it was trained on, where it says so."""
    standing: str = ""
    """What the examples of its classes in the test split are to it, as a clause: `which the old model had not seen`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Other:
    """Another network that training looks at, which stays as it is."""

    backbone: "Backbone"
    """What it is."""
    states: "States"
    """What it sees, as `features` (n d): its pooled readout of all examples in the problem's views, each by its own
    preparation, less the mean and divided by the standard deviation over the training examples."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Everything a strategy may know."""

    backbone: "Backbone"
    """The network to adapt; only what lies above the cut may change."""
    cut: str
    """The last frozen stage, `input` or `output`."""
    task: Task
    """Head, loss and decoding."""
    states: "States"
    """States at the cut, of all examples."""
    top: "States"
    """The head's view of the top state of the untouched backbone, of all examples, as `features`."""
    targets: np.ndarray
    """Encoded target of every example."""
    groups: Int[np.ndarray, "n"]
    """Group of every example; examples of one group never straddle a fold."""
    train: Int[np.ndarray, "..."]
    """Positions to train on."""
    val: Int[np.ndarray, "..."]
    """Positions to stop early by; empty means a fixed number of steps."""
    seed: int
    """The run's seed."""
    device: str = "cpu"
    """Where torch works."""
    folder: Path | None = None
    """Where checkpoints go; None keeps none."""
    max_seconds: float | None = None
    """Wall seconds that the fit may take; None is no limit."""
    old: Finished | None = None
    """The finished model that classes are added to; there where the strategy's `needs` ask for its data."""
    others: tuple[Other, ...] = ()
    """The other networks that the strategy's `needs` ask for."""
    solve_start: "Callable[[Problem], Fitted] | None" = None
    """Solves `start`; there where the strategy's `needs` ask for it."""

    @cached_property
    def start(self) -> "Fitted":
        """The linear probe that training may start from, solved on the training examples when it is first asked for: a
        resumed run never asks."""
        assert self.solve_start is not None, "a strategy says by `needs` that it wants a start"
        return self.solve_start(self)

    @property
    def asked(self) -> Asked:
        """It without its data."""
        return Asked(backbone=self.backbone, cut=self.cut, task=self.task, num_views=self.states.num_views)

    def part(self, name: str, *, train: np.ndarray, val: np.ndarray) -> "Problem":
        """The same problem on other examples (a fold), with its own folder for checkpoints, and a `start` of its own
        that never saw what is left out."""
        return replace(self, train=train, val=val, folder=None if self.folder is None else self.folder / name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A trained model: what changed, and how to ask it."""

    tensors: Mapping[str, np.ndarray]
    """Every tensor that training may have changed, by canonical name `stage/parameter`, and `head/…`."""
    logits: Callable[[Problem, Int[np.ndarray, "..."]], Shaped[np.ndarray, "..."]]
    """(problem, positions) -> raw outputs on the plain view: logits (n c) of most tasks."""
    features: Callable[[Problem, Int[np.ndarray, "..."]], "RowSource"]
    """(problem, positions) -> what the head reads, (n d), on the plain view."""
    frozen: frozenset[str] = frozenset()
    """Names among those above the cut that the strategy promised not to change (batch-norm statistics)."""
    out_of_fold: Float[np.ndarray, "n c"] | None = None
    """Logits of the training positions, each by a model that never saw it; nan where no model without it could know
    what it shows; None when none were made."""
    curve: tuple[Mapping[str, float], ...] = ()
    """One record per epoch: losses, accuracies, learning rate, seconds."""
    num_trained: int | None = None
    """Parameters that training moved; None: as many as the tensors that are not frozen have."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the strategy chose: regularisation, best epoch, policy of batch norm."""
    calibration: "Calibration | None" = None
    """The temperature, where the strategy decides it; None: fitted on examples that were held out."""
    reference: "OODReference | None" = None
    """What the OOD score rests on, where the strategy decides it; None: the training examples."""
    check: "Callable[[Sample, Sequence[str]], Finding] | None" = None
    """(test split, its ids) -> whether the model keeps what the strategy promises, asked before anything is written."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A name people know for a strategy with certain options."""

    title: str
    """One line for people."""
    cut: str | None
    """The cut unless the user gives one; None means the backbone's own choice for partial fine-tuning."""
    options: Mapping[str, Any]
    """Fields of the strategy's options that differ from their defaults."""
    views: int
    """Views per example unless the user says otherwise; 0 means a new view every epoch."""
    random_weights: bool = False
    """Whether the backbone's weights are drawn at random instead."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a strategy asks for with certain options."""

    top: bool = False
    """Whether training itself looks at the top states of the untouched backbone (`Problem.top`)."""
    start: bool = False
    """Whether it looks at the solved probe (`Problem.start`), which in turn needs the top states."""
    balanced: bool = False
    """Whether every class weighs the same in that probe's loss."""
    others: tuple[tuple[str, int], ...] = ()
    """Names of other backbones whose features training looks at (`Problem.others`), each with the side of its input in
    cells; 0: its card's."""
    old_data: str | None = None
    """Path of examples that are opened together with the recipe's, of the classes that the backbone, a finished model,
    knows; empty: the examples it was made of. None: the recipe's alone."""


Ranges = tuple[tuple[str, str], ...]
"""Of a class of options, as `RANGES`: the words for a range and the names of the options in it, those that it inherits
left out."""
HOLDS: Mapping[str, Callable[[float], bool]] = {
    "a positive number": lambda value: 0 < value < math.inf,
    "0 or more": lambda value: 0 <= value < math.inf,
    "1 or more": lambda value: value >= 1,
    "2 or more": lambda value: value >= 2,
    "in [0, 1)": lambda value: 0 <= value < 1,
    "in [0, 1]": lambda value: 0 <= value <= 1,
    "in (0, 1]": lambda value: 0 < value <= 1,
}
"""Whether a value lies in a range, by the words for it."""


def check_ranges(options: Any) -> None:
    """Raises: BadRecipe: a value lies outside its range; the option, the value, the range and the default are named."""
    for kind in type(options).__mro__:
        for wanted, names in vars(kind).get("RANGES", ()):
            for name in names.split():
                value = getattr(options, name)
                if not HOLDS[wanted](value):
                    raise BadRecipe(
                        f"options.{name} is {value}; it must be {wanted}.",
                        fix=f"--set options.{name}=VALUE, or leave it out for the default "
                        f"{getattr(type(options)(), name)}.",
                    )


def check_classes(options: Any, asked: Asked) -> None:
    """Raises: BadRecipe: classes are to be balanced, or labels smoothed, and the task has none to choose between."""
    check_weighable(
        asked.task, balanced=getattr(options, "balanced", False), smoothing=getattr(options, "smoothing", 0.0)
    )


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One file on the shelf of strategies defines one, as `ENTRY`."""

    Options: type[Any]
    """Dataclass of what a recipe may set, every field with its default and, under it, its sentence."""
    presets: Mapping[str, Preset]
    """Names that people know for it with certain options."""
    fit: Callable[[Problem, Any], Generator[Event, None, Fitted]]
    """Trains; yields events, returns the model."""
    needs: Callable[[Any], Needs] = lambda options: Needs()
    """Options -> what must be there before `fit`."""
    check: Callable[[Any], None] = check_ranges
    """Refuses options out of range, before anything is computed."""
    check_asked: Callable[[Any, Asked], None] = check_classes
    """Refuses what cannot be had with this network, cut and task, before anything is stored."""
    solved: bool = False
    """Whether the head alone is solved, to its optimum and at the cut `output`, so that nothing validates."""


STRATEGIES: Shelf[Strategy] = Shelf("strategy", "regraft.strategies")
