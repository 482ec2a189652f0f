"""Metrics, and the figures that a report shows beside them.

Targets and outputs come from the task: arrays, or object arrays of boxes, spans or texts. This module only requires
that they have a length and can be indexed by example; only the metric looks inside.

Letters in shapes: n examples, b resamples, s statistics of an example.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Shaped

from regraft.contracts.page import Block, Context
from regraft.registry import Shelf
from regraft.values import Measured

_NAMED = 5
"""Maximum number of outputs to list in a unit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Predictions of a model for some examples, with their targets."""

    targets: Any
    """Targets by example."""
    outputs: Any
    """Outputs by example."""
    groups: Shaped[np.ndarray, " n"] | None = None
    """Group of each example, if there are groups."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tested(Sample):
    """A test sample, which was not used to select the model, and settings for evaluating it."""

    names: tuple[str, ...]
    """Names of the outputs: classes, labels or targets."""
    trained_on: Any = None
    """Targets of the training examples; None if unknown."""
    held: Sample | None = None
    """Validation or out-of-fold predictions, on which decision thresholds are chosen."""
    rules: Sequence[Any] = ()
    """Rules for choosing thresholds of two classes (see `evaluation.thresholds`)."""
    seed: int = 0
    """Random seed of the bootstrap."""

    @property
    def how(self) -> dict[str, Any]:
        """Arguments of all interval computations."""
        return {"groups": self.groups, "seed": self.seed}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A constant prediction, as a baseline for the model."""

    title: str
    """Column heading."""
    metrics: Mapping[str, Measured]
    """Its metrics."""
    verdict: str
    """A sentence on whether the model is better."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a report shows beside the metrics. Metric families add fields, which are keys of report.json."""

    notes: tuple[str, ...] = ()
    """Caveats for reading the numbers."""

    def blocks(self, of: Context) -> Iterator[Block]:
        """Return the report sections that show them."""
        return iter(())

    def guess(self, of: Context) -> str:
        """Return a sentence on the main metric of a constant prediction; may be empty."""
        return ""

    def reference(self) -> Reference | None:
        """Return all metrics of such a prediction, if measured."""
        return None


