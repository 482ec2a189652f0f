"""A backbone with its weights at hand: card, digests by stage, and the network when it is asked for.

Imports no torch until a network is asked for, so that a run whose activations are all stored never loads it.
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
    """The family of that name, and the variant; an open family comes narrowed to it, or to its default.

    The variant comes back in full where a shorter name was given, and empty where none was and weights may decide.

    Raises:
        UnknownName: there is no such family, or it has no such variant.
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
    """Stages, card and weights; a value: two backbones with equal digests compute the same function."""

    card: Card
    """The facts."""
    family: Family
    """What builds the network."""
    tensors_path: Path
    """Safetensors file that holds the tensors by canonical name `stage/parameter`."""
    stage_digests: Mapping[str, str]
    """By stage: digest of its parameters and buffers."""
    head: str = "source/"
    """What the names of the source classifier's tensors begin with in the file."""

    @property
    def cuts(self) -> tuple[str, ...]:
        """`input`, every stage but the last, `output`."""
        return self.card.cuts

    def cut(self, name: str) -> str:
        """The cut of that name; the last stage's name means `output`.

        Raises:
            UnknownCut: there is no such stage; the nearest is offered.
        """
        return self.card.cut(name)

    def digest(self, cut: str = "output") -> str:
        """Digest of everything that decides the numbers at `cut`, the input's preparation left out.

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
        """The network with its weights, in evaluation mode, gradients off. Loads torch; built once.

        It is shared: whoever trains, moves or rewrites stages must do so with copies of them (`fresh_network`).
        """
        return self.fresh_network().eval()

    def fresh_network(self) -> Network:
        """A new copy of the network with its weights, in training mode. Loads torch; leaves the random state alone.

        A file without the source classifier's tensors gives a network without one.

        Raises:
            BundleError: the file is missing or damaged.
            WeightsMismatch: it lacks a tensor, or has one of another shape.
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
                    f"{self.tensors_path} is not for {self.card.name}: the tensor {name} is {found} where "
                    f"{tuple(tensor.shape)} is expected.",
                    fix=f"delete the folder {self.tensors_path.parent}; the next run makes it again."
                    if cache_home() in self.tensors_path.parents
                    else "copy the model again from where it was made, or train it again.",
                )
            # Copied, because torch's own memory is aligned as its kernels like it; swapped, because buffers that no
            # state dict holds are wanted too.
            own = torch.from_numpy(stored[name]).to(tensor.dtype, copy=True)
            filled = torch.nn.Parameter(own, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else own
            torch.utils.swap_tensors(tensor, filled)  # type: ignore[no-untyped-call]
        return network

    def tensors(self) -> dict[str, np.ndarray]:
        """Every tensor by canonical name `stage/parameter`."""
        stored = read_tensors(self.tensors_path)
        return {
            f"source/{name.removeprefix(self.head)}" if name.startswith(self.head) else name: one
            for name, one in stored.items()
        }
