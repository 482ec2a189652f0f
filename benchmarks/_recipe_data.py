"""Rows of the study of recipes as tables of right and wrong, and what differs only by chance.

The seed of a pretraining is chance as well, and few are run: `noise` is how much the result of one pretraining moves
with it, pooled over the recipes that were run with two seeds or more, which all are taken to move alike, and
independently of each other at one seed (our choice; sharing a seed can only bring two recipes nearer together).

Shapes: d draws of training examples, n judged examples, k pretrainings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import Any

import numpy as np
from _kept import Kept, unpacked
from _pooled import Table, mean_of
from _probe_page import Page
from _recipe_runs import Cell, Settings

from regraft.evaluation.differences import t_quantile


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much a figure moves with the seed of the pretraining alone."""

    deviation: float
    """Standard deviation of one pretraining."""
    degrees: int
    """How many differences between two seeds it is pooled from."""

    def half_width(self, num_seeds: int) -> float:
        """Half the 95 % interval of the difference of two recipes, each the mean of so many pretrainings."""
        return t_quantile(0.975, self.degrees) * self.deviation * sqrt(2 / num_seeds)


class Found:
    """All rows: pretrainings by recipe and seed, and their probes."""

    def __init__(
        self, kept: Kept, recipes: Sequence[str], data: Sequence[str], draws: Sequence[tuple[int, int]]
    ) -> None:
        self.settings, self.recipes, self.data = Settings(**kept.settings()), list(recipes), list(data)
        self.rows: dict[str, dict[int, Mapping[str, Any]]] = {recipe: {} for recipe in recipes}
        for row in kept.rows:
            if "trained" in row and row["recipe"] in self.rows:
                self.rows[row["recipe"]][row["trained"]] = row
        weights = {label(recipe, seed): row["weights"] for recipe in recipes for seed, row in self.rows[recipe].items()}
        self._probes = Page(kept, weights, data, draws, inside=True)
        self.sizes = self._probes.sizes

    def seeds(self, recipe: str) -> list[int]:
        """Seeds with which it was pretrained and probed on every task."""
        return sorted(seed for seed in self.rows[recipe] if self.probes(recipe, seed))

    def probes(self, recipe: str, seed: int, sizes: Sequence[int] | None = None) -> list[Table]:
        """Right and wrong of one pretraining's probes, a table (d n) for every task and n; empty unless all ran."""
        return self._probes.tables(label(recipe, seed), self.settings.probe_px, self.sizes if sizes is None else sizes)

    def source(self, recipe: str, seed: int) -> Table:
        """Right and wrong on the corpus's validation part, (1 n)."""
        right = np.array([unpacked(self.rows[recipe][seed]["right_source"])])
        return Table(task="source", values=right, units=np.arange(right.shape[1]))

    def mean(self, recipe: str, figure: str) -> float:
        """`top1`, `top5` or `probes`, over the seeds that ran."""
        if figure == "probes":
            return float(np.mean([mean_of(self.probes(recipe, seed)) for seed in self.seeds(recipe)]))
        return float(np.mean([self.rows[recipe][seed][figure]["value"] for seed in self.seeds(recipe)]))

    def shared(self, recipe: str, base: str) -> list[int]:
        """Seeds that both have."""
        return [seed for seed in self.seeds(recipe) if seed in self.seeds(base)]

    def less(self, recipe: str, base: str, tables: Callable[[str, int], list[Table]]) -> list[Table]:
        """Paired differences, averaged over the seeds that both have; empty without any."""
        seeds = self.shared(recipe, base)
        return averaged([[a - b for a, b in zip(tables(recipe, seed), tables(base, seed), strict=True)]
                         for seed in seeds])  # fmt: skip

    def noise(self, value: Callable[[str, int], float]) -> Noise | None:
        """How much `value` of a recipe and seed moves with the seed; None where no recipe has two."""
        squares, degrees = 0.0, 0
        for recipe in self.recipes:
            values = [value(recipe, seed) for seed in self.seeds(recipe)]
            if len(values) > 1:
                squares += float(np.var(values)) * len(values)
                degrees += len(values) - 1
        return Noise(deviation=sqrt(squares / degrees), degrees=degrees) if degrees else None


def label(recipe: str, seed: int) -> str:
    """Name of its rows of probes."""
    return Cell(recipe=recipe, changes=(), seed=seed).label


def averaged(tables: Sequence[Sequence[Table]]) -> list[Table]:
    """The mean over k pretrainings, table by table; draws and judged examples must be the same. Empty without any."""
    return [Table(task=some[0].task, values=np.mean([one.values for one in some], axis=0), units=some[0].units)
            for some in zip(*tables, strict=True)]  # fmt: skip


def verdict(mean: float, ends: tuple[float, float] | None, half_seeds: float | None) -> str:
    """`ahead` or `behind` where a difference is larger than draws, judged examples and seeds explain together, else
    `level`; empty where one of these is not known.

    `ends` are those of the bootstrap's interval. The distance from the mean to the one nearer to zero and the seeds'
    half width are added as the sides of a right angle, for they are independent.
    """
    if ends is None or half_seeds is None:
        return ""
    nearer = mean - ends[0] if mean > 0 else ends[1] - mean
    if abs(mean) <= hypot(nearer, half_seeds):
        return "level"
    return "ahead" if mean > 0 else "behind"
