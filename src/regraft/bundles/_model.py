"""What a saved model is made of.

Letters: n inputs, c outputs, d features.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from regraft.activations.disk import Memo
from regraft.activations.runner import BATCH, Prefixes
from regraft.backbones.backbone import Backbone
from regraft.contracts.modality import MODALITIES
from regraft.contracts.task import Task
from regraft.evaluation.ood import OODReference
from regraft.files import cache_home


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """What a bundle holds, before it is written and after it is read."""

    backbone: Backbone
    """The network, its tuned stages included."""
    task: Task
    """Classes and decoding."""
    weight: Float[np.ndarray, "c d"]
    """The head's weights."""
    bias: Float[np.ndarray, "c"]
    """The head's biases."""
    temperature: float
    """What logits are divided by; 1 where the model is uncalibrated."""
    unlike: OODReference | None
    """Class means and out-of-fold distances of the training examples; None when there were too few."""

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """The head on pooled features. In blocks of one size, so that a row's logits do not depend on its company:
        what multiplies matrices sums in another order for one row than for many."""
        result = np.empty((len(features), len(self.bias)), dtype=np.float32)
        for first in range(0, len(features), BATCH):
            rows = features[first : first + BATCH]
            block = np.zeros((BATCH, features.shape[1]), dtype=np.float32)
            block[: len(rows)] = rows
            result[first : first + BATCH] = (block @ self.weight.T + self.bias)[: len(rows)]
        return result


def prefixes_of(model: Model, *, device: str, backend: str, threads: int | None) -> Prefixes:
    """The whole network below the head as a runner."""
    card = model.backbone.card
    return Prefixes(
        model.backbone,
        MODALITIES.get(card.modality).shapes(card.preparation),
        view=model.task.view,
        memo=Memo(cache_home() / "store"),
        device=device,
        backend=backend,
        threads=threads,
    )
