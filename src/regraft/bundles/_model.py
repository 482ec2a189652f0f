"""What a saved model is made of, and how it is written to disk.

Letters: n inputs, c outputs, d features, g golden inputs.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from regraft.activations.disk import Memo
from regraft.activations.runner import BATCH, Prefixes
from regraft.backbones.backbone import Backbone
from regraft.bundle_format import FACTS, TENSORS, part_digests, sealed, write_tensors
from regraft.contracts.family import Card
from regraft.contracts.modality import MODALITIES
from regraft.contracts.task import Reads, Task
from regraft.evaluation.ood import OODReference
from regraft.files import cache_home, write_json
from regraft.identity import digest_json
from regraft.version import VERSION

if TYPE_CHECKING:
    from torch import nn

GOLDEN_SEED = 0


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
        if self.task.answers != "structured":
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
            made: np.ndarray = network.generate(network, tensors, "input", self.module, self.task.generation).numpy()
        return made

    @cached_property
    def module(self) -> "nn.Module":
        """The head as a module, in evaluation mode. Loads torch."""
        import torch

        head = self.task.head(self.widths, 0.0, self.backbone.network.source_head)
        head.load_state_dict({name: torch.from_numpy(array) for name, array in self.head.items()})
        return head.eval().requires_grad_(False)


def prefixes_of(
    backbone: Backbone,
    reads: Reads,
    *,
    device: str,
    backend: str,
    threads: int | None,
    cut: str = "input",
    on_top: Sequence[str] = (),
    precision: str = "float32",
) -> Prefixes:
    """The network below the head as a runner, and below `cut`; `on_top` names what stays in the top state as well."""
    card = backbone.card
    taps = card.taps_at(reads.strides)
    return Prefixes(
        backbone,
        MODALITIES.get(card.modality).shapes(card.preparation),
        view=reads.readout,
        keep=({} if cut == "input" else {cut: taps}) | {"output": (*taps, *on_top)},
        memo=Memo(cache_home() / "store"),
        device=device,
        backend=backend,
        threads=threads,
        precision=precision,
    )


def with_changes(backbone: Backbone, changed: Mapping[str, np.ndarray], path: Path) -> Backbone:
    """The backbone with some tensors replaced, written to the safetensors file `path`.

    The head's own tensors among `changed` are passed over; without any other the backbone comes back as it is.
    """
    tuned = {name: array for name, array in changed.items() if not name.startswith("head/")}
    if not tuned:
        return backbone
    tensors = _of_stages(backbone) | tuned
    touched = {name.partition("/")[0] for name in tuned}
    fresh = part_digests({name: array for name, array in tensors.items() if name.partition("/")[0] in touched})
    write_tensors(path, tensors)
    card = replace(backbone.card, num_source_classes=0, source_classes=())
    return replace(backbone, card=card, tensors_path=path, stage_digests={**backbone.stage_digests, **fresh})


def write_bundle(
    path: Path, model: Model, *, facts: Mapping[str, Any], golden: Float[np.ndarray, "g c"], backend: str
) -> dict[str, Any]:
    """Write the model to the folder `path`; returns what `bundle.json` holds.

    `facts` go in as they are; `golden` are the logits of the golden inputs, computed by `backend`. The facts are
    written last, so that a folder that has them is whole.

    Raises:
        OutOfSpace: the disk is full.
    """
    own = {f"head/{name}": _kept(array) for name, array in model.head.items()}
    if model.ood is not None:
        own |= {"ood/means": model.ood.class_means, "ood/distances": model.ood.distances}
    stages = _of_stages(model.backbone)
    (path / FACTS).unlink(missing_ok=True)
    write_tensors(path / TENSORS, stages | own)
    parts = part_digests(own)
    written = sealed(
        {
            "made_with": {"regraft": VERSION, "python": platform.python_version()},
            "task": {"kind": model.task.kind, "classes": list(model.task.classes), **model.task.facts},
            "backbone": {
                "card": model.backbone.card.to_json(),
                "stages": dict(model.backbone.stage_digests),
                "revision": model.backbone.family.revision,
            },
            "temperature": float(model.temperature),
            "parts": parts,
            "digests": {TENSORS: digest_json({**model.backbone.stage_digests, **parts})},
            "golden": {
                "seed": GOLDEN_SEED,
                "inputs": golden_digests(model.backbone.card, Memo(cache_home() / "store")),
                "logits": golden.astype(float).tolist(),
                "backend": backend,
            },
            "facts": dict(facts),
        }
    )
    write_json(path / FACTS, written)
    return written


def _kept(array: np.ndarray) -> np.ndarray:
    """Floats as float32; everything else as it is."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def golden_digests(card: Card, memo: Memo) -> list[str]:
    """Digests of the golden inputs, remembered: making them takes longer than all the rest of writing a small model."""
    modality = MODALITIES.get(card.modality)
    key = ["golden inputs", 2, modality.name, GOLDEN_SEED, dict(card.preparation.digest_fields())]
    if isinstance(known := memo.get(key), list):
        return list(map(str, known))
    digests = modality.golden_digests(GOLDEN_SEED, card.preparation)
    memo.put(key, digests)
    return digests


def _of_stages(backbone: Backbone) -> dict[str, np.ndarray]:
    """The tensors of the stages; a source classifier stays behind, and what was made for another head."""
    return {name: array for name, array in backbone.tensors().items() if name.partition("/")[0] in backbone.card.stages}
