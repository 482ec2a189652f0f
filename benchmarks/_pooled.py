"""Means over tasks with intervals: who was drawn to learn from, and who is tested, are both chance.

A table has a row for every seed (a draw of training examples, with all else that a seed decides) and a column for every
test example; what is in it is right or wrong, or the difference of two models that share both. The interval is a 95 %
percentile bootstrap that draws seeds and test examples (whole patients, where there are patients) independently of each
other inside every table, and takes the mean of the tables' means. The tasks themselves are not drawn, unless asked
for: the interval speaks of these tasks. Our choice, after Owen 2007, arXiv:0712.1111 (the pigeonhole bootstrap of
crossed factors). With few seeds it is rather too narrow than too wide for what the seeds decide: of three, a bootstrap
sees two thirds of the variance.

Shapes: s seeds, n test examples, u units of them, r resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.evaluation.intervals import MIN_GROUPS
from regraft.identity import derive_seed

RESAMPLES = 4000
MIN_SEEDS = 3
"""Fewer seeds than this give no interval (our choice)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """One task."""

    task: str
    """Its name; tables of one task and shape share what is drawn."""
    values: np.ndarray
    """(s n), by seed and test example."""
    units: np.ndarray
    """(n), the unit of every test example: itself, or its patient."""

    def __sub__(self, other: "Table") -> "Table":
        """The paired difference; both must have the same seeds and examples."""
        assert self.task == other.task
        assert np.array_equal(self.units, other.units)
        return Table(task=self.task, values=self.values - other.values, units=self.units)

    @property
    def mean(self) -> float:
        """Over seeds and examples."""
        return float(self.values.mean())

    @property
    def num_units(self) -> int:
        """How many units there are."""
        return len(np.unique(self.units))


def mean_of(tables: Sequence[Table]) -> float:
    """The mean of the tables' means."""
    return float(np.mean([table.mean for table in tables]))


def interval(tables: Sequence[Table], *, tasks_too: bool = False) -> tuple[float, float] | None:
    """Ends of the interval of `mean_of(tables)`; None with too few seeds, or one table of too few units.

    With `tasks_too` the tables are drawn as well: for what one would see on other tasks like these.
    """
    if not tables or min(len(table.values) for table in tables) < MIN_SEEDS:
        return None
    if len(tables) == 1 and tables[0].num_units < MIN_GROUPS:
        return None
    drawn: dict[tuple[str, int, int], tuple[np.ndarray, np.ndarray]] = {}
    means = np.zeros((RESAMPLES, len(tables)))
    for at, table in enumerate(tables):
        names, unit_of = np.unique(table.units, return_inverse=True)
        key = (table.task, len(table.values), len(names))
        if key not in drawn:
            random = np.random.default_rng(derive_seed(0, "pooled", *key))
            drawn[key] = (_times(random, key[1]), _times(random, key[2]))
        seeds, units = drawn[key]
        sums = np.array([np.bincount(unit_of, row) for row in table.values])
        sizes = np.bincount(unit_of)
        means[:, at] = ((seeds @ sums) * units).sum(axis=1) / (seeds.sum(axis=1) * (units @ sizes))
    if tasks_too:
        times = _times(np.random.default_rng(derive_seed(0, "pooled", "tasks")), len(tables))
        pooled = (means * times).sum(axis=1) / len(tables)
    else:
        pooled = means.mean(axis=1)
    low, high = np.quantile(pooled, [0.025, 0.975])
    return float(low), float(high)


def shown(tables: Sequence[Table], *, signed: bool = False, tasks_too: bool = False) -> str:
    """Mean of the tables with its interval; `not run` without any."""
    if not tables:
        return "not run"
    form = "+.3f" if signed else ".3f"
    ends = interval(tables, tasks_too=tasks_too)
    if ends is None:
        few = min(len(table.values) for table in tables) < MIN_SEEDS
        return f"{mean_of(tables):{form}} ({'too few seeds' if few else 'too few groups'})"
    return f"{mean_of(tables):{form}} [{ends[0]:{form}}, {ends[1]:{form}}]"


def _times(random: np.random.Generator, count: int) -> np.ndarray:
    """How often each of `count` things is drawn, (r count)."""
    return random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
