"""A strategy: options, checks of them, and `fit`, which adapts a network to a task.

A strategy works on tensors only. The frozen stages have already been run: a `Problem` holds the states at the cut. To
add a strategy, put a file in `strategies/` that defines `ENTRY`, a `Strategy`, and `PRESETS`, a literal dictionary.

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
from regraft.values import Preset as Preset

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
    """What is known about a problem before activations are stored."""

    backbone: "Backbone"
    """The network to adapt."""
    cut: str
    """The last frozen stage, `input` or `output`."""
    task: Task
    """Head, loss and decoding."""
    num_views: int | None
    """Number of stored views per example; None if every epoch has new ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """A finished model to which a strategy adds classes; its network is the problem's backbone."""

    name: str
    """Name of its folder."""
    classes: tuple[str, ...]
    """Its classes: the first classes of the task, in the same order."""
    weight: Float[np.ndarray, "o d"]
    """Weight matrix of its head."""
    bias: Float[np.ndarray, "o"]
    """Bias vector of its head."""
    temperature: float
    """Calibration temperature: logits are divided by it."""
    reference: "OODReference | None"
    """Reference of its OOD score."""
    num_examples: int | None
    """Number of its training examples, if known."""
    standing: str = ""
    """How its classes' test examples relate to it, as a clause: `which the old model had not seen`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Other:
    """Another, frozen network whose features training uses (a teacher)."""

    backbone: "Backbone"
    """The network."""
    states: "States"
    """Its pooled features of all examples in the problem's views, as `features` (n d), computed with its own
    preparation and standardised over the training examples."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Everything a strategy has access to."""

    backbone: "Backbone"
    """The network to adapt; only stages above the cut may change."""
    cut: str
    """The last frozen stage, `input` or `output`."""
    task: Task
    """Head, loss and decoding."""
    states: "States"
    """States of all examples at the cut."""
    top: "States"
    """The pretrained network's readout of all examples, as `features`."""
    targets: np.ndarray
    """Encoded target of every example."""
    groups: Int[np.ndarray, "n"]
    """Group of every example; groups are never split between folds."""
    train: Int[np.ndarray, "..."]
    """Positions of the training examples."""
    val: Int[np.ndarray, "..."]
    """Positions of the validation examples, for early stopping; empty: train a fixed number of steps."""
    seed: int
    """The run's seed."""
    device: str = "cpu"
    """Torch device to train on."""
    folder: Path | None = None
    """Folder for checkpoints; None: keep none."""
    max_seconds: float | None = None
    """Time limit of the fit in wall-clock seconds; None: no limit."""
    old: Finished | None = None
    """The finished model to which classes are added; set if the strategy's `needs` ask for `old_data`."""
    others: tuple[Other, ...] = ()
    """The other networks requested by the strategy's `needs`."""
    solve_start: "Callable[[Problem], Fitted] | None" = None
    """Solves `start`; set if the strategy's `needs` ask for it."""

    @cached_property
    def start(self) -> "Fitted":
        """The linear probe to start training from, solved on the training examples on first access; resumed runs do not
        need it."""
        assert self.solve_start is not None, "the strategy must request a start in `needs`"
        return self.solve_start(self)

    @property
    def asked(self) -> Asked:
        """The problem without its data."""
        return Asked(backbone=self.backbone, cut=self.cut, task=self.task, num_views=self.states.num_views)

    def part(self, name: str, *, train: np.ndarray, val: np.ndarray) -> "Problem":
        """Return the problem restricted to other examples (a fold), with its own checkpoint folder, and its own
        `start`, solved without the held-out examples."""
        return replace(self, train=train, val=val, folder=None if self.folder is None else self.folder / name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A trained model: its changed tensors, and functions to predict with it."""

    tensors: Mapping[str, np.ndarray]
    """Tensors that training may have changed, by canonical name: `stage/parameter`, `head/…`."""
    logits: Callable[[Problem, Int[np.ndarray, "..."]], Shaped[np.ndarray, "..."]]
    """(problem, positions) -> raw outputs on the plain view; logits (n c) for most tasks."""
    features: Callable[[Problem, Int[np.ndarray, "..."]], "RowSource"]
    """(problem, positions) -> inputs of the head (n d) on the plain view."""
    frozen: frozenset[str] = frozenset()
    """Names of tensors above the cut that did not change (batch-norm statistics)."""
    out_of_fold: Float[np.ndarray, "n c"] | None = None
    """Out-of-fold logits of the training examples; nan where the other folds do not contain the example's class; None
    if not computed."""
    curve: tuple[Mapping[str, float], ...] = ()
    """One mapping per epoch: losses, accuracies, learning rate, seconds."""
    num_trained: int | None = None
    """Number of trained parameters; None: count the tensors that are not frozen."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts for the report: regularisation strength, best epoch, batch-norm mode."""
    calibration: "Calibration | None" = None
    """The temperature, if the strategy sets it; None: fitted on held-out examples."""
    reference: "OODReference | None" = None
    """Reference of the OOD score, if the strategy sets it; None: the training examples."""
    check: "Callable[[Sample, Sequence[str]], Finding] | None" = None
    """(test split, its ids) -> finding: whether the model keeps the strategy's guarantee. Runs before anything is
    written."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a strategy requires, given its options."""

    top: bool = False
    """Whether it uses the pretrained network's readouts (`Problem.top`)."""
    start: bool = False
    """Whether it uses the solved probe (`Problem.start`), which needs `top`."""
    balanced: bool = False
    """Whether that probe is solved with balanced classes."""
    others: tuple[tuple[str, int], ...] = ()
    """Names of other backbones whose features it uses (`Problem.others`), each with the side of its input in grid
    cells; 0: the card's."""
    old_data: str | None = None
    """Path of examples of the classes that the backbone (a finished model) already knows, to open with the recipe's
    data; empty: its original training data. None: the recipe's data only."""


Ranges = tuple[tuple[str, str], ...]
"""Type of a class attribute `RANGES` of options: pairs of a range's description and the options it applies to, without
inherited ones."""
HOLDS: Mapping[str, Callable[[float], bool]] = {
    "a positive number": lambda value: 0 < value < math.inf,
    "0 or more": lambda value: 0 <= value < math.inf,
    "1 or more": lambda value: value >= 1,
    "2 or more": lambda value: value >= 2,
    "in [0, 1)": lambda value: 0 <= value < 1,
    "in [0, 1]": lambda value: 0 <= value <= 1,
    "in (0, 1]": lambda value: 0 < value <= 1,
}
"""Range checks by description."""


def check_ranges(options: Any) -> None:
    """Check options against their `RANGES`. Raises `BadRecipe` with the option, the value, the range and the
    default."""
    for kind in type(options).__mro__:
        for wanted, names in vars(kind).get("RANGES", ()):
            for name in names.split():
                value = getattr(options, name)
                if not HOLDS[wanted](value):
                    raise BadRecipe(
                        f"options.{name} is {value}; it must be {wanted}.",
                        fix=f"--set options.{name}=VALUE, or leave it out to use the default "
                        f"{getattr(type(options)(), name)}.",
                    )


def check_classes(options: Any, asked: Asked) -> None:
    """Raise `BadRecipe` if class balancing or label smoothing is set for a task without exclusive classes."""
    check_weighable(
        asked.task, balanced=getattr(options, "balanced", False), smoothing=getattr(options, "smoothing", 0.0)
    )


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A way to adapt a network to a task; a file in `strategies/` defines one as `ENTRY`."""

    Options: type[Any]
    """Dataclass of the recipe's [options]; every field has a default and a docstring."""
    presets: Mapping[str, Preset]
    """Named configurations."""
    fit: Callable[[Problem, Any], Generator[Event, None, Fitted]]
    """Train: yield events, return the model."""
    needs: Callable[[Any], Needs] = lambda options: Needs()
    """options -> what must be prepared before `fit`."""
    check: Callable[[Any], None] = check_ranges
    """Reject options out of range, before anything is computed."""
    check_asked: Callable[[Any, Asked], None] = check_classes
    """Reject combinations that this network, cut or task does not support, before anything is stored."""
    solved: bool = False
    """Whether only the head is fitted, by a solver at cut `output`, so that no validation split is needed."""


STRATEGIES: Shelf[Strategy] = Shelf("strategy", "regraft.strategies")