def _one(outputs: Any) -> int:
    return 1


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measure of how well outputs match targets. A file `evaluation/metrics/<family>.py` defines several.

    Metrics are computed for many weightings of the examples at once, for bootstrap intervals. A metric has exactly one
    of two forms:

    * `statistics` of each example and a `value` of their weighted sum (accuracy, IoU, BLEU). The bootstrap is then
      one matrix product, `value(weights @ statistics)`.
    * `of_sample`, a value of a whole weighted sample, for metrics that do not decompose (AUROC, mean average precision,
      true accept rate at a false accept rate).

    An example of weight k counts as k copies; the order of examples does not matter. A metric that is undefined on a
    sample (because a class is absent, say) is nan, and the interval states the reason.
    """

    name: str
    """Unique name."""
    title: str
    """Display name, in sentence case."""
    higher_is_better: bool
    """Direction of improvement."""
    range: tuple[float, float]
    """Lowest and highest possible value; infinite if unbounded."""
    kinds: frozenset[str]
    """Tasks it applies to: `classification`, `multilabel`, `ordinal`, `regression` …"""
    main: frozenset[str] = frozenset()
    """Tasks whose main metric it is, by which models are compared. Every task has one."""
    statistics: Callable[[Any, Any], Float[np.ndarray, "n s"]] | None = None
    """(targets, outputs) -> sufficient statistics of each example."""
    value: Callable[[Float[np.ndarray, "b s"]], Float[np.ndarray, " b"]] | None = None
    """Weighted sums of statistics -> the metric on each resample."""
    of_sample: Callable[[Any, Any, Float[np.ndarray, "b n"]], Float[np.ndarray, " b"]] | None = None
    """(targets, outputs, non-negative weights) -> the metric on each resample."""
    identities: Callable[[Any], Shaped[np.ndarray, " n"]] | None = None
    """targets -> identity (person, animal) of each example, for metrics on pairs: the bootstrap then resamples
    identities. All examples of an identity drawn k times have weight k: a pair within it counts k times, a pair of two
    identities as often as the product of their weights."""
    columns: Callable[[Any], int] = _one
    """outputs -> approximate number of values per example that a resample processes; limits the number of resamples on
    large samples."""
    right: Callable[[Any, Any], Bool[np.ndarray, " n"] | None] | None = None
    """(targets, outputs) -> which examples are predicted correctly, if that is defined. With the interval `wilson` the
    metric is their share."""
    min_classes: int = 0
    """Minimum number of classes for which it is meaningful."""
    in_unit_of_target: bool = False
    """Whether it has the unit of the target rather than being dimensionless."""
    undefined: str = "a class has no examples"
    """Reason why it may be undefined on a sample."""
    interval: Literal["wilson", "bootstrap", "reflected"] = "bootstrap"
    """Type of confidence interval: Wilson's for a proportion of correct examples; the bootstrap for most; the reflected
    bootstrap for estimators biased upwards in finite samples."""
    figures: Callable[[Tested], Figures] | None = None
    """For a main metric: what reports on its tasks show beside the metrics."""

    def __post_init__(self) -> None:
        sums = self.statistics is not None and self.value is not None
        if sums == (self.of_sample is not None):
            raise TypeError(f"The metric {self.name} must define either statistics and value, or of_sample.")

    def of_weights(self, targets: Any, outputs: Any) -> Callable[[Float[np.ndarray, "b n"]], Float[np.ndarray, " b"]]:
        """Return the metric on these examples as a function of their weights, with everything else precomputed."""
        if self.of_sample is not None:
            return partial(self.of_sample, targets, outputs)
        assert self.statistics is not None  # for the type checker: __post_init__ has seen to it
        assert self.value is not None
        statistics, value = self.statistics(targets, outputs), self.value
        return lambda weights: value(weights @ statistics)

    def compute(self, targets: Any, outputs: Any) -> float:
        """Return the metric with equal weights."""
        return float(self.of_weights(targets, outputs)(np.ones((1, len(targets))))[0])

    def drawn(self, targets: Any, groups: Shaped[np.ndarray, " n"] | None) -> Shaped[np.ndarray, " n"] | None:
        """Return the units that the bootstrap resamples: identities, else `groups`; None for single examples."""
        return groups if self.identities is None else self.identities(targets)

    def unit(self, names: Sequence[str]) -> str:
        """Return ` in the unit of price`, to append to a value; empty if dimensionless. `names` are the outputs'."""
        if not self.in_unit_of_target:
            return ""
        if len(names) < 2:
            return f" in the unit of {names[0]}" if names else " in the unit of the target"
        listed = ", ".join(names[:_NAMED]) if len(names) > _NAMED else f"{', '.join(names[:-1])} and {names[-1]}"
        return f" in the units of {listed}" + (" …" if len(names) > _NAMED else "")


METRICS: Shelf[Metric] = Shelf("metric", "regraft.evaluation.metrics")


def metric(name: str) -> Metric:
    """Return the metric of this name.

    Raises:
        UnknownName: there is no such metric; the message suggests the nearest name.
    """
    return METRICS.get(name)


def metrics_for(kind: str, num_classes: int = 0) -> dict[str, Metric]:
    """Return the metrics of a kind of task by name: the main one first, then alphabetically.

    Metrics with more `min_classes` than `num_classes` (0: unknown) are left out. A file whose literal `KINDS` does not
    contain the kind is not imported.
    """
    every = (metric(name) for name in METRICS if kind in (METRICS.literal(name, "KINDS") or (kind,)))
    suited = {one.name: one for one in every if kind in one.kinds and num_classes >= one.min_classes}
    return dict(sorted(suited.items(), key=lambda item: kind not in item[1].main))


def main_metric(kind: str) -> Metric:
    """Return the main metric of a kind of task.

    Raises:
        LookupError: it has none.
    """
    for found in metrics_for(kind).values():
        if kind in found.main:
            return found
    raise LookupError(f"The task {kind} has no main metric.")
