"""What a metric is, and the figures that a report shows beside the metrics.

Targets and outputs are whatever the task makes of its labels and of a model's output: arrays, or lists of boxes, spans
or texts. All that is asked of them here is a length, and that they can be indexed by example; what is inside one is
known to the metric alone.

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
"""How many outputs are named where a unit is given."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """What a model predicted for some examples, and what was right."""

    targets: Any
    """What was right, by example."""
    outputs: Any
    """What the model predicted, by example."""
    groups: Shaped[np.ndarray, " n"] | None = None
    """The group of each example, where there are groups."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tested(Sample):
    """A sample that chose nothing about the model, and how it is to be measured."""

    names: tuple[str, ...]
    """What the outputs are called: classes, labels or targets."""
    trained_on: Any = None
    """The targets of the training examples; None where they are not known."""
    held: Sample | None = None
    """Validation or out-of-fold predictions: decision thresholds are chosen on them, never on the tested examples."""
    rules: Sequence[Any] = ()
    """How the thresholds of two classes are chosen (see `evaluation.thresholds`)."""
    seed: int = 0
    """Seed of the resamples."""

    @property
    def how(self) -> dict[str, Any]:
        """What every interval is made with."""
        return {"groups": self.groups, "seed": self.seed}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The same prediction for every example, to compare a model with."""

    title: str
    """What it is called at the head of a column."""
    metrics: Mapping[str, Measured]
    """What it scores."""
    verdict: str
    """Whether the model is better, as a sentence."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a report shows beside the metrics. A family of metrics adds its own fields; they are keys of the report."""

    notes: tuple[str, ...] = ()
    """What to know when reading the numbers."""

    def blocks(self, of: Context) -> Iterator[Block]:
        """The sections of a page that show them."""
        return iter(())

    def guess(self, of: Context) -> str:
        """What a prediction that looks at no example would score by the main metric, as a sentence; may be empty."""
        return ""

    def reference(self) -> Reference | None:
        """What such a prediction scores by every metric, where that was measured."""
        return None


