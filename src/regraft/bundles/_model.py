"""The parts of a saved model, and writing it to disk.

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
from regraft.contracts.family import Card, built
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
    """The content of a bundle."""

    backbone: Backbone
    """The network, including its fine-tuned stages."""
    task: Task
    """Head, outputs and predictions."""
    head: Mapping[str, np.ndarray]
    """The head's tensors by name; for linear tasks `weight` (c d) and `bias` (c)."""
    temperature: float
    """Temperature that logits are divided by; 1 if uncalibrated."""
    ood: OODReference | None
    """Reference of the OOD score; None if there were too few training examples."""

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
        """Number of channels of the head's inputs, by readout and tap."""
        return self.backbone.card.widths(self.task.reads.readout, self.task.reads.strides)

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """Apply a linear head to features, in blocks of fixed size, so that a row's logits do not depend on the other
        rows (the summation order of a matrix product depends on the number of rows)."""
        result = np.empty((len(features), len(self.bias)), dtype=np.float32)
        for first in range(0, len(features), BATCH):
            rows = features[first : first + BATCH]
            block = np.zeros((BATCH, features.shape[1]), dtype=np.float32)
            block[: len(rows)] = rows
            result[first : first + BATCH] = (block @ self.weight.T + self.bias)[: len(rows)]
        return result

    def output(self, read: Mapping[str, np.ndarray]) -> Any:
        """Return the head's output, an array or a mapping of arrays, from its inputs."""
        if self.task.answers != "structured":
            return self.logits(read[self.task.reads.readout])
        import torch

        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in read.items()}
        with torch.no_grad():
            output = self.module(tensors if self.task.reads.strides else tensors[self.task.reads.readout])
        return {name: leaf.numpy() for name, leaf in output.items()} if isinstance(output, Mapping) else output.numpy()

    def generated(self, records: Mapping[str, np.ndarray]) -> np.ndarray:
        """Generate tokens from prepared inputs, step by step."""
        import torch

        network = self.backbone.network
        assert network.generate is not None, "a task that generates needs a network that does"
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in records.items()}
        with torch.no_grad():
            made: np.ndarray = network.generate(network, tensors, "input", self.module, self.task.generation).numpy()
        return made

    @cached_property
    def module(self) -> "nn.Module":
        """The head as a module, in evaluation mode. Imports torch."""
        import torch

        source = self.backbone.network.source_head
        if source is None and self.task.ready:  # its form alone: the values follow
            source = built(self.backbone.family, self.backbone.card).network.source_head
        head = self.task.head(self.widths, 0.0, source)
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
    """Return a runner of the network below the head, and below `cut`; `on_top` names taps to keep at the top."""
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
    """Return the backbone with some tensors replaced, written to the safetensors file `path`.

    The head's tensors in `changed` are ignored; without any others the backbone is returned unchanged.
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
    """Write the model to the folder `path`; return the content of `bundle.json`.

    `facts` are stored as they are; `golden` are the logits of the golden inputs, computed by `backend`. bundle.json is
    written last, so that a folder that has it is complete.

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
    """Convert floats to float32; return other arrays unchanged."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def golden_digests(card: Card, memo: Memo) -> list[str]:
    """Return digests of the golden inputs, cached because generating them takes longer than writing a small model."""
    modality = MODALITIES.get(card.modality)
    key = ["golden inputs", 2, modality.name, GOLDEN_SEED, dict(card.preparation.digest_fields())]
    if isinstance(known := memo.get(key), list):
        return list(map(str, known))
    digests = modality.golden_digests(GOLDEN_SEED, card.preparation)
    memo.put(key, digests)
    return digests


def _of_stages(backbone: Backbone) -> dict[str, np.ndarray]:
    """Return the tensors of the stages, without the source classifier and auxiliary parts of other heads."""
    return {name: array for name, array in backbone.tensors().items() if name.partition("/")[0] in backbone.card.stages}
