"""What a baseline is: a plain method on the raw examples, without any pretrained network, shown beside a model.

A baseline is above the waist: it reads contents itself. Letters: n examples, c classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.example import Contents, Labelling
from regraft.registry import Shelf

Predict = Callable[[Sequence[Contents]], Float[np.ndarray, "n c"]]
"""(contents) -> logits."""


class Baseline(ABC):
    """One file in `baselines/` defines one, as its `ENTRY`."""

    title: str
    """What reports call it: `TF-IDF`."""

    @abstractmethod
    def suits(self, task: Labelling, num_examples: int) -> bool:
        """Whether it can be had for this task, in seconds, from so many training examples."""

    @abstractmethod
    def fitted(
        self, contents: Sequence[Contents], targets: Int[np.ndarray, " n"], num_classes: int, seed: int
    ) -> Predict:
        """The method trained on these examples alone."""


BASELINES: Shelf[Baseline] = Shelf("baseline", "regraft.baselines")
"""The folder `baselines/`."""
