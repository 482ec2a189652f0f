"""Small inputs first: the first epochs see shrunken grids, the last third the whole ones.

An epoch on inputs of half the side costs about a quarter, and what a network learns on them carries over. The sizes
rise evenly by epoch, in steps of 8 cells.

Source: Tan & Le 2021, arXiv:2104.00298 (progressive learning), without the growing regularisation; the last third at
full size is our choice, after Touvron et al. 2019, arXiv:1906.06423 (a network should end on the sizes it will meet).
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from regraft.contracts.backbone import State
from regraft.contracts.strategy import Asked
from regraft.errors import BadRequest

STEP = 8
"""Grid cells between two sizes."""
FULL_SHARE = 1 / 3
"""Share of the epochs, the last ones, at full size."""


def growth_of(asked: Asked, start: float) -> "Growth | None":
    """How the inputs grow from the share `start` of their sides; None where they are whole from the first epoch.

    Raises:
        BadRequest: the states at the cut are no inputs, or the network takes one size alone.
    """
    if start == 1.0:
        return None
    if asked.cut != "input":
        raise BadRequest(
            f"options.start_side is {start}, but at cut {asked.cut!r} states keep the size they were stored with.",
            fix="--set options.start_side=1, or --cut input.",
        )
    family = asked.backbone.family
    if family.one_size:
        raise BadRequest(
            f"options.start_side is {start}, but the weights of {family.name} are for one input size.",
            fix="--set options.start_side=1.",
        )
    return Growth(start=start, smallest=asked.backbone.smallest_side)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How large the inputs are, epoch by epoch."""

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

    def shrunk(self, state: State, epoch: int, epochs: int) -> State:
        """The state with its grids at this epoch's size, averaged as they shrink."""
        return {name: self._shrunk(value, epoch, epochs) for name, value in state.items()}

    def _shrunk(self, values: Tensor, epoch: int, epochs: int) -> Tensor:
        if values.ndim != 4 or not values.is_floating_point():
            return values
        sides = [self.side(side, epoch, epochs) for side in values.shape[2:]]
        if sides == list(values.shape[2:]):
            return values
        return F.interpolate(values, sides, mode="bilinear", antialias=True, align_corners=False)
