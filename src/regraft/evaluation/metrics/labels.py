"""Metrics of any number of labels per example, and what a report shows of the labels one by one.

Targets are 0 or 1, `Float "n c"`, outputs the probability of every label, `Float "n c"`. Labels at 0.5 or above are
predicted.

Letters in shapes: n examples, c labels, b resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import isnan
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Shaped

from regraft.contracts.metric import Metric, Sample, Tested
from regraft.contracts.page import Block, Context, Table, worst
from regraft.evaluation.intervals import Statistic, bootstrap, num_resamples_for
from regraft.evaluation.metrics._common import (
    ClassScores,
    auroc_of,
    average_precision_of,
    columns,
    counts,
    mean,
    over_labels,
    per_example,
    predicted_labels,
    safe_ratio,
    scores_of,
    told_of,
)
from regraft.evaluation.metrics.probabilities import ProbabilityFigures, probability_fields
from regraft.evaluation.thresholds import BestF1, OperatingPoint, Scored, apply, choose
from regraft.values import Measured, shown


@dataclass(frozen=True, kw_only=True)
class LabelScores(ClassScores):
    """How one label fares."""

    average_precision: Measured
    """How well its probability ranks the examples that have it first; `support` / n for chance; nan without any."""
    auroc: Measured
    """The chance that an example with the label scores above one without; nan where either is missing."""
    chosen: OperatingPoint | None
    """What the threshold of highest F1 on other examples does here, taken as given; None where it was not chosen."""


@dataclass(frozen=True, kw_only=True)
class LabelFigures(ProbabilityFigures):
    """The labels one by one."""

    per_label: tuple[LabelScores, ...]
    """How every label fares."""

    header: ClassVar[tuple[str, ...]] = (
        "Stated probability",
        "predictions",
        "mean probability",
        "share with the label",
    )

    def blocks(self, of: Context) -> Iterator[Block]:
        """Metrics by label with their thresholds, calibration."""
        keys = ("average_precision", "auroc", "recall", "precision", "f1")
        told = [
            (one.average_precision, (one.name, str(one.support), str(one.predicted), *told_of(one, *keys)))
            for one in self.per_label
        ]
        said, rows = worst("labels", told, "average precision")
        header: tuple[str, ...] = (
            "Label",
            "examples",
            "predicted",
            "average precision",
            "AUROC",
            "recall",
            "precision",
            "F1",
        )
        thresholds = [
            (one.name, shown(one.chosen.threshold), *told_of(one.chosen, "sensitivity", "precision"))
            for one in self.per_label
            if one.chosen
        ]
        yield Block(
            "Metrics by label",
            (
                f"Recall, precision and F1 are those of predicting the labels at a probability of 0.5 or above. {said}",
                Table(header, rows),
            ),
            ("labels",),
        )
        yield from super().blocks(of)
        if thresholds:
            said = (
                "With the threshold of highest F1 on other examples than these, where a label is rare often far below "
                "0.5:"
            )
            header = ("Label", "threshold", "recall", "precision")
            yield Block("Decision threshold", (said, Table(header, thresholds)))

    def guess(self, of: Context) -> str:
        """The mean average precision of a random order: the mean share of the labels that occur."""
        shares = [one.support / of.num_examples for one in self.per_label if one.support]
        return f"Ranking at random would score {shown(sum(shares) / len(shares))}." if shares else ""


def figures_of_labels(tested: Tested) -> LabelFigures:
    """The labels one by one, and how far probabilities can be trusted."""
    absent = [name for name, count in zip(tested.names, tested.targets.sum(axis=0), strict=True) if not count]
    return LabelFigures(
        per_label=label_scores(tested.targets, tested.outputs, tested.names, held=tested.held, **tested.how),
        notes=(f"No example has {', '.join(absent)}: averages over labels leave it out.",) if absent else (),
        **probability_fields(tested),
    )


def label_scores(
    targets: Float[np.ndarray, "n c"],
    probabilities: Float[np.ndarray, "n c"],
    labels: Sequence[str],
    *,
    held: Sample | None = None,
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> tuple[LabelScores, ...]:
    """Every label on its own: ranking with bootstrap intervals; predictions at 0.5 with Wilson's, or by group.

    `held`: the examples to choose the threshold of every label on, never these; without them none is chosen.
    """
    actual, given = targets > 0, predicted_labels(probabilities)
    rankings = {"average_precision": average_precision_of, "auroc": auroc_of}
    ranked = bootstrap(
        {
            f"{name} {at}": Statistic(
                of_weights=partial(of_one, actual[:, at], probabilities[:, at]),
                bounds=(0.0, 1.0),
                undefined="the label does not divide the examples",
            )
            for at in range(len(labels))
            for name, of_one in rankings.items()
        },
        len(targets),
        groups=groups,
        num_resamples=num_resamples_for(len(targets), len(labels)),
        seed=seed,
    )

    def chosen(at: int) -> OperatingPoint | None:
        if held is None:
            return None
        on = Scored(positive=held.targets[:, at] > 0, scores=held.outputs[:, at], groups=held.groups)
        tried = Scored(positive=actual[:, at], scores=probabilities[:, at], groups=groups)
        threshold = choose(BestF1(), on)
        return None if isnan(threshold) else apply(threshold, tried, rule=str(BestF1()), seed=seed)

    return tuple(
        LabelScores(
            **vars(scores_of(label, actual[:, at], given[:, at], groups=groups, seed=seed)),
            average_precision=ranked[f"average_precision {at}"],
            auroc=ranked[f"auroc {at}"],
            chosen=chosen(at),
        )
        for at, label in enumerate(labels)
    )


def wrong_labels(
    targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"]
) -> Float[np.ndarray, "n 2"]:
    """How many labels of each example are predicted wrongly (there or not), and how many there are."""
    wrong = (predicted_labels(probabilities) != (targets > 0)).sum(axis=1)
    return np.column_stack([wrong, np.full(len(wrong), float(targets.shape[1]))])


def all_right(targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, " n"]:
    """Whether the predicted labels are exactly the example's."""
    return (predicted_labels(probabilities) == (targets > 0)).all(axis=1)


def micro_f1(
    targets: Float[np.ndarray, "n c"], probabilities: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """F1 (harmonic mean of precision and recall) of all labels together, so frequent labels weigh more.

    nan when no example has a label and none is predicted.
    """
    right, actual, predicted = (part.sum(axis=1) for part in counts(targets, probabilities, weights))
    return safe_ratio(2 * right, actual + predicted)


_metric = partial(Metric, higher_is_better=True, range=(0.0, 1.0), kinds=frozenset({"multilabel"}), columns=columns)

NAMES = ("hamming_loss", "macro_auroc", "mean_average_precision", "micro_f1", "subset_accuracy")
_EVERY = (
    _metric(
        name="hamming_loss",
        title="Hamming loss",
        higher_is_better=False,
        statistics=wrong_labels,
        value=mean,
    ),
    _metric(
        name="macro_auroc",
        title="Macro AUROC",
        of_sample=over_labels(auroc_of),
        undefined="no label divides the examples",
    ),
    _metric(
        name="mean_average_precision",
        title="Mean average precision",
        of_sample=over_labels(average_precision_of),
        main=frozenset({"multilabel"}),
        undefined="no example has a label",
        figures=figures_of_labels,
    ),
    _metric(name="micro_f1", title="Micro F1", of_sample=micro_f1, undefined="no example has a label"),
    _metric(
        name="subset_accuracy",
        title="All labels right",
        statistics=per_example(all_right),
        value=mean,
        right=all_right,
        interval="wilson",
    ),
)
ENTRIES = {one.name: one for one in _EVERY}
