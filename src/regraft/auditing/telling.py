"""How accurately a few traits predict the class of held-out examples.

Letters: n examples, t traits, c classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.audit import SessionView
from regraft.contracts.metric import metric
from regraft.contracts.modality import Trait
from regraft.data.labels import suggested_groups
from regraft.evaluation.intervals import measure
from regraft.identity import derive_seed
from regraft.values import Measured

MAX_EXAMPLES = 4000
"""Maximum number of examples, drawn at random. Our choice."""
MARGIN = 0.1
"""Minimum distance of the interval's lower end above chance, for the class to count as predictable. Our choice."""
_KINDS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """Result of predicting the class from some traits."""

    accuracy: Measured
    """Out-of-fold balanced accuracy."""
    chance: float
    """Balanced accuracy of guessing."""
    examples: Int[np.ndarray, " n"]
    """Positions of the examples predicted as the class with the largest median of the (first) trait: those with a
    border, not those without."""
    label: str
    """That class."""

    @property
    def tells(self) -> bool:
        """Whether the accuracy is clearly above chance. Without an interval (few groups, or all predictions correct),
        twice the margin is required."""
        low = self.accuracy.value - MARGIN if self.accuracy.low is None else self.accuracy.low
        return low > self.chance + MARGIN


def supposed_groups(view: SessionView) -> Int[np.ndarray, " n"] | None:
    """Return the user's groups, or those that names suggest if there are none."""
    if view.groups is not None:
        return view.groups
    found = suggested_groups([one.id for one in view.examples])
    return None if found is None else np.unique(np.array(found.names), return_inverse=True)[1]


def told_by(view: SessionView, traits: Sequence[Trait], *, trees: int = 60) -> Told | None:
    """Measure how accurately a random forest on these traits (one tree: a small decision tree) predicts the class.
    Return None if it cannot be measured: too few examples or classes, or traits that do not vary."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier

    columns = columns_of(traits)
    known = np.flatnonzero(view.usable & np.isfinite(columns).all(axis=1))
    known = np.sort(np.random.default_rng(view.seed).permutation(known)[:MAX_EXAMPLES])
    columns, targets, groups = columns[known], view.targets[known], supposed_groups(view)
    names, counts = np.unique(targets, return_counts=True)
    if len(names) < 2 or counts.min() < 5 or not np.ptp(columns, axis=0).any():
        return None
    groups = None if groups is None else groups[known]
    if groups is not None and len(np.unique(groups)) < 2:
        return None
    dealt = view.task.deal(targets, groups, 5, derive_seed(view.seed, "audit", "folds"))
    predicted = np.full(len(known), -1)
    for fold in range(dealt.num_folds):
        held = dealt.of_example == fold
        options = {"class_weight": "balanced", "random_state": 0}
        model = (
            DecisionTreeClassifier(max_depth=3, min_samples_leaf=5, **options)
            if trees == 1
            else RandomForestClassifier(trees, min_samples_leaf=3, n_jobs=1, **options)
        )
        predicted[held] = model.fit(columns[~held], targets[~held]).predict(columns[held])
    judged = predicted >= 0
    if len(np.unique(targets[judged])) < 2:
        return None
    outputs = (predicted[judged, None] == np.arange(len(view.task.classes))).astype(np.float64)
    accuracy = measure(metric("balanced_accuracy"), targets[judged], outputs,
                       groups=None if groups is None else groups[judged], seed=view.seed)  # fmt: skip
    first = traits[0].values[known]  # if there are several traits, the first determines `label`
    best = max(names.tolist(), key=lambda name: float(np.median(first[targets == name])))
    return Told(
        accuracy=accuracy, chance=1 / len(np.unique(targets[judged])), label=view.task.classes[best],
        examples=known[predicted == best],
    )  # fmt: skip


def accuracy_of_probe(view: SessionView) -> float | None:
    """Return the probe's out-of-fold balanced accuracy; None without a probe."""
    if view.probabilities is None:
        return None
    judged = np.isfinite(view.probabilities).all(axis=1)
    return metric("balanced_accuracy").compute(view.targets[judged], view.probabilities[judged].astype(np.float64))


def columns_of(traits: Sequence[Trait]) -> Float[np.ndarray, "n t"]:
    """Return the traits as columns; a categorical trait is one column."""
    columns = []
    for trait in traits:
        if trait.kinds:
            columns += [np.where(np.isnan(trait.values), np.nan, trait.values == kind) for kind in range(_KINDS)]
        else:
            columns.append(trait.values)
    return np.stack(columns, axis=1)
