"""Costs of a network by stage and by layer, computed without weights or arithmetic.

The network is built on torch's device `meta`, where tensors have shapes but no data, and run there as on any other
device: the operations that torch dispatches are counted. Numbers are per example unless stated otherwise; bytes are
those of 32-bit floats.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from regraft.contracts.backbone import Network
from regraft.contracts.family import Card, Family, built
from regraft.errors import BadRequest
from regraft.nn.accounting import Account, Layer, Layers, account
from regraft.nn.inception import Filters, Inception
from regraft.nn.initialise import Undrawn

START, HEAD = "start", "head"
"""Names for what is below the first stage and above the last."""


class Whole(nn.Module):
    """A network's stages and source classifier as one module: prepared inputs -> logits, or the pooled readout."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.parts = nn.ModuleList(network.modules())

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        pooled: Tensor = self.network.readouts(self.network.run(inputs))["pooled"]
        return pooled if self.network.source_head is None else self.network.source_head(pooled)


@dataclass(frozen=True, kw_only=True)
class LayerCosts(Layer):
    """One layer for one example: `name` is its path inside the stage, `output` excludes the example axis."""

    stage: str
    """The stage that contains it; `head` for the classifier."""


@dataclass(frozen=True, kw_only=True)
class PartCosts(Layer):
    """One stage, the classifier, or an auxiliary head, with everything inside it, for one example.

    `name` is that of the stage; for an auxiliary head, that of the stage below it. `kept_bytes` are those that training
    stores for each additional example; `output` excludes the example axis.
    """

    filters: Filters | None = None
    """Number of filters of each layer of an Inception module; None for other stages."""
    reductions: bool = True
    """Whether an Inception module has the 1x1 layers before its kernels and after its pool."""
    wide_kernel: int = 0
    """Kernel size of an Inception module's "5x5" branch."""


@dataclass(frozen=True, kw_only=True)
class NetworkCosts(Layers):
    """A whole network for one example; memory in training is per additional example of a batch."""

    layers: tuple[LayerCosts, ...]
    """All layers of stages and classifier, in execution order."""
    stages: tuple[PartCosts, ...]
    """The stages, from the input upwards."""
    head: PartCosts | None
    """The source classifier; None if the weights have none."""
    side_heads: tuple[PartCosts, ...]
    """Auxiliary heads with the same number of classes; not included in the sums."""
    running_bytes: int
    """Peak bytes of activations in a pass without training."""


def costs_of(family: Family, card: Card) -> NetworkCosts:
    """Count the costs of the card's network.

    Raises:
        BadRequest: the network does not take images, so its costs depend on the example.
    """
    if not card.input_px:
        raise BadRequest(f"The cost of {card.name} depends on the example; only image networks are counted.",
                         fix="`regraft backbones NAME` lists its cuts.")  # fmt: skip

    def pixels(number: int) -> dict[str, Tensor]:
        return {"pixels": torch.empty((number, *card.preparation.input_px, card.channels), dtype=torch.uint8)}

    with torch.device("meta"):
        with Undrawn():
            network = built(family, card).network
        if not card.num_source_classes:  # build with one placeholder class
            network = replace(network, source_head=None)
        whole = Whole(network)
        counted = _counted(whole, pixels)
    names = [START, *network.stages, *([HEAD] if network.source_head else [])]
    paths = {name: f"parts.{at}" for at, name in enumerate(names) if name != START}
    parts = {name: _part(name, counted, path, whole.get_submodule(path)) for name, path in paths.items()}
    return NetworkCosts(
        stages=tuple(parts[name] for name in network.stages),
        head=parts.get(HEAD) if network.source_head else None,
        side_heads=tuple(_side_heads(network, card, parts)),
        layers=tuple(
            LayerCosts(**{**vars(layer), "name": _below(path, layer.name)}, stage=stage)
            for stage, path in paths.items()
            for layer in counted.part(path).layers
        ),
        running_bytes=counted.outputs[""].running_bytes,
    )


def _counted(module: nn.Module, inputs: Callable[[int], Any]) -> Account:
    """Return the account of one example; `inputs(n)` makes n examples.

    The memory that training needs for each *additional* example is the difference between three and two, because batch
    norm's statistics and the like are stored once per batch.
    """
    two, three = (account(module, inputs(number), training=True).layers for number in (2, 3))
    kept = Counter({layer.name: layer.kept_bytes for layer in three})
    kept.subtract({layer.name: layer.kept_bytes for layer in two})

    def of_one(layer: Layer) -> Layer:
        return replace(layer, output=layer.output and layer.output[1:], kept_bytes=kept[layer.name])

    one = account(module, inputs(1))
    return Account(
        layers=tuple(map(of_one, one.layers)), outputs={path: of_one(layer) for path, layer in one.outputs.items()}
    )


def _part(name: str, counted: Account, path: str, module: nn.Module) -> PartCosts:
    share = counted.part(path)
    inception = next((part for part in module.modules() if isinstance(part, Inception)), None)
    branches: dict[str, Any] = {}
    if inception is not None:
        variant = inception.variant
        branches = {"filters": inception.filters, "reductions": variant.reductions, "wide_kernel": variant.wide_kernel}
    sums = {"parameters": share.parameters, "multiply_adds": share.multiply_adds, "kept_bytes": share.kept_bytes}
    return PartCosts(**{**vars(counted.outputs[path]), "name": name, **sums, **branches})


def _side_heads(network: Network, card: Card, stages: Mapping[str, PartCosts]) -> Iterator[PartCosts]:
    """Yield the costs of each auxiliary head, run alone on its stage's output; its receptive field is omitted, because
    it would not include that of the stages below."""
    for stage, side in network.side_heads.items():
        shape = stages[stage].output or ()
        with torch.device("meta"):
            with Undrawn():
                module = side.build(card.num_source_classes or 1)
            counted = _counted(module, partial(_grids, shape))
        yield replace(_part(stage, counted, "", module), reach=None)


def _grids(shape: tuple[int, ...], number: int) -> Tensor:
    return torch.empty((number, *shape))


def _below(path: str, name: str) -> str:
    return name.removeprefix(path).removeprefix(".").removeprefix("body").removeprefix(".")
