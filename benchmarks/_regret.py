"""Arithmetic of the regret of choices among recipes, on rows that say what was right.

A *setting* is a data set with a number of training examples. A recipe's worth on a test example is the share of its
runs (seeds) that predict it right. The test set is halved many times, whole units (patients) together. On one half the
best recipe is picked: the *oracle*; on the other half it, and every other choice, is judged against the best recipe
there. So an oracle has regret too, which is what the size of the test set makes of it. Both halves take both parts.

Letters: c recipes, s choices (seeds of whoever chooses), n test examples, h halvings.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _kept import unpacked
from _pooled import Table

from regraft.identity import derive_seed

HALVINGS = 50
"""Halvings of a test set. Our choice."""
DRAWS = 200
"""Orders in which the random search tries recipes. Our choice."""
Judge = Callable[[np.ndarray, int], np.ndarray]
"""(mask of where to pick, the best recipe where it is judged) -> regret (s n)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What every recipe is worth in one setting."""

    name: str
    recipes: tuple[str, ...]
    worth: np.ndarray
    """(c n), between 0 and 1."""
    seconds: np.ndarray
    """(c), CPU seconds of one run."""
    units: np.ndarray
    """(n), the unit of every test example."""

    @property
    def budget_s(self) -> float:
        """A tenth of the CPU seconds that one run of every recipe takes."""
        return float(self.seconds.sum()) / 10

    def halves(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of masks (n): where to pick, where to judge."""
        names, unit_of = np.unique(self.units, return_inverse=True)
        random = np.random.default_rng(derive_seed(0, "halves", self.name))
        for _ in range(HALVINGS):
            first = np.isin(unit_of, random.permutation(len(names))[: len(names) // 2])
            yield first, ~first
            yield ~first, first

    def regret(self, choices: Sequence[str]) -> Table:
        """Of each of these choices (s): how much less often than the best recipe of its half it is right, (s n)."""
        chosen = [self.recipes.index(name) for name in choices]
        return self._judged(lambda picked, best: self.worth[best] - self.worth[chosen])

    def oracle(self) -> Table:
        """Of the recipe that is the best on the other half, (1 n)."""
        return self._judged(lambda picked, best: (self.worth[best] - self.worth[self._best(picked)])[None])

    def random_search(self) -> Table:
        """Of one that tries recipes in random order within the budget, and keeps the best on the other half, which
        flatters it: it needs no validation examples. Where none fits, it takes the cheapest. (1 n)."""
        random, tried = np.random.default_rng(derive_seed(0, "search", self.name)), list[np.ndarray]()
        for _ in range(DRAWS):
            left, some = self.budget_s, list[int]()
            for one in random.permutation(len(self.recipes)).tolist():
                if self.seconds[one] <= left:
                    left -= self.seconds[one]
                    some.append(one)
            tried.append(np.array(some or [int(self.seconds.argmin())]))

        def judge(picked: np.ndarray, best: int) -> np.ndarray:
            means = self.worth[:, picked].mean(axis=1)
            kept = [int(some[means[some].argmax()]) for some in tried]
            return (self.worth[best] - self.worth[kept].mean(axis=0))[None]

        return self._judged(judge)

    def _best(self, where: np.ndarray) -> int:
        return int(self.worth[:, where].mean(axis=1).argmax())

    def _judged(self, of: Judge) -> Table:
        """The mean over halvings of what `of` (where picked, best where judged) gives (s n) where it is judged."""
        total: np.ndarray | float = 0.0
        for picked, judged in self.halves():
            total = total + of(picked, self._best(judged)) * judged
        return Table(task=self.name, values=np.asarray(total) / HALVINGS, units=self.units)


def covered(predicted: Sequence[tuple[float, float]], measured: Sequence[float]) -> float:
    """Share of predicted intervals that hold what was measured."""
    return float(np.mean([low <= one <= high for (low, high), one in zip(predicted, measured, strict=True)]))


def within(predicted: Sequence[float], measured: Sequence[float], factor: float = 1.5) -> float:
    """Share of predictions that are within a factor of what was measured."""
    ratios = np.asarray(predicted, dtype=float) / np.asarray(measured, dtype=float)
    return float(np.mean((ratios <= factor) & (ratios >= 1 / factor)))


def setting_of(name: str, units: Sequence[object], runs: Sequence[Mapping[str, Any]]) -> Setting:
    """A setting from the rows of its runs: `recipe`, `right` by test example as text, `seconds`."""
    recipes = tuple(dict.fromkeys(str(run["recipe"]) for run in runs))
    mine = {one: [run for run in runs if run["recipe"] == one] for one in recipes}
    return Setting(
        name=name, recipes=recipes, units=np.asarray(units),
        worth=np.array([np.mean([unpacked(run["right"]) for run in mine[one]], axis=0) for one in recipes]),
        seconds=np.array([np.mean([run["seconds"] for run in mine[one]]) for one in recipes]),
    )  # fmt: skip