def _one(outputs: Any) -> int:
    return 1


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that says how well outputs match targets. A file `evaluation/metrics/<family>.py` defines several.

    It is computed under many weightings of the examples at once, because every interval is a bootstrap. There are two
    forms, and a metric has exactly one of them:

    * `statistics` of each example and a `value` of their weighted sum (accuracy, IoU, BLEU). The bootstrap is then
      one matrix product, `value(weights @ statistics)`.
    * `of_sample`, a value of a weighted sample, where the examples have to be seen together (AUROC, mean average
      precision, true accept rate at a false accept rate).

    An example of weight k counts as k copies, and the order of the examples does not matter. Where the number is not
    defined on a sample (a class is absent, say) it is nan, and the interval gives the reason.
    """

    name: str
    """Its name on the shelf."""
    title: str
    """What people read, in sentence case."""
    higher_is_better: bool
    """Direction."""
    range: tuple[float, float]
    """Lowest and highest possible value; infinite where there is no bound."""
    kinds: frozenset[str]
    """The kinds of task that the metric is for: `classification`, `multilabel`, `ordinal`, `regression` …"""
    main: frozenset[str] = frozenset()
    """The kinds of task whose main metric it is: the one to compare by, and to read first. Each kind has one."""
    statistics: Callable[[Any, Any], Float[np.ndarray, "n s"]] | None = None
    """(targets, outputs) -> what each example adds to the sums."""
    value: Callable[[Float[np.ndarray, "b s"]], Float[np.ndarray, " b"]] | None = None
    """Weighted sums of the statistics -> the metric of each resample."""
    of_sample: Callable[[Any, Any, Float[np.ndarray, "b n"]], Float[np.ndarray, " b"]] | None = None
    """(targets, outputs, weights of 0 or more) -> the metric of each resample."""
    identities: Callable[[Any], Shaped[np.ndarray, " n"]] | None = None
    """targets -> the identity (person, animal) of each example, where resamples draw identities rather than examples:
    a metric of pairs. All examples of an identity then have the same weight, k for an identity that is drawn k times:
    a pair within it counts k times, a pair of two identities as often as the product of their weights."""
    columns: Callable[[Any], int] = _one
    """outputs -> roughly how many numbers of each example a resample has to go through; for large samples it decides
    how many resamples there is time for."""
    right: Callable[[Any, Any], Bool[np.ndarray, " n"] | None] | None = None
    """(targets, outputs) -> which examples are right, where an example is right or wrong as a whole. With the interval
    `wilson` the metric is their share."""
    min_classes: int = 0
    """The number of classes from which on it says something."""
    in_unit_of_target: bool = False
    """Whether it is in the unit of the predicted targets rather than a pure number."""
    undefined: str = "a class has no example"
    """Why it may not be defined on a sample."""
    interval: Literal["wilson", "bootstrap", "reflected"] = "bootstrap"
    """Which interval suits it: Wilson's for a share of examples that are right; the bootstrap for most; the reflected
    bootstrap for a number that a finite sample always overstates."""
    figures: Callable[[Tested], Figures] | None = None
    """Of a main metric: what a report on its kinds shows beside the metrics."""

    def __post_init__(self) -> None:
        sums = self.statistics is not None and self.value is not None
        if sums == (self.of_sample is not None):
            raise TypeError(f"The metric {self.name} needs either statistics with a value, or of_sample.")

    def of_weights(self, targets: Any, outputs: Any) -> Callable[[Float[np.ndarray, "b n"]], Float[np.ndarray, " b"]]:
        """The metric of these examples as a function of their weights; what does not depend on weights is done now."""
        if self.of_sample is not None:
            return partial(self.of_sample, targets, outputs)
        assert self.statistics is not None  # for the type checker: __post_init__ has seen to it
        assert self.value is not None
        statistics, value = self.statistics(targets, outputs), self.value
        return lambda weights: value(weights @ statistics)

    def compute(self, targets: Any, outputs: Any) -> float:
        """The metric with every example counted once."""
        return float(self.of_weights(targets, outputs)(np.ones((1, len(targets))))[0])

    def drawn(self, targets: Any, groups: Shaped[np.ndarray, " n"] | None) -> Shaped[np.ndarray, " n"] | None:
        """What resamples of these examples draw: identities, else `groups`; None where they draw examples."""
        return groups if self.identities is None else self.identities(targets)

    def unit(self, names: Sequence[str]) -> str:
        """` in the unit of price`, to append to a value; empty for a pure number. `names`: of the outputs."""
        if not self.in_unit_of_target:
            return ""
        if len(names) < 2:
            return f" in the unit of {names[0]}" if names else " in the unit of the target"
        listed = ", ".join(names[:_NAMED]) if len(names) > _NAMED else f"{', '.join(names[:-1])} and {names[-1]}"
        return f" in the units of {listed}" + (" …" if len(names) > _NAMED else "")


METRICS: Shelf[Metric] = Shelf("metric", "regraft.evaluation.metrics")


def metric(name: str) -> Metric:
    """The metric called `name`.

    Raises:
        UnknownName: there is no such metric; the nearest is offered.
    """
    return METRICS.get(name)


def metrics_for(kind: str, num_classes: int = 0) -> dict[str, Metric]:
    """The metrics of a kind of task by name: the main one, then by alphabet.

    Those that say something only from a number of classes on are left out below it; `num_classes` 0: not known. A file
    whose literal `KINDS` lacks the kind is not loaded.
    """
    every = (metric(name) for name in METRICS if kind in (METRICS.literal(name, "KINDS") or (kind,)))
    suited = {one.name: one for one in every if kind in one.kinds and num_classes >= one.min_classes}
    return dict(sorted(suited.items(), key=lambda item: kind not in item[1].main))


def main_metric(kind: str) -> Metric:
    """The metric that a kind of task is judged by.

    Raises:
        LookupError: no metric is the main one of this kind.
    """
    for found in metrics_for(kind).values():
        if kind in found.main:
            return found
    raise LookupError(f"No metric is the main one of {kind}.")
