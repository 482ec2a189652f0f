"""Any number of tags per example: how each tag fares.

Letters in shapes: n examples, c tags.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isnan

import numpy as np
from jaxtyping import Float, Shaped

from regraft.evaluation._numeric import answered
from regraft.evaluation.confusion import answer_scores
from regraft.evaluation.intervals import Statistic, bootstrap, num_resamples_for
from regraft.evaluation.metrics._ranking import auroc_of, average_precision_of
from regraft.evaluation.thresholds import BestF1, OperatingPoint, Scored, apply, choose
from regraft.values import Measured


@dataclass(frozen=True, kw_only=True)
class TagScores:
    """How one tag fares."""

    name: str
    """The tag."""
    support: int
    """Examples that have the tag."""
    predicted: int
    """Examples for which the tag is answered: at a probability of 0.5 or above."""
    average_precision: Measured
    """How well its probability ranks the examples that have it first; `support` / n for chance; nan without any."""
    auroc: Measured
    """The chance that an example with the tag scores above one without; nan where either is missing."""
    recall: Measured
    """Share of the examples with the tag for which it is answered; nan without examples."""
    precision: Measured
    """Share of the examples for which it is answered that have it; nan without any."""
    f1: Measured
    """Harmonic mean of the two; nan when the tag neither occurs nor is answered."""
    chosen: OperatingPoint | None
    """What the threshold of highest F1 on other examples does here, taken as given; None where it was not chosen."""


def tag_scores(
    targets: Float[np.ndarray, "n c"],
    probabilities: Float[np.ndarray, "n c"],
    tags: Sequence[str],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    chosen_on: Sequence[Scored] = (),
    level: float = 0.95,
    seed: int = 0,
) -> tuple[TagScores, ...]:
    """Every tag on its own: ranking with bootstrap intervals; answers at 0.5 with Wilson's, or by group.

    `chosen_on`: for every tag the examples to choose its threshold on, never these; without them none is chosen.
    """
    actual, given = targets > 0, answered(probabilities)
    statistics: dict[str, Statistic] = {}
    for at in range(len(tags)):
        for name, of_one in (("average_precision", average_precision_of), ("auroc", auroc_of)):
            ranking: Callable[[np.ndarray], np.ndarray] = partial(of_one, actual[:, at], probabilities[:, at])
            statistics[f"{name} {at}"] = Statistic(of_weights=ranking, bounds=(0.0, 1.0), undefined=_UNDEFINED)
    ranked = bootstrap(
        statistics, len(targets), groups=groups, num_resamples=num_resamples_for(probabilities), level=level, seed=seed
    )
    rows = []
    for at, name in enumerate(tags):
        answers = answer_scores(actual[:, at], given[:, at], groups=groups, level=level, seed=seed)
        tried = Scored(positive=actual[:, at], scores=probabilities[:, at], groups=groups)
        rows.append(
            TagScores(
                name=name,
                support=int(actual[:, at].sum()),
                predicted=int(given[:, at].sum()),
                average_precision=ranked[f"average_precision {at}"],
                auroc=ranked[f"auroc {at}"],
                recall=answers.recall,
                precision=answers.precision,
                f1=answers.f1,
                chosen=_chosen(chosen_on[at], tried, level, seed) if chosen_on else None,
            )
        )
    return tuple(rows)


def _chosen(on: Scored, tried: Scored, level: float, seed: int) -> OperatingPoint | None:
    threshold = choose(BestF1(), on)
    return None if isnan(threshold) else apply(threshold, tried, rule=str(BestF1()), level=level, seed=seed)


_UNDEFINED = "the tag does not divide the examples"
