"""Means over tasks with intervals, in which both training samples and test examples are random.

A table has a row for every seed (a draw of training examples, with everything else that a seed determines) and a column
for every test example; it contains 1 for correct and 0 for wrong, or the difference of two models. The interval is a 95
% percentile bootstrap that draws seeds and test examples (whole patients, where there are patients) independently of
each other inside every table, and takes the mean of the tables' means. The tasks themselves are not drawn, unless asked
for: the interval speaks of these tasks. Our choice, after Owen 2007, arXiv:0712.1111 (the pigeonhole bootstrap of
crossed factors). Simulated, it covers the truth about as often as it says, three seeds of five tasks included; a test
shows that.

Shapes: s seeds, n test examples, u units of them, r resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

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
    """Its name; tables of one task share what is drawn, where they have as many seeds or units."""
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


def interval(
    tables: Sequence[Table], *, tasks_too: bool = False, min_seeds: int = MIN_SEEDS
) -> tuple[float, float] | None:
    """Ends of the interval of `mean_of(tables)`; None with too few seeds, or one table of too few units.

    With a `min_seeds` of 1 one seed will do, and chance in training is not counted. With `tasks_too` the tables are
    drawn as well: for what one would see on other tasks like these.
    """
    if not tables or min(len(table.values) for table in tables) < min_seeds:
        return None
    if len(tables) == 1 and tables[0].num_units < MIN_GROUPS:
        return None
    means = np.zeros((RESAMPLES, len(tables)))
    for at, table in enumerate(tables):
        names, unit_of = np.unique(table.units, return_inverse=True)
        seeds, units = _times(table.task, "seeds", len(table.values)), _times(table.task, "units", len(names))
        sums = np.array([np.bincount(unit_of, row) for row in table.values])
        means[:, at] = ((seeds @ sums) * units).sum(axis=1) / (seeds.sum(axis=1) * (units @ np.bincount(unit_of)))
    if tasks_too:  # a task that is drawn twice has two resamples of its own: rows are independent, so a later one
        random, count = np.random.default_rng(derive_seed(0, "pooled", "tasks")), len(tables)
        rows = (np.arange(RESAMPLES)[:, None] + np.arange(count)) % RESAMPLES
        means = means[rows, random.integers(count, size=(RESAMPLES, count))]
    low, high = np.quantile(means.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def shown(tables: Sequence[Table], *, signed: bool = False, tasks_too: bool = False, min_seeds: int = MIN_SEEDS) -> str:
    """Mean of the tables with its interval; `not run` without any."""
    if not tables:
        return "not run"
    form = "+.3f" if signed else ".3f"
    ends = interval(tables, tasks_too=tasks_too, min_seeds=min_seeds)
    if ends is None:
        few = min(len(table.values) for table in tables) < min_seeds
        return f"{mean_of(tables):{form}} ({'too few seeds' if few else 'too few groups'})"
    return f"{mean_of(tables):{form}} [{ends[0]:{form}}, {ends[1]:{form}}]"


@cache
def _times(task: str, what: str, count: int) -> np.ndarray:
    """How often each of `count` seeds or units is drawn, (r count); the same for all tables of a task."""
    random = np.random.default_rng(derive_seed(0, "pooled", task, what, count))
    return random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
