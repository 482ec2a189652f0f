"""What `pretrain` adds to the steps of the loop: two terms of the loss, a sampler, and inputs that grow.

Letters: n examples of the data set, t of them to draw from; r rows of a batch; d values of the features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from regraft.contracts.backbone import State
from regraft.contracts.linear import linear
from regraft.contracts.strategy import Asked, Problem
from regraft.errors import BadRequest
from regraft.strategies._batches import AGAIN, Draw, cut, num_batches, shuffling, views_of
from regraft.strategies.tail import Batch, Tail, Term

if TYPE_CHECKING:
    from regraft.strategies.pretrain import Options

TEMPERATURE, WIDTH = 0.2, 128
"""Of the contrast: what similarities are divided by, and values in which two views are compared (our choice among those
of Chen et al.)."""
SECOND = AGAIN << 20
"""Between the numbers of the two views of an example that are compared in a batch; more than `AGAIN` times there are
ever draws of it."""
STEP = 8
"""Grid cells between two sizes of inputs."""
FULL_SHARE = 1 / 3
"""Share of the epochs, the last ones, at full size."""


def terms_of(problem: Problem, options: "Options") -> dict[str, Term]:
    """The terms that are asked for, drawn by torch's generator."""
    width, terms = problem.backbone.card.width, dict[str, Term]()
    if options.projector:
        terms["projector"] = Projector(width, options.projector, linear(problem.task).num_outputs)
    if options.contrast:
        terms["contrast"] = Contrast(width, options.contrast)
    return terms


