"""Everything that a test says of a model, as one value."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, get_type_hints

import numpy as np
from jaxtyping import Shaped

from regraft.contracts.metric import Figures, Metric, Sample, Tested, main_metric, metrics_for
from regraft.contracts.page import Block, Context
from regraft.evaluation.intervals import MIN_GROUPS, measure_all, units
from regraft.evaluation.thresholds import AtSpecificity, Rule
from regraft.values import Measured


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
    repeats: int = 0
    """How often the examples were cross-validated; 0 where they were not."""
    folds: int = 0
    """In how many folds."""
    mean_of_folds: Measured | None = None
    """The main metric as a mean over all folds, with the interval that suits it."""

    @property
    def headline(self) -> Measured:
        """The number that stands for the model: the mean of the folds where there are any, else the main metric."""
        return self.mean_of_folds or self.metrics.get(self.main_metric, Measured(value=nan))

    def blocks(self, calibration: str = "") -> Iterator[Block]:
        """The sections of a page that show the figures; `calibration` says how probabilities were calibrated."""
        return self.figures.blocks(self._context(calibration))

    def guess(self) -> str:
        """What a prediction that looks at no example would score, as a sentence; may be empty."""
        return self.figures.guess(self._context())

    def _context(self, calibration: str = "") -> Context:
        return Context(
            num_examples=self.num_examples, metrics=self.metrics, main_metric=self.main_metric,
            calibration=calibration,
        )  # fmt: skip

    @classmethod
    def hints_of(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        """For `records.from_json`: of which class `figures` are, which the kind of task decides."""
        makes = main_metric(value["kind"]).figures
        return {"figures": Figures if makes is None else get_type_hints(makes)["return"]}


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
        rules=rules, seed=seed,
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
