"""Any number of labels per example, none included.

Each label is a question of its own; all share the features and the strength of the penalty.

Letters: n examples, b of a batch, c labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.task import Words
from regraft.errors import BadData, nearest
from regraft.labels import joined, parted
from regraft.tasks._binary import BinaryTask
from regraft.tasks._strata import by_rarest
from regraft.tasks.probabilities import sigmoid
from regraft.words import counted


@dataclass(frozen=True)
class MultiLabel(BinaryTask):
    """A sigmoid for each label; solved by independent logistic regressions."""

    classes: tuple[str, ...]
    delimiter: str = ""
    """What stood between the labels of a cell; empty where each label was a column."""
    kind: str = "multilabel"
    exclusive: bool = False

    def words(self) -> Words:
        """Labels."""
        labels = counted(len(self.classes), "label")
        return Words(
            output="label",
            outputs="labels",
            asked=f"with {labels}",
            labelled=f"with any of {labels}",
            given=f"a probability for each of {labels}, any number of which may hold",
            purpose="To find which of the labels above inputs of the kind it was trained on have",
        )

    @property
    def num_outputs(self) -> int:
        """One per label."""
        return len(self.classes)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The delimiter, so that a later test reads its table alike."""
        return {"delimiter": self.delimiter}

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels, where each was a column."""
        return () if self.delimiter else self.classes

    def named(self, label: str) -> Sequence[str]:
        return parted(label)

    def encode(self, labels: Sequence[str]) -> Float[np.ndarray, "n c"]:
        """1 where an example has the label, else 0; float32.

        Raises:
            BadData: a label is not one of the labels.
        """
        position = {name: i for i, name in enumerate(self.classes)}
        targets = np.zeros((len(labels), len(self.classes)), dtype=np.float32)
        for row, label in enumerate(labels):
            for name in parted(label):
                if name not in position:
                    raise BadData(
                        f"The label {name!r} is not one of the model's labels ({', '.join(self.classes)}).",
                        fix=nearest(name, list(self.classes)),
                    )
                targets[row, position[name]] = 1.0
        return targets

    def encoded(
        self, targets: Float[np.ndarray, "n c"], placements: Mapping[str, np.ndarray]
    ) -> Float[np.ndarray, "n c"]:
        """The targets as they are."""
        return targets

    def outputs(self, logits: Float[np.ndarray, "n c"], temperature: float = 1.0) -> Float[np.ndarray, "n c"]:
        """The probability of every label."""
        return sigmoid(logits.astype(np.float64) / temperature)

    def decode(self, outputs: Float[np.ndarray, "n c"]) -> list[str]:
        """The labels with a probability of a half or more."""
        return [joined(name for name, p in zip(self.classes, row, strict=True) if p >= 0.5) for row in outputs.tolist()]

    def strata(self, targets: Float[np.ndarray, "n c"]) -> Int[np.ndarray, "n"]:
        """The rarest label of each example."""
        return by_rarest(targets)

    def scores(self, logits: Float[np.ndarray, "n c"], targets: Float[np.ndarray, "n c"]) -> dict[str, float]:
        """The share of all examples and labels that are right."""
        return {"tags_right": float(((logits >= 0) == (targets > 0)).mean())}


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> MultiLabel:
    """The task with these labels, in this order; `facts` may hold `delimiter`."""
    return MultiLabel(tuple(dict.fromkeys(classes)), delimiter=str((facts or {}).get("delimiter", "")))


ENTRY = task
