"""Effects of a study from what its arms did: differences with intervals, and the verdict that follows from them.

Differences are paired by seed, and by test example where each is right or wrong. Letters: n test examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np
from jaxtyping import Bool, Shaped

from regraft.contracts.study import COUNTED, RANGES, Effect, Measure, Outcome, Study
from regraft.evaluation.differences import crossed
from regraft.values import Measured

Resolved = Literal["as claimed", "not here", "open", "not run"]
TOLD = {"as claimed": "Borne out", "not here": "not here", "open": "not resolved", "not run": "not run"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What one training of an arm showed."""

    right: Bool[np.ndarray, " n"]
    """Of each test example whether it is predicted correctly; the same examples in every training."""
    gap: float
    """How much worse accuracy is there than on the training examples."""
    gradients: Mapping[str, float]
    """Size of the gradient by stage from the input upwards, means over training; empty where it was not watched."""

    def of(self, measure: Measure) -> np.ndarray | None:
        """What is compared: a number for each test example, or one; None where it was not measured."""
        if measure == "accuracy":
            return self.right.astype(np.float64)
        if measure == "gap":
            return np.array([self.gap])
        return np.array([signal(self.gradients)]) if self.gradients else None


Trained = Mapping[str, Mapping[tuple[float, int], Seen]]
"""By arm, share of the training examples and seed."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found of an effect."""

    effect: Effect
    """Which."""
    difference: Measured | None
    """The arm less the other, with its interval; of what is counted the ratio. None where no seed was run for both."""
    num_seeds: int
    """Seeds run for both."""

    @property
    def resolved(self) -> Resolved:
        """Whether it bears the claim out."""
        found, effect = self.difference, self.effect
        if found is None:
            return "not run"
        exact = effect.measure in COUNTED
        low, high = (found.value, found.value) if exact else (found.low, found.high)
        if low is None or high is None:
            return "open"
        if low > effect.above:
            return "as claimed"
        return "not here" if high < effect.above + effect.worth or exact else "open"


def found_of(
    study: Study, trained: Trained, costs: Mapping[str, Mapping[str, int]],
    groups: Shaped[np.ndarray, " n"] | None = None,
) -> list[Found]:  # fmt: skip
    """Every effect, as far as it was trained. `costs` are counts by arm and measure; `groups` of the test examples."""
    found = []
    for effect in study.effects:
        if effect.measure in COUNTED:
            ratio = costs[effect.plus][effect.measure] / costs[effect.minus][effect.measure]
            exact = Measured(value=ratio, method="counted")
            found.append(Found(effect=effect, difference=exact, num_seeds=0))
            continue
        plus, minus = trained.get(effect.plus, {}), trained.get(effect.minus, {})
        both = sorted(key for key in plus.keys() & minus.keys() if key[0] == effect.share)
        tables = [(plus[key].of(effect.measure), minus[key].of(effect.measure)) for key in both]
        known = [one - other for one, other in tables if one is not None and other is not None]
        difference = None
        if known:
            least, most = RANGES.get(effect.measure, (-inf, inf))
            by_group = groups if effect.measure == "accuracy" else None
            difference = crossed(np.stack(known), groups=by_group, bounds=(least - most, most - least))
        found.append(Found(effect=effect, difference=difference, num_seeds=len(known)))
    return found


def signal(gradients: Mapping[str, float]) -> float:
    """log10 of the gradient's size in the lowest third of the stages relative to the highest."""
    sizes = np.log10([max(one, 1e-30) for one in gradients.values()])
    third = max(1, len(sizes) // 3)
    return float(sizes[:third].mean() - sizes[-third:].mean())


def told(found: Sequence[Found]) -> str:
    """Which of the key effects came out how, in one sentence."""
    parts = []
    for resolved, title in TOLD.items():
        names = [one.effect.name for one in found if one.effect.key and one.resolved == resolved]
        parts += [f"{title}: {', '.join(names)}"] if names else []
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def outcome_of(found: Sequence[Found]) -> Outcome:
    """Borne out where every key effect is; not here where those that are resolved speak against it; else in part, or
    not resolved where no measured one is.

    An effect that is only counted resolves nothing alone: that a network is cheaper is no claim about what it does.
    """
    key = [one for one in found if one.effect.key]
    measured = [one.resolved for one in key if one.effect.measure not in COUNTED]
    if all(one.resolved == "as claimed" for one in key):
        return "as claimed"
    if all(one in ("open", "not run") for one in measured):
        return "not resolved at this scale"
    if all(one != "as claimed" for one in measured):
        return "not here"
    return "in part"
