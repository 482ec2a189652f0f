"""A small example of every kind of task: what its labels look like, by a class number that inputs are painted by."""

import numpy as np

from regraft.contracts.task import TASKS, Task

LABELS = {
    "classification": (("even", "ruled", "warm"), ("even", "ruled", "warm")),
    "multilabel": (("odd", "large"), ("", "odd", "odd;large")),
    "ordinal": (("low", "middle", "high"), ("low", "middle", "high")),
    "regression": (("width", "height"), ("1.5;-20", "2.5;10", "4;0")),
}
"""By task: the names of its outputs, and a label for each of three class numbers."""


def names_of(kind: str) -> tuple[str, ...]:
    """The names of the outputs."""
    return LABELS[kind][0]


def labels_of(kind: str, numbers: np.ndarray) -> list[str]:
    """The label of each example."""
    return [LABELS[kind][1][number] for number in numbers]


def posed(kind: str, numbers: np.ndarray) -> tuple[Task, np.ndarray]:
    """The task that these labels pose, and the encoded targets."""
    task: Task = TASKS.get(kind)(names_of(kind))
    targets = task.encode(labels_of(kind, numbers))
    return task.prepared(targets), targets


def perfect(task: Task, targets: np.ndarray) -> np.ndarray:
    """What a model that is never wrong, and sure of it, would put out."""
    return np.eye(len(task.classes))[targets] if task.exclusive else targets.astype(np.float64)
