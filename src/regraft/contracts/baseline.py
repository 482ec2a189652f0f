"""Baselines: simple methods on the raw examples, without a pretrained network, reported beside a model.

A baseline reads contents itself. Letters: n examples, c classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Shaped

from regraft.contracts.example import Contents, Labelling
from regraft.registry import Shelf

Predict = Callable[[Sequence[Contents]], Shaped[np.ndarray, "n ..."]]
"""(contents) -> raw outputs, as the task's `outputs` takes them: logits (n c) of most tasks."""


class Baseline(ABC):
    """A baseline method; a file in `baselines/` defines one as `ENTRY`."""

    title: str
    """Name in reports: `TF-IDF`."""

    @abstractmethod
    def suits(self, task: Labelling, num_examples: int) -> bool:
        """Return whether it applies to this task and takes only seconds on this number of training examples."""

    @abstractmethod
    def fitted(
        self, contents: Sequence[Contents], targets: Shaped[np.ndarray, " n"], num_classes: int, seed: int
    ) -> Predict:
        """Train the method on these examples; return its predict function."""


BASELINES: Shelf[Baseline] = Shelf("baseline", "regraft.baselines")
"""Baselines by name."""
