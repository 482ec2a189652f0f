"""The evaluation of a model on a set of examples, as one value."""

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
    """Results of a model on examples it was not trained on."""

    kind: str
    """The kind of task."""
    main_metric: str
    """Name of the main metric in `metrics`."""
    num_examples: int
    """Number of examples."""
    num_groups: int | None
    """Number of groups; None if there are none."""
    classes: tuple[str, ...]
    """Names of the outputs (classes, labels or targets), in the order of `figures`."""
    metrics: Mapping[str, Measured]
    """All metrics of the task, by name."""
    figures: Figures
    """Figures of the main metric's family, shown beside the metrics."""
    notes: tuple[str, ...] = ()
    """Caveats for reading the numbers."""
    repeats: int = 0
    """Number of cross-validation repeats; 0 without cross-validation."""
    folds: int = 0
    """Number of folds."""
    mean_of_folds: Measured | None = None
    """Mean of the main metric over all folds, with its interval."""

    @property
    def headline(self) -> Measured:
        """The headline result: the mean over folds if there are any, else the main metric."""
        return self.mean_of_folds or self.metrics.get(self.main_metric, Measured(value=nan))

    def blocks(self, calibration: str = "") -> Iterator[Block]:
        """Return the report sections of the figures; `calibration` says how probabilities were calibrated."""
        return self.figures.blocks(self._context(calibration))

    def guess(self) -> str:
        """Return a sentence on the score of a constant prediction; may be empty."""
        return self.figures.guess(self._context())

    def _context(self, calibration: str = "") -> Context:
        return Context(
            num_examples=self.num_examples, metrics=self.metrics, main_metric=self.main_metric,
            calibration=calibration,
        )  # fmt: skip

    @classmethod
    def hints_of(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return the class of `figures`, which depends on the kind of task, for `records.from_json`."""
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
    """Evaluate a model on examples that were not used to select it; see `metrics/` for the arrays of each kind.

    `names` are those of the outputs. `metrics` defaults to all of the kind. `trained_on` are the targets of the
    training examples: a regression is compared with predicting their medians. `held` are validation or out-of-fold
    predictions, on which decision thresholds are chosen (of two classes by `rules`, of labels by F1), never on these
    examples; without them there are no thresholds.

    Raises:
        LookupError: the kind has no main metric.
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
