"""What a saved model is made of.

Letters: n inputs, c outputs, d features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from regraft.activations.disk import Memo
from regraft.activations.runner import BATCH, Prefixes
from regraft.backbones.backbone import Backbone
from regraft.contracts.modality import MODALITIES
from regraft.contracts.task import Task
from regraft.evaluation.ood import OODReference
from regraft.files import cache_home

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """What a bundle holds, before it is written and after it is read."""

    backbone: Backbone
    """The network, its tuned stages included."""
    task: Task
    """Head, outputs and predictions."""
    head: Mapping[str, np.ndarray]
    """The head's tensors by name; of a linear task `weight` (c d) and `bias` (c)."""
    temperature: float
    """What logits are divided by; 1 where the model is uncalibrated."""
    ood: OODReference | None
    """Class means and out-of-fold distances of the training examples; None when there were too few."""

    @property
    def weight(self) -> Float[np.ndarray, "c d"]:
        """The weights of a linear head."""
        return self.head["weight"]

    @property
    def bias(self) -> Float[np.ndarray, "c"]:
        """The biases of a linear head."""
        return self.head["bias"]

    @cached_property
    def widths(self) -> dict[str, int]:
        """Channels of what the head reads, by readout and tap."""
        return self.backbone.card.widths(self.task.reads.readout, self.task.reads.strides)

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """A linear head on features. In blocks of one size, so that a row's logits do not depend on its company: what
        multiplies matrices sums in another order for one row than for many."""
        result = np.empty((len(features), len(self.bias)), dtype=np.float32)
        for first in range(0, len(features), BATCH):
            rows = features[first : first + BATCH]
            block = np.zeros((BATCH, features.shape[1]), dtype=np.float32)
            block[: len(rows)] = rows
            result[first : first + BATCH] = (block @ self.weight.T + self.bias)[: len(rows)]
        return result

    def output(self, read: Mapping[str, np.ndarray]) -> Any:
        """The head's output, an array or a mapping of arrays, from all that it reads of some rows."""
        if self.task.answers != "records":
            return self.logits(read[self.task.reads.readout])
        import torch

        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in read.items()}
        with torch.no_grad():
            output = self.module(tensors if self.task.reads.strides else tensors[self.task.reads.readout])
        return {name: leaf.numpy() for name, leaf in output.items()} if isinstance(output, Mapping) else output.numpy()

    def generated(self, records: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the network generates from prepared inputs, step by step."""
        import torch

        network = self.backbone.network
        assert network.generate is not None, "a task that generates needs a network that does"
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in records.items()}
        with torch.no_grad():
            made: np.ndarray = network.generate(network, tensors, "input", self.module).numpy()
        return made

    @cached_property
    def module(self) -> "nn.Module":
        """The head as a module, in evaluation mode. Loads torch."""
        import torch

        head = self.task.head(self.widths, 0.0, self.backbone.network.source_head)
        head.load_state_dict({name: torch.from_numpy(array) for name, array in self.head.items()})
        return head.eval().requires_grad_(False)


def prefixes_of(model: Model, *, device: str, backend: str, threads: int | None) -> Prefixes:
    """The whole network below the head as a runner."""
    card, reads = model.backbone.card, model.task.reads
    return Prefixes(
        model.backbone,
        MODALITIES.get(card.modality).shapes(card.preparation),
        view=reads.readout,
        keep={"output": card.taps_at(reads.strides)},
        memo=Memo(cache_home() / "store"),
        device=device,
        backend=backend,
        threads=threads,
    )
