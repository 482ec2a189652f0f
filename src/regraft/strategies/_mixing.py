"""Mixing pairs of examples at the cut: mixup of states, and CutMix of inputs.

The partners of a batch are a permutation of it. With a weight s from Beta(alpha, alpha), one per batch:

* mixup: every floating tensor x of the state becomes s x + (1 - s) x[partner]. At cut `input` that is the prepared
  input after the network's `start`, as floats; at an inner cut it is the stored state. Shared tensors have no batch
  axis and do not change. States with other tensors (a mask, token ids) cannot be averaged and are rejected.
* CutMix: a fraction 1 - s of the input's grid cells, a rectangle at a random place and clipped at the border, comes
  from the partner; s is then the fraction of cells that remain.

The loss is s loss(logits, targets) + (1 - s) loss(logits, targets[partner]), auxiliary heads included. All random
numbers depend on seed and step only, so a resumed run draws the same.

Sources: Zhang et al. 2018, arXiv:1710.09412 (mixup; one weight per batch, as in the authors' code); Verma et al. 2019,
arXiv:1806.05236 (manifold mixup, there at a random layer in each step, here always at the cut); Yun et al.
2019, arXiv:1905.04899 (CutMix; the rounding of the area is that of the authors' code).

Letters: b rows of a batch, h and w height and width of the grid in cells.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from regraft.contracts.backbone import State
from regraft.contracts.strategy import Problem
from regraft.errors import BadRequest
from regraft.identity import derive_seed
from regraft.strategies.tail import Loss, Tail

Area = tuple[slice, slice]
"""Rows and columns of grid cells."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mix:
    """The partners of one batch, and how to mix them."""

    partner: Int[np.ndarray, "b"]
    """The row that each row is mixed with."""
    share: float
    """Weight of the row itself, in [0, 1]."""
    area: Area | None
    """The grid cells that come from the partner; None mixes all values by `share`."""
    shared: frozenset[str]
    """Names of tensors without a batch axis."""

    def state(self, state: State) -> State:
        """Return the mixed state of the batch."""
        return {name: value if name in self.shared else self._mixed(value) for name, value in state.items()}

    def loss(self, loss: Loss) -> Loss:
        """Return the loss of mixed rows: (logits, targets of the rows themselves) -> a scalar."""

        def mixed(logits: Tensor, targets: Tensor) -> Tensor:
            other = targets[torch.from_numpy(self.partner).to(targets.device)]
            return self.share * loss(logits, targets) + (1 - self.share) * loss(logits, other)

        return mixed

    def _mixed(self, values: Tensor) -> Tensor:
        other = values[torch.from_numpy(self.partner).to(values.device)]
        if self.area is None:
            return self.share * values + (1 - self.share) * other
        mixed = values.clone()
        mixed[..., self.area[0], self.area[1]] = other[..., self.area[0], self.area[1]]
        return mixed


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How the batches of a run are mixed."""

    mixup: float
    """Alpha of mixup; 0: off."""
    cutmix: float
    """Alpha of CutMix; 0: off. With both, each step uses one of the two at random."""
    grid: tuple[int, int]
    """Height and width of the inputs' grid in cells, for CutMix."""
    shared: frozenset[str]
    """Names of tensors without a batch axis."""

    def draw(self, seed: int, step: int, rows: int) -> Mix:
        """Draw the mix of a batch of `rows` rows at a step of the run with this seed."""
        random = np.random.default_rng(derive_seed(seed, "mix", step))
        cutting = bool(self.cutmix) and (not self.mixup or random.random() < 0.5)
        alpha = self.cutmix if cutting else self.mixup
        share, partner = float(random.beta(alpha, alpha)), random.permutation(rows)
        if not cutting:
            return Mix(partner=partner, share=share, area=None, shared=self.shared)
        area = _area(self.grid, 1 - share, (random.random(), random.random()))
        cells = (area[0].stop - area[0].start) * (area[1].stop - area[1].start)
        return Mix(partner=partner, share=1 - cells / (self.grid[0] * self.grid[1]), area=area, shared=self.shared)


def check_cutmix(cutmix: float, cut: str) -> None:
    """Reject CutMix at any cut but the input.

    Raises:
        BadRequest: it is requested at a higher cut.
    """
    if cutmix and cut != "input":
        raise BadRequest(
            f"options.cutmix is {cutmix}, but the cut is {cut!r}. Cutmix pastes a region of one input into "
            "another; above the input, every grid cell depends on its surroundings, so a region of a state is not a "
            "region of an input.",
            fix="--cut input (strategies full, lp_ft), or mix whole states: --set options.mixup=0.2.",
        )


def mixing_of(tail: Tail, problem: Problem, *, mixup: float, cutmix: float) -> Mixing:
    """Return how to mix the problem's states at its cut, from those of one example.

    Raises:
        BadRequest: inputs are not grids (for CutMix), or the states cannot be averaged.
    """
    one = problem.train[:1]
    stored = problem.states.batch(one, np.zeros_like(one))
    with torch.no_grad():
        state = tail.begun({name: torch.from_numpy(array) for name, array in stored.items()})
    own = {name: value for name, value in state.items() if name not in tail.shared}
    for name, value in own.items():
        if not value.is_floating_point():
            raise BadRequest(
                f"The state at cut {problem.cut!r} contains {name!r}, of dtype "
                f"{str(value.dtype).removeprefix('torch.')}, which "
                "cannot be averaged; mixing requires floating-point states.",
                fix="leave out options.mixup and options.cutmix, or choose a cut with floating-point states only.",
            )
        if cutmix and value.ndim != 4:
            raise BadRequest(
                f"The inputs are not grids: {name!r} has {value.ndim} axes including the example axis; cutmix needs 4.",
                fix="leave options.cutmix out; --set options.mixup=0.2 mixes whole inputs.",
            )
    sizes = {(int(value.shape[-2]), int(value.shape[-1])) for value in own.values()} if cutmix else {(0, 0)}
    if len(sizes) > 1:
        raise BadRequest(
            f"The grids of an input differ in size ({sorted(sizes)}); cutmix needs one size.",
            fix="leave options.cutmix out; --set options.mixup=0.2 mixes whole inputs.",
        )
    return Mixing(mixup=mixup, cutmix=cutmix, grid=sizes.pop(), shared=tail.shared)


def _area(grid: tuple[int, int], share: float, centre: tuple[float, float]) -> Area:
    """Return a rectangle of `share` of the grid, of its proportions, around `centre` in [0, 1), clipped to it."""
    slices = []
    for size, middle in zip(grid, centre, strict=True):
        half, at = int(size * np.sqrt(share)) // 2, int(middle * size)
        slices.append(slice(max(0, at - half), min(size, at + half)))
    return slices[0], slices[1]
