"""What the paper's table 1 says that the parts of GoogLeNet cost, and what its own filter counts say.

The table counts weights without biases, in units that can only be 1024 (1000K for 1024 x 1000), and multiply-adds in
millions, at 224 pixels. Rows 3a to 5b differ from the filter counts by less than 2 % save 4c and 5a; with conv1 these
are the three that disagree.

Source: Szegedy et al. 2014, arXiv:1409.4842, table 1, columns `params` and `ops`. Why a row is off is our reading.
"""

from dataclasses import dataclass

from regraft.nn.googlenet import FILTERS
from regraft.nn.inception import Filters

KILO = 1024
"""What the table means by K."""
MEGA = 10**6
TOLERANCE = 0.02
"""Largest share by which a row may differ and still agree: rounding, and 1.8 % in the parameters of 4d. Our choice."""


@dataclass(frozen=True, kw_only=True)
class StatedCost:
    """A row of the table."""

    name: str
    """What the row is of."""
    stage: str
    """The stage it belongs to; empty for the classifier."""
    convolutions: tuple[int, int] | None = None
    """Which of the stage's convolutions it is of, the first and the one after the last; None for the whole stage."""
    parameters: int
    """What the paper states: its figure in K times 1024."""
    multiply_adds: int
    """What the paper states: its figure in M times 10^6."""
    by_filters: int
    """Weights by the filter counts in the same row, biases left out."""
    multiply_adds_by_filters: int
    """Multiply-adds by the filter counts in the same row."""
    note: str = ""
    """Why the row disagrees, where it does."""

    @property
    def agrees(self) -> bool:
        """Whether both figures are those of the filter counts, but for rounding and `TOLERANCE`."""
        parameters = abs(self.parameters - self.by_filters)
        work = abs(self.multiply_adds - self.multiply_adds_by_filters)
        return parameters <= max(KILO / 2, TOLERANCE * self.by_filters) and work <= max(
            MEGA / 2, TOLERANCE * self.multiply_adds_by_filters
        )


_MODULES = {
    "3a": (28, 159, 128),
    "3b": (28, 380, 304),
    "4a": (14, 364, 73),
    "4b": (14, 437, 88),
    "4c": (14, 463, 100),
    "4d": (14, 580, 119),
    "4e": (14, 840, 170),
    "5a": (7, 1072, 54),
    "5b": (7, 1388, 71),
}
"""By module: side of its grid, `params` in K, `ops` in M."""
_NOTES = {
    "conv1": "A full 7x7 on three channels has 9,408 weights. 2.7K and 34M are those of a separable one: 7x7 with 8 "
    "filters for each channel, then 1x1 to 64, is 2,712 weights.",
    "4c": "Its ops are those of the filter counts, its params 7 % too few: 463K weights on 14 x 14 cells would be 93M, "
    "so the row contradicts itself.",
    "5a": "Both figures are 5 % too many, and agree with one another: as if one count were larger than the row says, "
    "such as 48 filters instead of 32 in the 5x5 reduction.",
}


def googlenet_table() -> tuple[StatedCost, ...]:
    """Every row that has parameters."""
    separate = 7 * 7 * 3 * 64
    stem = 64 * 64 + 9 * 64 * 192
    rows = [
        _row("conv1", "stem", separate, 112, 2.7, 34, convolutions=(0, 1)),
        _row("conv2", "stem", stem, 56, 112, 360, convolutions=(1, 3)),
    ]
    channels = 192
    for name, (side, kilo, mega) in _MODULES.items():
        filters = FILTERS[name]
        rows.append(_row(name, name, _weights(filters, channels), side, kilo, mega))
        channels = filters.one + filters.three + filters.five + filters.pool
    return (*rows, _row("linear", "", channels * 1000, 1, 1000, 1))


def _row(
    name: str, stage: str, weights: int, side: int, kilo: float, mega: int, convolutions: tuple[int, int] | None = None
) -> StatedCost:
    return StatedCost(
        name=name,
        stage=stage,
        convolutions=convolutions,
        parameters=round(kilo * KILO),
        multiply_adds=mega * MEGA,
        by_filters=weights,
        multiply_adds_by_filters=weights * side**2,
        note=_NOTES.get(name, ""),
    )


def _weights(filters: Filters, channels: int) -> int:
    """Of a module with reductions and true 5x5 kernels on so many channels."""
    ones = channels * (filters.one + filters.three_in + filters.five_in + filters.pool)
    return ones + 9 * filters.three_in * filters.three + 25 * filters.five_in * filters.five
