"""Costs of GoogLeNet's modules as stated in table 1 of the paper, and as computed from its filter counts.

The table counts weights without biases, in units that can only be 1024 (1000K for 1024 x 1000), and multiply-adds in
millions, at 224 pixels. Rows 3a to 5b differ from the filter counts by less than 2 % except 4c and 5a; with conv1 these
are the three rows that disagree.

Source: Szegedy et al. 2014, arXiv:1409.4842, table 1, columns `params` and `ops`. Explanations of deviations are ours.
"""

from dataclasses import dataclass

from regraft.nn.googlenet import FILTERS
from regraft.nn.inception import Filters

KILO = 1024
"""Meaning of K in the table."""
MEGA = 10**6
TOLERANCE = 0.02
"""Maximum relative difference of a row that agrees: rounding, and 1.8 % in the parameters of 4d. Our choice."""


@dataclass(frozen=True, kw_only=True)
class StatedCost:
    """A row of the table."""

    name: str
    """Name of the row."""
    stage: str
    """Its stage; `head` for the classifier."""
    layers: tuple[str, ...] = ("",)
    """Prefixes of the names of the stage's layers that belong to the row."""
    parameters: int
    """Stated parameters: the figure in K times 1024."""
    multiply_adds: int
    """Stated multiply-adds: the figure in M times 10^6."""
    by_filters: int
    """Weights according to the filter counts in the same row, without biases."""
    multiply_adds_by_filters: int
    """Multiply-adds according to the filter counts in the same row."""
    agrees: bool
    """Whether both figures match the filter counts up to rounding and `TOLERANCE`."""
    note: str
    """Why the row disagrees, if it does."""
    parameters_here: int = 0
    """Parameters of the described network: weights, biases, batch norm's scales and shifts."""
    multiply_adds_here: int = 0
    """Multiply-adds of the described network."""


_MODULES = {
    "3a": (28, 159, 128), "3b": (28, 380, 304), "4a": (14, 364, 73), "4b": (14, 437, 88), "4c": (14, 463, 100),
    "4d": (14, 580, 119), "4e": (14, 840, 170), "5a": (7, 1072, 54), "5b": (7, 1388, 71),
}  # fmt: skip
"""By module: side of its grid, `params` in K, `ops` in M."""
_NOTES = {
    "conv1": "A full 7x7 on three channels has 9,408 weights. 2.7K and 34M belong to a separable one: 7x7 with 8 "
    "filters per channel, then 1x1 to 64, has 2,712 weights.",
    "4c": "Its ops match the filter counts, its params are 7 % too low: 463K weights on 14 x 14 cells would be 93M, "
    "so the row contradicts itself.",
    "5a": "Both figures are 5 % too high and consistent, as if one filter count were larger than in the row, "
    "such as 48 filters instead of 32 in the 5x5 reduction.",
}


def googlenet_table() -> tuple[StatedCost, ...]:
    """Return all rows with parameters."""
    conv1, conv2 = 7 * 7 * 3 * 64, 64 * 64 + 9 * 64 * 192
    rows = [
        _row("conv1", conv1, 112, 2.7, 34, stage="stem", layers=("0",)),
        _row("conv2", conv2, 56, 112, 360, stage="stem", layers=tuple("123456")),
    ]
    channels = 192
    for name, stated in _MODULES.items():
        filters = FILTERS[name]
        rows.append(_row(name, _weights(filters, channels), *stated, stage=name))
        channels = filters.one + filters.three + filters.five + filters.pool
    return (*rows, _row("linear", channels * 1000, 1, 1000, 1, stage="head"))


def _row(
    name: str, weights: int, side: int, kilo: float, mega: int, *, stage: str, layers: tuple[str, ...] = ("",)
) -> StatedCost:
    parameters, multiply_adds, work = round(kilo * KILO), mega * MEGA, weights * side**2
    return StatedCost(
        name=name,
        stage=stage,
        layers=layers,
        parameters=parameters,
        multiply_adds=multiply_adds,
        by_filters=weights,
        multiply_adds_by_filters=work,
        agrees=abs(parameters - weights) <= max(KILO / 2, TOLERANCE * weights)
        and abs(multiply_adds - work) <= max(MEGA / 2, TOLERANCE * work),
        note=_NOTES.get(name, ""),
    )


def _weights(filters: Filters, channels: int) -> int:
    """Return the number of weights of a module with reductions and 5x5 kernels, for this number of input channels."""
    ones = channels * (filters.one + filters.three_in + filters.five_in + filters.pool)
    return ones + 9 * filters.three_in * filters.three + 25 * filters.five_in * filters.five
