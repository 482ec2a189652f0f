"""Regularisers: a loss term that keeps fine-tuning close to the pretrained network.

A file in this folder defines one `Kind` as `ENTRY`. What is derived from the problem alone (the pretrained network, a
table) is computed again when a run is resumed; parameters trained with the term are part of the tail's state, and so of
the checkpoint. Bundles contain nothing of it.

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
"""Factor on half the squared norm of parameters trained from random weights, if a regulariser replaces weight decay:
beta in Li et al. 2018 (arXiv:1802.01483); the value is that of thuml's Transfer-Learning-Library
(`--trade-off-head`)."""


class Regulariser(Term):
    """The loss term, with what it is computed from."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        """Factor on the term."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One regularisation method."""

    weight: float
    """Weight of the term in the paper, or in the authors' code."""
    build: Callable[[Problem, Tail, float], Regulariser]
    """(problem, tail, weight) -> the regulariser."""
    relates_classes: bool = False
    """Whether it needs the source classifier, and a task with classes."""
    needs_start: bool = False
    """Whether it uses the solved probe (`Problem.start`)."""


REGULARISERS: Shelf[Kind] = Shelf("regulariser", "regraft.strategies.regularisers")


def check(name: str, asked: Asked) -> None:
    """Reject a regulariser that does not apply to this network, cut and task.

    Raises:
        UnknownName: there is none of that name; the nearest name is suggested.
        BadRequest: there are no pretrained weights, no stages above the cut, or no classes to relate.
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
    """Return the regulariser of that name for this problem, which `check` has accepted; `weight` 0: the published one.

    Raises:
        UnknownName: there is none of that name; the nearest name is suggested.
        BadData: a batch needs more rows than there are training examples.
    """
    kind = REGULARISERS.get(name)
    made = kind.build(problem, tail, weight or kind.weight)
    made.facts = {"name": name, "weight": made.weight, **made.facts}
    return made


def head_term(tail: Tail) -> Float[Tensor, ""]:
    """Return `HEAD_WEIGHT / 2` times the squared norm of the parameters of the head and the auxiliary heads."""
    fresh = [*tail.head.parameters(), *tail.side_heads.parameters()]
    squares = [parameter.square().sum() for parameter in fresh]
    return 0.5 * HEAD_WEIGHT * sum(squares[1:], start=squares[0])
