"""What a metric is.

Letters in shapes: n examples, b resamples, * whatever a task's targets and outputs look like.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from regraft.registry import Shelf

_TOLD = 5
"""So many numbers are named where a unit is told."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that says how well outputs meet targets; a file `evaluation/metrics/<name>.py` defines one as `ENTRY`.

    The order of the examples must not matter. Where the number is not defined on a sample (a class is absent, say) it
    is nan, and the interval says so.
    """

    name: str
    """The name of its file."""
    title: str
    """What people read, in sentence case."""
    higher_is_better: bool
    """Direction."""
    range: tuple[float, float]
    """Lowest and highest value there can be; infinite where there is no bound."""
    needs: Literal["labels", "probabilities", "values"]
    """What of the outputs it looks at: the answers (the most probable class, the tags at 0.5 or above), all
    probabilities, or predicted numbers."""
    kinds: frozenset[str]
    """Kinds of task it belongs to: `classification`, `multilabel`, `ordinal`, `regression` …"""
    compute: Callable[[np.ndarray, np.ndarray], float]
    """The metric of targets and outputs. Classification and ordinal: `Int "n"` in [0, c) and probabilities `Float
    "n c"`, the classes of the latter in rising order; multilabel: 0 or 1 `Float "n c"` and the probability of every
    tag; regression: numbers `Float "n c"` and predicted ones."""
    weighted: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None
    """The same for many weightings at once: targets, outputs and weights `Float "b n"` (how often each example
    counts, 0 or more) to `Float "b"`. None: resampling repeats rows and calls `compute`, which is slower."""
    classes: int | None = None
    """The number of classes it is limited to; None when any will do."""
    least_classes: int = 0
    """The number of classes from which on it says something."""
    main: frozenset[str] = frozenset()
    """Kinds of task whose main figure it is: the one to compare by, and to read first. Each kind has one."""
    in_unit_of_target: bool = False
    """Whether it is counted in the unit of the predicted numbers rather than being a pure number."""
    undefined: str = "a class has no example"
    """Why it may not be defined on a sample."""
    interval: Literal["wilson", "bootstrap", "reflected"] = "bootstrap"
    """Which interval fits: Wilson's for a share of examples that are right; the bootstrap for most; the reflected
    bootstrap for a number that a finite sample always overstates."""

    def fits(self, num_classes: int | None) -> bool:
        """Whether it belongs to so many classes; None: to a number of classes that is not known."""
        return self.classes in (None, num_classes) and (num_classes or 0) >= self.least_classes

    def unit(self, names: Sequence[str]) -> str:
        """` in the unit of price`, to go on with after a value; empty for a pure number. `names`: of the outputs."""
        if not self.in_unit_of_target:
            return ""
        if len(names) < 2:
            return f" in the unit of {names[0]}" if names else " in the unit of the target"
        told = ", ".join(names[:_TOLD]) if len(names) > _TOLD else f"{', '.join(names[:-1])} and {names[-1]}"
        return f" in the units of {told}" + (" …" if len(names) > _TOLD else "")


METRICS: Shelf[Metric] = Shelf("metric", "regraft.evaluation.metrics")


def metric(name: str) -> Metric:
    """The metric called `name`.

    Raises:
        UnknownName: there is no such metric; the nearest is offered.
    """
    return METRICS.get(name)


def metrics_for(kind: str, num_classes: int | None = None) -> dict[str, Metric]:
    """Every metric that fits a kind of task (and a number of classes), by name: the main one, then by alphabet."""
    every = {name: metric(name) for name in METRICS}
    fitting = {name: m for name, m in every.items() if kind in m.kinds and m.fits(num_classes)}
    return dict(sorted(fitting.items(), key=lambda item: kind not in item[1].main))


def main_metric(kind: str) -> Metric:
    """The metric that a kind of task is judged by.

    Raises:
        LookupError: no metric is the main one of this kind.
    """
    for found in metrics_for(kind).values():
        if kind in found.main:
            return found
    raise LookupError(f"No metric is the main one of {kind}.")
