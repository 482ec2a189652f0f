"""How well a few numbers tell the class of an example that they were not fitted to.

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
"""So many examples, drawn at random, are enough to see it. Our choice."""
MARGIN = 0.1
"""By so much the lower end of the interval must lie above chance, for a class to be told. Our choice."""
_KINDS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """What some traits say of the class."""

    accuracy: Measured
    """Balanced accuracy, out of fold."""
    chance: float
    """That of guessing."""
    examples: Int[np.ndarray, " n"]
    """Positions of the examples that are taken for the class in which the (first) trait is largest: those with the
    border, not those without."""
    label: str
    """That class."""

    @property
    def tells(self) -> bool:
        """Whether that is clearly more than chance. Without an interval (there are few groups, or all are right) twice
        the margin is asked for."""
        low = self.accuracy.value - MARGIN if self.accuracy.low is None else self.accuracy.low
        return low > self.chance + MARGIN


def supposed_groups(view: SessionView) -> Int[np.ndarray, " n"] | None:
    """The user's groups; where there are none, those that names suggest."""
    if view.groups is not None:
        return view.groups
    found = suggested_groups([one.id for one in view.examples])
    return None if found is None else np.unique(np.array(found.names), return_inverse=True)[1]


def told_by(view: SessionView, traits: Sequence[Trait], *, trees: int = 60) -> Told | None:
    """How well a random forest on these traits (one tree: a small decision tree) tells the class; None where nothing
    can be told: too few examples or classes, or traits that do not vary."""
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
    first = traits[0].values[known]  # with several traits there is no class that stands out
    best = max(names.tolist(), key=lambda name: float(np.median(first[targets == name])))
    return Told(
        accuracy=accuracy, chance=1 / len(np.unique(targets[judged])), label=view.task.classes[best],
        examples=known[predicted == best],
    )  # fmt: skip


def accuracy_of_probe(view: SessionView) -> float | None:
    """Balanced accuracy of the probe, out of fold; None without one."""
    if view.probabilities is None:
        return None
    judged = np.isfinite(view.probabilities).all(axis=1)
    return metric("balanced_accuracy").compute(view.targets[judged], view.probabilities[judged].astype(np.float64))


def columns_of(traits: Sequence[Trait]) -> Float[np.ndarray, "n t"]:
    """The traits side by side, kinds as one column each."""
    columns = []
    for trait in traits:
        if trait.kinds:
            columns += [np.where(np.isnan(trait.values), np.nan, trait.values == kind) for kind in range(_KINDS)]
        else:
            columns.append(trait.values)
    return np.stack(columns, axis=1)
