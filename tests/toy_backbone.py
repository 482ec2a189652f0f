"""The toy encoder as a backbone, so that store and runners are tested on a mask, a shared bias and what is made again.

Inputs: `ids` (9 numbers of words) and `mask` (9 booleans).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.backbones.backbone import Backbone
from regraft.bundle_format import part_digests, write_tensors
from regraft.contracts.family import Built, Card, Family
from regraft.modalities.image.prepare import Preparation
from toys import ToyEncoder, toy_network

LENGTH = 9
SHAPES = {"ids": ((LENGTH,), "int64"), "mask": ((LENGTH,), "bool")}


def card(variant: str = "toy") -> Card:
    return Card(
        family="toy",
        variant=variant,
        weights="random",
        preparation=Preparation(input_px=(1, 1)),
        mean=(0.0,),
        std=(1.0,),
        stages=("embeddings", "layer.0", "layer.1", "layer.2"),
        width=16,
        partial_cut="layer.0",
        num_source_classes=4,
    )


def build(card: Card) -> Built:
    return built(ToyEncoder())


def built(original: ToyEncoder) -> Built:
    return Built(network=toy_network(original), original=original)


ENTRY = Family(
    name="toy",
    title="A toy encoder",
    prefer="in tests",
    source="these tests",
    revision=1,
    variants=("toy",),
    card=card,
    build=build,
    classifier="classify.weight",
    smallest_px=1,
)


def toy_backbone(folder: Path, *, scale: float = 1.0, family: Family = ENTRY, width: int = 16) -> Backbone:
    """A toy with seeded weights in `folder`; `scale` multiplies the word vectors, and so the size of activations."""
    if width != 16:
        family = replace(family, build=lambda _: built(ToyEncoder(width=width)))
    torch.manual_seed(0)
    network = family.build(card()).network
    arrays = {name: tensor.detach().numpy().copy() for name, tensor in network.tensors().items()}
    arrays["embeddings/body.words.weight"] *= np.float32(scale)
    path = folder / "toy.safetensors"
    write_tensors(path, arrays)
    digests = part_digests(arrays)
    return Backbone(
        card=card(), family=family, tensors_path=path, stage_digests={stage: digests[stage] for stage in network.stages}
    )


def toy_input(example: int, number: int = 0) -> dict[str, np.ndarray]:
    """A seeded example of 3 to 9 words, in view `number`."""
    random = np.random.default_rng([example, number])
    return {"ids": random.integers(0, 50, LENGTH), "mask": np.arange(LENGTH) < random.integers(3, LENGTH + 1)}


class Unexportable(nn.Module):
    """A stage with an operator that ONNX does not have."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, state: Any) -> Any:
        state = self.inner(state)
        return {**state, "hidden": state["hidden"] + torch.special.bessel_j0(state["hidden"])}


class Changeable(nn.Module):
    """A stage that does something else while it is traced."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, state: Any) -> Any:
        state = self.inner(state)
        return {**state, "hidden": state["hidden"] * (1.001 if torch.jit.is_tracing() else 1)}


def with_last_stage(wrap: Callable[[nn.Module], nn.Module], folder: Path) -> Backbone:
    """The toy whose last stage is wrapped; its lower stages can be exported."""

    def build_wrapped(card: Any) -> Any:
        built = build(card)
        stages = dict(built.network.stages)
        stages["layer.2"] = wrap(stages["layer.2"])
        return replace(built, network=replace(built.network, stages=stages))

    return toy_backbone(folder, family=replace(ENTRY, build=build_wrapped))
