"""What a regulariser is: a term that is added to the loss of every step of fine-tuning, and holds it back.

A file on the shelf defines one `Kind` of it, as `ENTRY`. What is made from the problem alone (the untouched network, a
table) is made again when a run is resumed; what is trained along lies in the tail's state, and so in the checkpoint.
Nothing of it enters a bundle.

Letters: b rows of a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from regraft.contracts.strategy import Asked, Problem
from regraft.errors import BadRequest
from regraft.registry import Shelf
from regraft.strategies.tail import Tail, Term

HEAD_WEIGHT = 0.01
"""Factor on half the squared norm of what is trained from random weights, where a regulariser stands in for weight
decay: beta in Li et al. 2018 (arXiv:1802.01483); the value is that of thuml's Transfer-Learning-Library
(`--trade-off-head`)."""


class Regulariser(Term):
    """The term, with what it is computed from."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        """Factor on the term."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An entry of the shelf: one way to hold training back."""

    weight: float
    """The factor that its paper, or its authors' code, gives the term."""
    build: Callable[[Problem, Tail, float], Regulariser]
    """(problem, tail, weight) -> the regulariser."""
    relates_classes: bool = False
    """Whether it needs the classes that the weights were trained on, and classes to relate them to."""
    needs_start: bool = False
    """Whether it looks at the solved probe (`Problem.start`)."""


REGULARISERS: Shelf[Kind] = Shelf("regulariser", "regraft.strategies.regularisers")


def check(name: str, asked: Asked) -> None:
    """Refuse a regulariser that cannot work with this network, cut and task.

    Raises:
        UnknownName: there is none of that name; the nearest is offered.
        BadRequest: there is nothing pretrained to be held back to, nothing above the cut, or no classes to relate.
    """
    kind, card = REGULARISERS.get(name), asked.backbone.card
    if card.weights == "random":
        raise BadRequest(
            f"The regulariser {name!r} keeps training close to the pretrained network, but the weights of "
            f"{card.name} are "
            "random.",
            fix="start from trained weights, or leave out options.regulariser.",
        )
    network = asked.backbone.network
    if not network.above(asked.cut):
        raise BadRequest(
            f"The regulariser {name!r} acts on the stages above the cut, but only the head is above the cut "
            f"{asked.cut!r}.",
            fix="choose a lower cut, or leave out options.regulariser.",
        )
    if not kind.relates_classes:
        return
    others = ", ".join(other for other in REGULARISERS if not REGULARISERS.get(other).relates_classes)
    if not asked.task.weighable:
        raise BadRequest(
            f"The regulariser {name!r} relates classes to classes, but the task is {asked.task.kind}.",
            fix=f"set options.regulariser to one of: {others}.",
        )
    if network.source_head is None:
        raise BadRequest(
            f"The regulariser {name!r} needs the classifier that the weights were trained with, but {card.name} "
            "has none (models saved by Regraft keep their stages, not the source classifier).",
            fix=f"set options.regulariser to one of: {others}, or start from the original weights of this model.",
        )


def build(name: str, problem: Problem, tail: Tail, weight: float) -> Regulariser:
    """The regulariser of that name for this problem, which `check` has passed; `weight` 0: the published one.

    Raises:
        UnknownName: there is none of that name; the nearest is offered.
        BadData: a batch needs more rows than there are training examples.
    """
    kind = REGULARISERS.get(name)
    made = kind.build(problem, tail, weight or kind.weight)
    made.facts = {"name": name, "weight": made.weight, **made.facts}
    return made


def head_term(tail: Tail) -> Float[Tensor, ""]:
    """`HEAD_WEIGHT / 2` times the squared norm of the head's and the side heads' parameters."""
    fresh = [*tail.head.parameters(), *tail.side_heads.parameters()]
    squares = [parameter.square().sum() for parameter in fresh]
    return 0.5 * HEAD_WEIGHT * sum(squares[1:], start=squares[0])
