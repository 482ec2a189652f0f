"""Everything the test part says of a model, as one value.

Letters in shapes: n examples, m training examples, c outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.metric import Metric, main_metric, metrics_for
from regraft.evaluation._resampling import units
from regraft.evaluation._sections import Tested, section_of
from regraft.evaluation.calibration import ReliabilityBin
from regraft.evaluation.confusion import ClassScores, Mistake
from regraft.evaluation.intervals import MIN_GROUPS, measure_all
from regraft.evaluation.numbers import Baseline, NumberScores
from regraft.evaluation.tags import TagScores
from regraft.evaluation.thresholds import AtSpecificity, OperatingPoint, Rule, Scored
from regraft.values import Json, Measured


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model's numbers on examples it did not see. What a kind of task has nothing to say on is empty or None."""

    kind: str
    """The kind of task."""
    main_metric: str
    """Which of `metrics` the model is judged by."""
    num_examples: int
    """How many examples."""
    num_groups: int | None
    """How many groups they form; None where every example stands for itself."""
    classes: tuple[str, ...]
    """Names of the outputs (classes, tags or numbers), in the order of rows and columns below."""
    metrics: Mapping[str, Measured]
    """Every metric of the task, by name."""
    baseline: Baseline | None = None
    """Regression: what always answering the training medians would score, where these are known."""
    per_class: tuple[ClassScores, ...] = ()
    """Classification, ordinal: recall, precision and F1 of every class."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Classification, ordinal: counts by actual class (row) and predicted class (column)."""
    most_confused: tuple[Mistake, ...] = ()
    """Classification, ordinal: the most frequent mistakes."""
    per_tag: tuple[TagScores, ...] = ()
    """Multilabel: every tag on its own."""
    per_number: tuple[NumberScores, ...] = ()
    """Regression: every number on its own."""
    reliability: tuple[ReliabilityBin, ...] = ()
    """Where there are probabilities: accuracy by stated confidence."""
    ece_reference: float | None = None
    """Calibration error that a perfectly calibrated model with these confidences shows on so few examples."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """Two classes: thresholds chosen elsewhere, tried here."""
    positive_class: str | None = None
    """Two classes: which one `operating_points` and the ranking metrics call positive."""
    notes: tuple[str, ...] = ()
    """What to know when reading the numbers."""

    def to_json(self) -> Json:
        """As plain values; numbers that are not finite become None."""
        return as_json(self)


def evaluate(
    targets: Shaped[np.ndarray, "n ..."],
    outputs: Float[np.ndarray, "n c"],
    names: Sequence[str],
    *,
    kind: str = "classification",
    groups: Shaped[np.ndarray, " n"] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    trained_on: Shaped[np.ndarray, "m ..."] | None = None,
    chosen_on: Scored | Sequence[Scored] | None = None,
    rules: Sequence[Rule] = (AtSpecificity(specificity=0.9),),
    num_resamples: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Measure a model on examples that chose nothing about it; `Metric.compute` says what each kind's arrays hold.

    `names` are those of the output columns. `metrics` are all that fit the kind when not given. `trained_on` are the
    targets of the training examples: numbers are compared with always answering their medians. With two classes the
    second is the positive one, and the thresholds of `rules` are chosen on `chosen_on` (validation or out-of-fold
    probabilities), never on these examples; without it there are none. For tags it holds one for each.
    """
    drawn = units(len(targets), groups)
    chosen = metrics_for(kind, len(names)) if metrics is None else metrics
    tested = Tested(
        kind=kind, targets=targets, outputs=outputs, names=tuple(names), groups=groups, trained_on=trained_on,
        chosen_on=(chosen_on,) if isinstance(chosen_on, Scored) else tuple(chosen_on or ()), rules=rules,
        level=level, seed=seed,
    )  # fmt: skip
    section, notes = section_of(tested)
    if drawn.grouped and drawn.num < MIN_GROUPS:
        notes.insert(0, f"No intervals: {len(targets)} examples, but too few groups ({drawn.num} < {MIN_GROUPS}).")
    return Evaluation(
        kind=kind,
        main_metric=main_metric(kind).name,
        num_examples=len(targets),
        num_groups=drawn.num if drawn.grouped else None,
        classes=tested.names,
        metrics=measure_all(chosen, targets, outputs, num_resamples=num_resamples, **tested.how),
        notes=tuple(notes),
        **section,
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
