"""Everything the test part says of a model, as one value.

Letters in shapes: n examples, c classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.evaluation._contract import Metric, metrics_for
from regraft.evaluation._resampling import units
from regraft.evaluation.calibration import ReliabilityBin, calibrated_reference, reliability
from regraft.evaluation.confusion import ClassScores, Mistake, class_scores, confusion_matrix, most_confused
from regraft.evaluation.intervals import MIN_GROUPS, measure_all
from regraft.evaluation.thresholds import AtSpecificity, OperatingPoint, Rule, Scored, operate
from regraft.values import Json, Measured


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model's numbers on examples it did not see."""

    num_examples: int
    """How many examples."""
    num_groups: int | None
    """How many groups they form; None where every example stands for itself."""
    classes: tuple[str, ...]
    """Class names, in the order of rows and columns below."""
    metrics: Mapping[str, Measured]
    """Every metric of the task, by name."""
    per_class: tuple[ClassScores, ...]
    """Recall, precision and F1 of every class."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts by actual class (row) and predicted class (column)."""
    most_confused: tuple[Mistake, ...]
    """The most frequent mistakes."""
    reliability: tuple[ReliabilityBin, ...]
    """Accuracy by stated confidence."""
    ece_reference: float
    """Calibration error that a perfectly calibrated model with these confidences shows on so few examples."""
    operating_points: tuple[OperatingPoint, ...]
    """Two classes: thresholds chosen elsewhere, tried here; empty otherwise."""
    positive_class: str | None
    """Two classes: which one `operating_points` and the ranking metrics call positive."""
    notes: tuple[str, ...]
    """What to know when reading the numbers."""

    def to_json(self) -> Json:
        """As plain values; numbers that are not finite become None."""
        return as_json(self)


def evaluate(
    targets: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n c"],
    classes: Sequence[str],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    chosen_on: Scored | None = None,
    rules: Sequence[Rule] = (AtSpecificity(specificity=0.9),),
    num_resamples: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Measure a classifier on examples that chose nothing about it.

    `metrics` are all that fit a classification when not given. With two classes the second is the positive one, and
    the thresholds of `rules` are chosen on `chosen_on` (validation or out-of-fold probabilities), never on these
    examples; without it there are none.
    """
    num_classes = len(classes)
    drawn = units(len(targets), groups)
    labels = probabilities.argmax(axis=1)
    matrix = confusion_matrix(targets, labels, num_classes)
    chosen = metrics_for("classification", num_classes) if metrics is None else metrics
    notes = []
    if drawn.grouped and drawn.num < MIN_GROUPS:
        notes.append(f"No intervals: {len(targets)} examples, but too few groups ({drawn.num} < {MIN_GROUPS}).")
    if len(absent := [name for name, count in zip(classes, matrix.sum(axis=1), strict=True) if not count]):
        notes.append(f"No example of {', '.join(absent)}: averages over classes leave it out or are not defined.")
    points: tuple[OperatingPoint, ...] = ()
    if num_classes == 2 and chosen_on is None:
        notes.append("No thresholds: there are no validation or out-of-fold probabilities to choose them on.")
    elif num_classes == 2 and chosen_on is not None:
        tried = Scored(positive=targets == 1, scores=probabilities[:, 1], groups=groups)
        points = tuple(operate(rule, chosen_on, tried, level=level, seed=seed) for rule in rules)
    return Evaluation(
        num_examples=len(targets),
        num_groups=drawn.num if drawn.grouped else None,
        classes=tuple(classes),
        metrics=measure_all(
            chosen, targets, probabilities, groups=groups, num_resamples=num_resamples, level=level, seed=seed
        ),
        per_class=class_scores(targets, labels, classes, groups=groups, level=level, seed=seed),
        confusion=tuple(tuple(row) for row in matrix.tolist()),
        most_confused=most_confused(matrix, classes),
        reliability=reliability(targets, probabilities, groups=groups, level=level, seed=seed),
        ece_reference=calibrated_reference(probabilities, seed=seed),
        operating_points=points,
        positive_class=classes[1] if num_classes == 2 else None,
        notes=tuple(notes),
    )


def as_json(value: Any) -> Json:
    """Dataclasses, mappings, sequences and numbers as plain values; numbers that are not finite become None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return as_json(value.tolist())
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form.")
