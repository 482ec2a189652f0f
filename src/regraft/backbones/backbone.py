"""A backbone with its weights: card, digest of each stage, and the network, built on demand.

torch is imported only when a network is built, so a run with all its activations stored never loads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from regraft.bundle_format import read_tensors
from regraft.contracts.backbone import Network
from regraft.contracts.family import Card, Family, built
from regraft.errors import UnknownName, WeightsMismatch
from regraft.files import cache_home
from regraft.identity import digest_json
from regraft.registry import Shelf

BACKBONES: Shelf[Family] = Shelf("backbone", "regraft.backbones")


def family_of(name: str, variant: str = "") -> tuple[Family, str]:
    """Return the family with that name, and the variant; an open family is narrowed to the variant, or to its default.

    The variant is returned in full if a shorter name was given, and empty if none was given and the weights may decide.

    Raises:
        UnknownName: the family does not exist, or has no such variant.
        MissingExtra: the library that knows the variants is not installed.
    """
    family = BACKBONES.get(name)
    if family.narrowed is not None:
        family = family.narrowed(variant or family.variants[0])
        return family, family.variants[0]
    if variant and variant not in family.variants:
        raise UnknownName(f"variant of {name}", variant, family.variants)
    return family, variant


@dataclass(frozen=True)
class Backbone:
    """Stages, card and weights, as a value: two backbones with equal digests compute the same function."""

    card: Card
    """The network's metadata."""
    family: Family
    """The family, which builds the network."""
    tensors_path: Path
    """Safetensors file with the tensors by canonical name `stage/parameter`."""
    stage_digests: Mapping[str, str]
    """Digest of the parameters and buffers of each stage, by name."""
    head: str = "source/"
    """Prefix of the names of the source classifier's tensors in the file."""

    @property
    def cuts(self) -> tuple[str, ...]:
        """Names of the cuts: `input`, every stage but the last, `output`."""
        return self.card.cuts

    def cut(self, name: str) -> str:
        """Return the cut with that name; the last stage's name means `output`.

        Raises:
            UnknownCut: there is no such stage; the error suggests the nearest.
        """
        return self.card.cut(name)

    def digest(self, cut: str = "output") -> str:
        """Return the digest of everything that determines the activations at `cut`, except the input's preparation.

        Raises:
            UnknownCut: there is no such stage.
        """
        return digest_json(
            {
                "family": self.card.family,
                "variant": self.card.variant,
                "revision": self.family.revision,
                "start": [list(self.card.mean), list(self.card.std)],
                **({"config": dict(self.card.config)} if self.card.config else {}),
                "stages": [self.stage_digests[stage] for stage in self.card.stages[: self.cuts.index(self.cut(cut))]],
            }
        )

    @cached_property
    def network(self) -> Network:
        """Return the network with its weights, in evaluation mode and without gradients. Loads torch; built once.

        The network is shared: code that trains, moves or modifies stages must use a copy (`fresh_network`).
        """
        return self.fresh_network().eval()

    def fresh_network(self) -> Network:
        """Return a new copy of the network with its weights, in training mode. Loads torch; keeps the random state.

        If the file lacks the source classifier's tensors, the network has no source classifier.

        Raises:
            BundleError: the file is missing or damaged.
            WeightsMismatch: it lacks a tensor, or has one with a different shape.
        """
        import torch

        from regraft.nn.initialise import Unfilled

        with Unfilled():
            network = built(self.family, self.card).network
        stored = self.tensors()
        if not any(name.startswith("source/") for name in stored):
            network = replace(network, source_head=None)
        for name, tensor in network.tensors().items():
            if name not in stored or stored[name].shape != tuple(tensor.shape):
                found = f"of shape {stored[name].shape}" if name in stored else "missing"
                raise WeightsMismatch(
                    f"{self.tensors_path} does not match {self.card.name}: the tensor {name} is {found}; "
                    f"expected {tuple(tensor.shape)}.",
                    fix=f"delete the folder {self.tensors_path.parent}; the next run recreates it."
                    if cache_home() in self.tensors_path.parents
                    else "copy the model again from its original location, or train it again.",
                )
            # Copy, because torch aligns its own memory for its kernels; swap, because buffers missing from
            # the state dict must be loaded too.
            own = torch.from_numpy(stored[name]).to(tensor.dtype, copy=True)
            filled = torch.nn.Parameter(own, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else own
            torch.utils.swap_tensors(tensor, filled)  # type: ignore[no-untyped-call]
        return network

    def tensors(self) -> dict[str, np.ndarray]:
        """Return all tensors by canonical name `stage/parameter`."""
        stored = read_tensors(self.tensors_path)
        return {
            f"source/{name.removeprefix(self.head)}" if name.startswith(self.head) else name: one
            for name, one in stored.items()
        }
