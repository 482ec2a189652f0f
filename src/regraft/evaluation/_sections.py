"""What is measured beside the metrics, by kind of task. A kind that is not here has its metrics only.

Letters in shapes: n examples, m training examples, c outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from regraft.evaluation.calibration import calibrated_reference, reliability
from regraft.evaluation.confusion import class_scores, confusion_matrix, most_confused
from regraft.evaluation.metrics.ece import stated
from regraft.evaluation.numbers import baseline_of, number_scores
from regraft.evaluation.tags import tag_scores
from regraft.evaluation.thresholds import Rule, Scored, operate


@dataclass(frozen=True, kw_only=True, eq=False)
class Tested:
    """A model's outputs on examples that chose nothing about it, and how they are to be measured."""

    kind: str
    """The kind of task."""
    targets: Shaped[np.ndarray, "n ..."]
    """What was right."""
    outputs: Float[np.ndarray, "n c"]
    """What the model said."""
    names: tuple[str, ...]
    """What the outputs are called: classes, tags or numbers."""
    groups: Shaped[np.ndarray, " n"] | None
    """The group of each example, where there are groups."""
    trained_on: Shaped[np.ndarray, "m ..."] | None
    """What was right for the training examples; None where that is not known."""
    chosen_on: tuple[Scored, ...]
    """The examples on which thresholds are chosen: once for two classes, for every tag of tags; may be empty."""
    rules: Sequence[Rule]
    """Two classes: how they are chosen."""
    level: float
    """Nominal coverage of the intervals."""
    seed: int
    """What the resamples are drawn from."""

    @property
    def how(self) -> dict[str, Any]:
        """What every interval is made by."""
        return {"groups": self.groups, "level": self.level, "seed": self.seed}


def section_of(tested: Tested) -> tuple[dict[str, Any], list[str]]:
    """Fields of the evaluation that the kind of task has, and notes on how to read it."""
    of_kind = _BY_KIND.get(tested.kind)
    return ({}, []) if of_kind is None else of_kind(tested)


def _of_classes(tested: Tested) -> tuple[dict[str, Any], list[str]]:
    targets, probabilities, classes = tested.targets, tested.outputs, tested.names
    labels = probabilities.argmax(axis=1)
    matrix = confusion_matrix(targets, labels, len(classes))
    notes = []
    if absent := [name for name, count in zip(classes, matrix.sum(axis=1), strict=True) if not count]:
        notes.append(f"No example of {', '.join(absent)}: averages over classes leave it out or are not defined.")
    return {
        "per_class": class_scores(targets, labels, classes, **tested.how),
        "confusion": tuple(tuple(row) for row in matrix.tolist()),
        "most_confused": most_confused(matrix, classes),
        **_trust(tested),
    }, notes


def _of_unordered_classes(tested: Tested) -> tuple[dict[str, Any], list[str]]:
    fields, notes = _of_classes(tested)
    if len(tested.names) != 2:
        return fields, notes
    fields["positive_class"] = tested.names[1]
    if not tested.chosen_on:
        return fields, [
            *notes,
            "No thresholds: there are no validation or out-of-fold probabilities to choose them on.",
        ]
    tried = Scored(positive=tested.targets == 1, scores=tested.outputs[:, 1], groups=tested.groups)
    fields["operating_points"] = tuple(
        operate(rule, tested.chosen_on[0], tried, level=tested.level, seed=tested.seed) for rule in tested.rules
    )
    return fields, notes


def _of_tags(tested: Tested) -> tuple[dict[str, Any], list[str]]:
    notes = []
    if absent := [name for name, count in zip(tested.names, tested.targets.sum(axis=0), strict=True) if not count]:
        notes.append(f"No example has {', '.join(absent)}: averages over tags leave it out.")
    per_tag = tag_scores(tested.targets, tested.outputs, tested.names, chosen_on=tested.chosen_on, **tested.how)
    return {"per_tag": per_tag, **_trust(tested)}, notes


def _of_numbers(tested: Tested) -> tuple[dict[str, Any], list[str]]:
    notes = []
    if len(tested.names) > 1:
        notes.append(
            f"The figures are plain means over {', '.join(tested.names)}, each in its own unit: where the units "
            "differ, read the numbers one by one."
        )
    asked = tested.targets, tested.outputs, tested.names
    fields: dict[str, Any] = {"per_number": number_scores(*asked, **tested.how)}
    if tested.trained_on is not None:
        fields["baseline"] = baseline_of(*asked, np.median(tested.trained_on, axis=0), **tested.how)
    return fields, notes


def _trust(tested: Tested) -> dict[str, Any]:
    return {
        "reliability": reliability(tested.targets, tested.outputs, **tested.how),
        "ece_reference": calibrated_reference(stated(tested.targets, tested.outputs)[0].ravel(), seed=tested.seed),
    }


_BY_KIND: Mapping[str, Callable[[Tested], tuple[dict[str, Any], list[str]]]] = {
    "classification": _of_unordered_classes,
    "ordinal": _of_classes,
    "multilabel": _of_tags,
    "regression": _of_numbers,
}
