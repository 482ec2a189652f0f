"""How much better a model does on what it was trained on than on what it was not.

Letters in shapes: n and m examples of two separate sets, u both together, b resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np
from jaxtyping import Bool, Float, Shaped

from regraft.evaluation._resampling import units
from regraft.evaluation.intervals import MIN_GROUPS, Statistic, bootstrap, share, wilson
from regraft.values import Measured


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Which examples of a part of the data were predicted right."""

    right: Bool[np.ndarray, " n"]
    """Whether the most probable class is the target."""
    groups: Shaped[np.ndarray, " n"] | None = None
    """The group of each example, where there are groups."""


@dataclass(frozen=True, kw_only=True)
class OverfittingGap:
    """Accuracy by part of the data, and how it falls from part to part."""

    accuracy: Mapping[str, Measured]
    """By name of the part, in the order given."""
    falls: Mapping[str, Measured]
    """Accuracy of one part less that of the next, by `train - val` and so on; above 0 where it falls."""


def overfitting_gap(parts: Mapping[str, Part], *, level: float = 0.95, seed: int = 0) -> OverfittingGap:
    """Accuracy of every part (`train`, `val`, `test`, in this order) and the fall from each to the next."""
    accuracy = {
        name: share(part.right, np.ones_like(part.right), groups=part.groups, level=level, seed=seed)
        for name, part in parts.items()
    }
    names = list(parts)
    falls = {
        f"{one} - {other}": difference(parts[one], parts[other], level=level, seed=seed)
        for one, other in pairwise(names)
    }
    return OverfittingGap(accuracy=accuracy, falls=falls)


def difference(one: Part, other: Part, *, level: float = 0.95, seed: int = 0) -> Measured:
    """Accuracy on `one` less accuracy on `other`, two separate sets, in [-1, 1].

    Newcombe's interval (1998, method 10) from the two Wilson intervals; with groups the bootstrap by group, a group
    that occurs in both sets counting as two.
    """
    n, m = len(one.right), len(other.right)
    accuracy, other_accuracy = float(one.right.mean()), float(other.right.mean())
    fall = accuracy - other_accuracy
    drawn = [units(len(part.right), part.groups) for part in (one, other)]
    if not any(part.grouped for part in drawn):
        low, high = wilson(float(one.right.sum()), n, level)
        other_low, other_high = wilson(float(other.right.sum()), m, level)
        return Measured(
            value=fall,
            low=fall - sqrt((accuracy - low) ** 2 + (other_high - other_accuracy) ** 2),
            high=fall + sqrt((high - accuracy) ** 2 + (other_accuracy - other_low) ** 2),
            level=level,
            method="newcombe",
        )
    fewest = min(part.num for part in drawn)
    if fewest < MIN_GROUPS:
        return Measured(value=fall, level=level, method=f"too few groups ({fewest} < {MIN_GROUPS})")
    right = np.concatenate([one.right, other.right]).astype(np.float64)

    def of_weights(weights: Float[np.ndarray, "b u"]) -> Float[np.ndarray, " b"]:
        totals = [weights[:, :n].sum(axis=1), weights[:, n:].sum(axis=1)]
        sums = [weights[:, :n] @ right[:n], weights[:, n:] @ right[n:]]
        with np.errstate(invalid="ignore"):
            result: Float[np.ndarray, " b"] = sums[0] / totals[0] - sums[1] / totals[1]
        return result

    groups = np.concatenate([drawn[0].of_example, drawn[0].num + drawn[1].of_example])
    fell = Statistic(of_weights=of_weights, bounds=(-1.0, 1.0))
    return bootstrap({"fall": fell}, n + m, groups=groups, level=level, seed=seed)["fall"]
