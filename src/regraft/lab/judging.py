"""Effects in a study, computed from its trained arms: differences with intervals, and the resulting verdict.

Differences are paired by seed and, for correct and wrong predictions, by test example. Letters: n test examples.
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
    """Measurements of one training of an arm."""

    right: Bool[np.ndarray, " n"]
    """Whether each test example is predicted correctly; the test examples are the same in every training."""
    gap: float
    """Accuracy on the training examples minus accuracy on the test examples."""
    gradients: Mapping[str, float]
    """Gradient norm by stage from the input upwards, averaged over training; empty if it was not recorded."""

    def of(self, measure: Measure) -> np.ndarray | None:
        """Return the values to compare: one per test example, or a single one; None if the measure was not recorded."""
        if measure == "accuracy":
            return self.right.astype(np.float64)
        if measure == "gap":
            return np.array([self.gap])
        return np.array([signal(self.gradients)]) if self.gradients else None


Trained = Mapping[str, Mapping[tuple[float, int], Seen]]
"""Trainings by arm, then by share of the training examples and seed."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Result for one effect."""

    effect: Effect
    """The effect."""
    difference: Measured | None
    """The arm minus the reference arm, with its interval; for counted costs, their ratio. None if no seed was run for
    both."""
    num_seeds: int
    """Number of seeds run for both arms."""

    @property
    def resolved(self) -> Resolved:
        """Whether the difference supports the claim, contradicts it, or neither."""
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
    """Return the result for every effect, as far as it was trained. `costs` are counts by arm and measure; `groups` are
    those of the test examples."""
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
    """Return log10 of the gradient norm in the lowest third of the stages relative to the highest third."""
    sizes = np.log10([max(one, 1e-30) for one in gradients.values()])
    third = max(1, len(sizes) // 3)
    return float(sizes[:third].mean() - sizes[-third:].mean())


def told(found: Sequence[Found]) -> str:
    """Summarise the results for the key effects in one sentence."""
    parts = []
    for resolved, title in TOLD.items():
        names = [one.effect.name for one in found if one.effect.key and one.resolved == resolved]
        parts += [f"{title}: {', '.join(names)}"] if names else []
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def outcome_of(found: Sequence[Found]) -> Outcome:
    """Return the study's outcome: supported if every key effect is; contradicted if all resolved ones are; otherwise in
    part, or unresolved if no measured one is resolved.

    An effect that is only counted resolves nothing by itself: a network's lower cost says nothing about its accuracy.
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
