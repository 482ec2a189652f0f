"""The confusion matrix, its classes one by one, and its most frequent mistakes.

Letters in shapes: n examples, c classes or labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from regraft.evaluation.intervals import share
from regraft.values import Measured


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """How one class, or one label, fares."""

    name: str
    """The class."""
    support: int
    """Examples of the class."""
    predicted: int
    """Examples predicted as the class."""
    recall: Measured
    """Share of the class's examples that are predicted as it; nan without examples."""
    precision: Measured
    """Share of the examples predicted as the class that are of it; nan without any."""
    f1: Measured
    """Harmonic mean of the two; nan when the class neither occurs nor is predicted."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """Examples of one class that are predicted as another."""

    actual: str
    """What they are."""
    predicted: str
    """What they are predicted as."""
    count: int
    """How many."""
    share: float
    """As a share of all examples of `actual`."""


def predicted_labels(probabilities: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, "n c"]:
    """Which labels are predicted: those at a probability of 0.5 or above (our choice: likelier than not)."""
    return probabilities >= 0.5


def confusion_matrix(
    targets: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], num_classes: int
) -> Int[np.ndarray, "c c"]:
    """Counts by actual class (row) and predicted class (column)."""
    cells = np.bincount(targets * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def class_scores(
    targets: Int[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    classes: Sequence[str],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[ClassScores, ...]:
    """Recall, precision and F1 of every class, with Wilson intervals, or by group where there are groups."""
    return tuple(
        scores_of(name, targets == label, predicted == label, groups=groups, level=level, seed=seed)
        for label, name in enumerate(classes)
    )


def scores_of(
    name: str,
    actual: Bool[np.ndarray, " n"],
    given: Bool[np.ndarray, " n"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> ClassScores:
    """Recall, precision and F1 of one class or label: which examples have it, and for which it is predicted.

    F1 is 2 j / (1 + j), j being the share that have it and are predicted among those that do either, so its interval
    is that share's, transformed (our choice).
    """

    def part(among: Bool[np.ndarray, " n"]) -> Measured:
        return share(actual & given, among, groups=groups, level=level, seed=seed)

    overlap = part(actual | given)
    ends = [None if end is None else 2 * end / (1 + end) for end in (overlap.low, overlap.high)]
    return ClassScores(
        name=name,
        support=int(actual.sum()),
        predicted=int(given.sum()),
        recall=part(actual),
        precision=part(given),
        f1=replace(overlap, value=2 * overlap.value / (1 + overlap.value), low=ends[0], high=ends[1]),
    )


def most_confused(matrix: Int[np.ndarray, "c c"], classes: Sequence[str], limit: int = 5) -> tuple[Mistake, ...]:
    """The `limit` most frequent mistakes, most frequent first; of equals, the larger share of its class first."""
    counts = matrix.copy()
    np.fill_diagonal(counts, 0)
    shares = counts / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    order = np.lexsort((-shares.ravel(), -counts.ravel()))[:limit]
    pairs = [divmod(int(cell), len(classes)) for cell in order]
    return tuple(
        Mistake(actual=classes[i], predicted=classes[j], count=int(counts[i, j]), share=float(shares[i, j]))
        for i, j in pairs
        if counts[i, j]
    )
