"""Everything that a test says of a model, as one value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Shaped

from regraft.contracts.metric import Figures, Metric, Sample, Tested, main_metric, metrics_for
from regraft.evaluation.intervals import MIN_GROUPS, measure_all, units
from regraft.evaluation.thresholds import AtSpecificity, Rule
from regraft.values import Json, Measured


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model's numbers on examples it did not see."""

    kind: str
    """The kind of task."""
    main_metric: str
    """Which of `metrics` the model is judged by."""
    num_examples: int
    """How many examples."""
    num_groups: int | None
    """How many groups they form; None where every example stands for itself."""
    classes: tuple[str, ...]
    """Names of the outputs (classes, labels or targets), in the order that `figures` have."""
    metrics: Mapping[str, Measured]
    """Every metric of the task, by name."""
    figures: Figures
    """What the family of the main metric shows beside the metrics."""
    notes: tuple[str, ...] = ()
    """What to know when reading the numbers."""

    def to_json(self) -> dict[str, Json]:
        """As plain values, the fields of `figures` beside the others; numbers that are not finite become None."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "figures"}
        return {name: as_json(value) for name, value in {**vars(self.figures), **own}.items()}


def evaluate(
    targets: Any,
    outputs: Any,
    names: Sequence[str],
    *,
    kind: str = "classification",
    groups: Shaped[np.ndarray, " n"] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    trained_on: Any = None,
    held: Sample | None = None,
    rules: Sequence[Rule] = (AtSpecificity(specificity=0.9),),
    num_resamples: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Measure a model on examples that chose nothing about it; `metrics/` says what the arrays of each kind hold.

    `names` are those of the outputs. `metrics` are all of the kind when not given. `trained_on` are the targets of the
    training examples: a regression is compared with always predicting their medians. `held` are validation or
    out-of-fold predictions: decision thresholds (of two classes by `rules`, of labels by F1) are chosen on them, never
    on these examples; without them there are none.

    Raises:
        LookupError: no metric is the main one of this kind.
    """
    drawn, main = units(len(targets), groups), main_metric(kind)
    tested = Tested(
        targets=targets, outputs=outputs, groups=groups, names=tuple(names), trained_on=trained_on, held=held,
        rules=rules, level=level, seed=seed,
    )  # fmt: skip
    figures = Figures() if main.figures is None else main.figures(tested)
    notes = figures.notes
    if drawn.grouped and drawn.num < MIN_GROUPS:
        few = f"No intervals: {len(targets)} examples, but too few groups ({drawn.num} < {MIN_GROUPS})."
        notes = (few, *notes)
    chosen = metrics_for(kind, len(names)) if metrics is None else metrics
    return Evaluation(
        kind=kind,
        main_metric=main.name,
        num_examples=len(targets),
        num_groups=drawn.num if drawn.grouped else None,
        classes=tested.names,
        metrics=measure_all(chosen, targets, outputs, num_resamples=num_resamples, **tested.how),
        figures=figures,
        notes=notes,
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
