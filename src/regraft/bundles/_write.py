"""A trained model to disk.

Letters: g golden inputs, c outputs.
"""

import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.activations.disk import Memo
from regraft.backbones.backbone import Backbone
from regraft.bundle_format import FACTS, TENSORS, part_digests, sealed, write_tensors
from regraft.bundles._model import Model
from regraft.contracts.card import Card
from regraft.contracts.modality import MODALITIES
from regraft.files import cache_home, write_json
from regraft.identity import digest_json
from regraft.version import VERSION

GOLDEN_SEED = 0


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
