"""Rows of the tables of transfer as tables of right and wrong."""

from collections.abc import Callable, Sequence

import numpy as np
from _kept import Kept, Row, unpacked
from _pooled import Table, interval, shown

Cell = tuple[str, int, str, str]
"""(set, examples a class or 0, way, the set it went through or nothing)."""


class Found:
    """All rows: those of runs by cell and seed, `costs` of probes by set and whether the cache was filled."""

    def __init__(self, kept: Kept) -> None:
        self.units = {row["judged"]: np.array(row["units"]) for row in kept.rows if "judged" in row}
        self.costs = {(row["cost"], row["cached"]): (row["wall"], row["cpu"]) for row in kept.rows if "cost" in row}
        self.cells: dict[Cell, dict[int, Row]] = {}
        for row in kept.rows:
            if "right" in row:
                cell = (row["set"], row["n"], row["way"], row["start"])
                self.cells.setdefault(cell, {})[row["seed"]] = row

    def rows(self, data: str, n: int, way: str, start: str = "") -> list[Row]:
        """What was run of a cell, by seed."""
        return [row for _, row in sorted(self.cells.get((data, n, way, start), {}).items())]

    def table(self, data: str, n: int, way: str, start: str = "") -> Table | None:
        """Right and wrong of a cell; None where nothing was run."""
        rows = self.rows(data, n, way, start)
        return self._made(data, rows, _right) if rows else None

    def gap(self, data: str, n: int, way: str) -> Table | None:
        """Accuracy on the training examples less right and wrong of the test examples."""
        rows = self.rows(data, n, way)
        return self._made(data, rows, _gap) if rows else None

    def gap_against(self, data: str, n: int, way: str, other: str) -> Table | None:
        """How much larger the gap of one way is, over the seeds that both have; None where there are none."""
        both = self._both((data, n, way, ""), (data, n, other, ""))
        return Table(task=data, values=np.array([_gap(a) - _gap(b) for a, b in both]), units=self.units[data]) \
            if both else None  # fmt: skip

    def against(self, data: str, n: int, one: tuple[str, str], other: tuple[str, str]) -> Table | None:
        """The paired difference of two (way, start), over the seeds that both have; None where there are none."""
        both = self._both((data, n, *one), (data, n, *other))
        return Table(task=data, values=np.array([_right(a) - _right(b) for a, b in both]), units=self.units[data]) \
            if both else None  # fmt: skip

    def _both(self, one: Cell, other: Cell) -> list[tuple[Row, Row]]:
        mine, theirs = self.cells.get(one, {}), self.cells.get(other, {})
        return [(mine[seed], theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())]

    def _made(self, data: str, rows: Sequence[Row], values: Callable[[Row], np.ndarray]) -> Table:
        return Table(task=data, values=np.array([values(row) for row in rows]), units=self.units[data])


def _right(row: Row) -> np.ndarray:
    return np.array(unpacked(row["right"]))


def _gap(row: Row) -> np.ndarray:
    """Of one seed, by test example: its mean is accuracy on the training examples less that on the test part."""
    right = _right(row)
    return row["gap"] + right.mean() - right


def pooled(tables: Sequence[Table | None], *, tasks_too: bool = False) -> str:
    """The mean of paired differences over tasks, and how many there are where some are missing."""
    some = [table for table in tables if table is not None]
    text = shown(some, signed=True, tasks_too=tasks_too)
    return text if len(some) in (0, len(tables)) else f"{text} ({len(some)} of {len(tables)} tasks)"


def complete(tables: Sequence[Table | None]) -> list[Table]:
    """The tables; none of them where one is missing."""
    return [table for table in tables if table is not None] if all(tables) else []


def verdict(tables: Sequence[Table | None]) -> str:
    """`higher`, `lower` or `not significant` by the interval of the mean; empty if there is none."""
    ends = interval(complete(tables))
    if ends is None:
        return ""
    return "higher" if ends[0] > 0 else "lower" if ends[1] < 0 else "not significant"


def one(table: Table | None, *, signed: bool = True) -> str:
    """A table's mean with its interval."""
    return shown([table] if table is not None else [], signed=signed)


def size(n: int) -> str:
    """How many examples per class, in words."""
    return str(n) if n else "all"
