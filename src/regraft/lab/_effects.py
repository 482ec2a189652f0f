"""The effects of a study, from its rows: differences of two arms, paired by seed and test example, with intervals.

Letters: s seeds, n test examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.study import RANGES, Effect, Measure
from regraft.evaluation.repeats import crossed
from regraft.lab._costs import Cost
from regraft.lab._kept import Row, unpacked
from regraft.values import Measured

Resolved = Literal["as claimed", "not here", "open", "not run"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found of an effect."""

    effect: Effect
    """Which."""
    size: int | None
    """Training examples of a class; None where it is counted."""
    difference: Measured | None
    """The arm less the other, with its interval; None where no seed was run for both."""
    num_seeds: int
    """Seeds run for both."""

    @property
    def resolved(self) -> Resolved:
        """Whether it bears the claim out."""
        found, effect = self.difference, self.effect
        if found is None:
            return "not run"
        exact = self.size is None
        low, high = (found.value, found.value) if exact else (found.low, found.high)
        if low is None or high is None:
            return "open"
        if low > effect.above:
            return "as claimed"
        return "not here" if high < effect.above + effect.worth or exact else "open"


def found_of(
    effects: Sequence[Effect],
    rows: Sequence[Row],
    costs: Mapping[str, Cost],
    sizes: Sequence[int],
    units: Int[np.ndarray, " n"] | None,
) -> list[Found]:
    """Every effect, as far as the rows go. `units` are the groups of the test examples."""
    found = []
    for effect in effects:
        if effect.measure in ("parameters", "multiply_adds"):
            plus, minus = (getattr(costs[name], effect.measure) for name in (effect.plus, effect.minus))
            exact = Measured(value=plus / minus, method="counted")
            found.append(Found(effect=effect, size=None, difference=exact, num_seeds=0))
            continue
        size = sizes[effect.size]
        plus_rows, minus_rows = ({row["seed"]: row for row in rows if row["arm"] == name and row["size"] == size}
                                 for name in (effect.plus, effect.minus))  # fmt: skip
        tables = [(table(plus_rows[seed], effect.measure), table(minus_rows[seed], effect.measure))
                  for seed in sorted(plus_rows.keys() & minus_rows.keys())]  # fmt: skip
        known = [(one, other) for one, other in tables if one is not None and other is not None]
        difference = None
        if known:
            values = np.stack([one - other for one, other in known])
            groups = units if effect.measure in ("accuracy", "gap") else None
            least, most = RANGES.get(effect.measure, (-inf, inf))
            difference = crossed(values, groups=groups, bounds=(least - most, most - least))
        found.append(Found(effect=effect, size=size, difference=difference, num_seeds=len(known)))
    return found


def table(row: Row, measure: Measure) -> Float[np.ndarray, " n"] | None:
    """What one cell says of every test example, or one number; None where it was not measured."""
    if measure == "accuracy":
        return np.array(unpacked(row["right"]))
    if measure == "gap":
        return float(row["train_accuracy"]) - np.array(unpacked(row["right"]))
    if measure == "transfer":
        return np.array(unpacked(row["transfer"])) if "transfer" in row else None
    if "gradients" not in row:
        return None
    return np.array([signal(row["gradients"])])


def signal(gradients: Mapping[str, Sequence[float]]) -> float:
    """log10 of the gradient's size in the lowest third of the stages relative to the highest, means over training."""
    sizes = [max(float(np.mean(one)), 1e-30) for one in gradients.values()]
    third = max(1, len(sizes) // 3)
    return float(np.mean(np.log10(sizes[:third])) - np.mean(np.log10(sizes[-third:])))