class Projector(Term):
    """The loss of a small network on the features, which is thrown away after training.

    Features that a classifier reads directly are shaped for its classes alone, the more the longer it is trained;
    behind a projector they keep more of what other tasks need. The head that is kept learns beside it, on features that
    it does not shape.

    Source: Wang et al. 2022, arXiv:2112.00496 (supervised pretraining transfers better with one): dense, batch norm,
    rectifier, dense. That the head learns along instead of afterwards is our choice.
    """

    min_rows = 2
    like_head = True

    def __init__(self, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = _layers(width, hidden, outputs)

    def forward(self, tail: Tail, batch: Batch) -> Float[Tensor, ""]:
        return batch.loss(self.layers(batch.passed.features).float(), batch.targets)


class Contrast(Term):
    """The features of two views of one example are drawn together, and apart from those of all others.

    A batch holds every example twice, in two views, the second ones after the first. Behind a projector that is thrown
    away, z are the features at length 1; the loss of a row is the cross-entropy of finding its other view among all
    other rows, by z . z' / TEMPERATURE.

    Sources: Chen et al. 2020, arXiv:2002.05709 (NT-Xent, with a projector of one hidden layer); Islam et al. 2021,
    arXiv:2103.13517 (beside the loss of the classes it makes features that transfer better, farther away above all).
    """

    like_head = True

    def __init__(self, width: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.layers = _layers(width, width, WIDTH)

    def forward(self, tail: Tail, batch: Batch) -> Float[Tensor, ""]:
        return self.weight * self.compared(batch.passed.features)

    def compared(self, features: Float[Tensor, "r d"]) -> Float[Tensor, ""]:
        """The mean over the rows, unweighted."""
        compared = functional.normalize(self.layers(features).float(), dim=1)
        rows = len(compared)
        with torch.autocast(compared.device.type, enabled=False):
            alike = compared @ compared.T / TEMPERATURE
        itself = torch.eye(rows, dtype=torch.bool, device=alike.device)
        other_view = torch.arange(rows, device=alike.device).roll(rows // 2)
        return functional.cross_entropy(alike.masked_fill(itself, -torch.inf), other_view)


def _layers(width: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def draws_of(problem: Problem, options: "Options", size: int, min_rows: int) -> Callable[[int], list[Draw]] | None:
    """Epoch from 0 -> its batches of `size` different examples, where they are not simply every example once."""
    if not options.class_balance and not options.contrast:
        return None

    def draws(epoch: int) -> list[Draw]:
        random, again = shuffling(problem, epoch), np.zeros(len(problem.train), dtype=np.int64)
        if options.class_balance:
            kinds = problem.task.kinds(problem.targets)
            examples, again = balanced(kinds, problem.train, options.class_balance, random)
        else:
            examples = random.permutation(problem.train)
        views, count = views_of(problem, examples, epoch, again), num_batches(len(examples), size, min_rows)
        return paired(problem, examples, views, count) if options.contrast else cut(examples, views, count)

    return draws


def paired(problem: Problem, examples: Int[np.ndarray, "t"], views: Int[np.ndarray, "t"], count: int) -> list[Draw]:
    """`count` batches that hold every example in two views: first all in the one, then all in the other."""
    num_views = problem.states.num_views
    others = views + SECOND if num_views is None else (views + 1) % num_views
    pairs = zip(cut(examples, views, count), cut(examples, others, count), strict=True)
    return [
        Draw(np.concatenate([one.examples, other.examples]), np.concatenate([one.views, other.views]))
        for one, other in pairs
    ]


def balanced(
    classes: Int[np.ndarray, " n"], train: Int[np.ndarray, " t"], share: float, random: np.random.Generator
) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " t"]]:
    """t examples of `train` in random order, rare classes drawn more often than they are found; and how often each was
    drawn before in this epoch.

    A class of m examples is drawn m^(1 - s) parts of the epoch, s being the share asked for: at 0 as often as it is
    found, at 1 as often as every other, at 0.5 by the square root. An epoch has as many draws as there are examples; a
    class's examples are drawn in turn, none a second time before all were drawn once.

    Sources: Mahajan et al. 2018, arXiv:1805.00932 (the square root, in pretraining); Kang et al. 2020, arXiv:1910.09217
    (the power as a dial; drawing every class alike often harms features).
    """
    kinds, counts = np.unique(classes[train], return_counts=True)
    parts = counts ** (1.0 - share)
    exact = len(train) * parts / parts.sum()
    draws = np.floor(exact).astype(np.int64)
    rest = len(train) - int(draws.sum())
    if rest:  # the broken parts, drawn with the chances that they are
        chances = (exact - draws) / (exact - draws).sum()
        draws[random.choice(len(kinds), rest, replace=False, p=chances)] += 1
    chosen, before = [], []
    for kind, count in zip(kinds.tolist(), draws.tolist(), strict=True):
        own = random.permutation(train[classes[train] == kind])
        chosen.append(np.resize(own, count))
        before.append(np.arange(count) // len(own))
    order = random.permutation(len(train))
    return np.concatenate(chosen)[order], np.concatenate(before)[order]


def resize_of(asked: Asked, start: float) -> "Resize | None":
    """How the inputs grow from the share `start` of their sides; None where they are whole from the first epoch.

    Raises:
        BadRequest: the states at the cut are no inputs, or the network takes one size alone.
    """
    if start == 1.0:
        return None
    if asked.cut != "input":
        raise BadRequest(
            f"options.progressive_resize is {start}, but at cut {asked.cut!r} states keep the size they were stored "
            "with.",
            fix="--set options.progressive_resize=1, or --cut input.",
        )
    family = asked.backbone.family
    if family.one_size:
        raise BadRequest(
            f"options.progressive_resize is {start}, but the weights of {family.name} are for one input size.",
            fix="--set options.progressive_resize=1.",
        )
    return Resize(start=start, smallest=asked.backbone.smallest_side)


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Progressive resizing: the first epochs see shrunken grids, the last third the whole ones.

    An epoch on inputs of half the side costs about a quarter, and what a network learns on them carries over. The sizes
    rise evenly by epoch, in steps of 8 cells.

    Source: Tan & Le 2021, arXiv:2104.00298 (progressive learning), without the growing regularisation; the last third
    at full size is our choice, after Touvron et al. 2019, arXiv:1906.06423 (a network should end on the sizes it will
    meet).
    """

    start: float
    """Side in the first epoch as a share of the whole, in (0, 1)."""
    smallest: int
    """Cells along a side that the network needs."""

    def share(self, epoch: int, epochs: int) -> float:
        """The side in this epoch of `epochs`, counted from 0, as a share of the whole."""
        growing = round(epochs * (1 - FULL_SHARE))
        return 1.0 if epoch >= growing else self.start + (1 - self.start) * epoch / growing

    def side(self, whole: int, epoch: int, epochs: int) -> int:
        """The side in cells: the next multiple of 8 below the share, but no smaller than the network needs."""
        wanted = int(whole * self.share(epoch, epochs) / STEP) * STEP
        return min(whole, max(wanted, -(-self.smallest // STEP) * STEP))

    def __call__(self, state: State, epoch: int, epochs: int) -> State:
        """The state with its grids at this epoch's size, averaged as they shrink."""
        return {name: self._shrunk(value, epoch, epochs) for name, value in state.items()}

    def _shrunk(self, values: Tensor, epoch: int, epochs: int) -> Tensor:
        if values.ndim != 4 or not values.is_floating_point():
            return values
        sides = [self.side(side, epoch, epochs) for side in values.shape[2:]]
        if sides == list(values.shape[2:]):
            return values
        return functional.interpolate(values, sides, mode="bilinear", antialias=True, align_corners=False)
