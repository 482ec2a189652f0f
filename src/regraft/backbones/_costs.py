"""What a network of the shelf costs, stage by stage and layer by layer; no weights are needed and nothing is computed.

The network is built on torch's device `meta`, where tensors have shapes and no numbers, and run there as it would run
anywhere: what is counted is what torch dispatched. Numbers are per example unless said otherwise; bytes are those of
32-bit floats.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones.undrawn import Undrawn
from regraft.contracts.backbone import Network
from regraft.contracts.card import Card
from regraft.contracts.family import Family, built
from regraft.nn.accounting import Account, account
from regraft.nn.inception import Filters, Inception
from regraft.nn.memory import kept_bytes, running_bytes
from regraft.nn.receptive import Reach

START, HEAD = "start", "head"
"""Names of what lies below the first stage and above the last."""


class Whole(nn.Module):
    """A network's stages and source classifier as one module: prepared inputs -> logits, or the pooled view."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.parts = nn.ModuleList(network.modules())

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        pooled: Tensor = self.network.views(self.network.run(inputs))["pooled"]
        return pooled if self.network.source_head is None else self.network.source_head(pooled)


@dataclass(frozen=True, kw_only=True)
class LayerCosts:
    """One layer."""

    stage: str
    """The stage it is in; `head` for the classifier."""
    name: str
    """Its path inside the stage."""
    kind: str
    """Its class: `Conv2d`, `BatchNorm2d` …"""
    window: str
    """Of a convolution or a pool: its window, and its stride where that is not 1, as `7x7/2`; empty for others."""
    output: tuple[int, ...] | None
    """Shape of its output for one example; None where it does not run."""
    parameters: int
    """Numbers that it holds."""
    multiply_adds: int
    """Multiply-adds."""
    kept_bytes: int
    """Bytes that training keeps of it for the backward pass."""
    reach: Reach | None
    """What one cell of its output depends on; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class PartCosts:
    """One stage, the classifier, or an auxiliary head."""

    name: str
    """The stage's name; of an auxiliary head, that of the stage it sits on."""
    output: tuple[int, ...] | None
    """Shape of its output for one example."""
    parameters: int
    """Numbers that it holds."""
    multiply_adds: int
    """Multiply-adds."""
    kept_bytes: int
    """Bytes that training keeps of it for the backward pass."""
    running_bytes: int
    """Most bytes of activations alive at once while it runs without training."""
    reach: Reach | None
    """What one cell of its output depends on; None where that is not known."""
    filters: Filters | None = None
    """Of an Inception module: how many filters each layer of its branches has."""
    reductions: bool = True
    """Of an Inception module: whether it has the 1x1 layers before its kernels and after its pool."""
    wide_kernel: int = 0
    """Of an Inception module: side of the kernel in its "5x5" branch."""


@dataclass(frozen=True, kw_only=True)
class NetworkCosts:
    """A whole network."""

    stages: tuple[PartCosts, ...]
    """The stages, from the input upwards."""
    head: PartCosts | None
    """The source classifier; None where the weights have none."""
    side_heads: tuple[PartCosts, ...]
    """Auxiliary heads for as many classes; they are no part of the sums."""
    layers: tuple[LayerCosts, ...]
    """Every layer of stages and classifier in the order in which it ran."""
    running_bytes: int
    """Most bytes of activations alive at once in a pass without training."""

    @property
    def parts(self) -> tuple[PartCosts, ...]:
        """Stages and classifier."""
        return (*self.stages, self.head) if self.head else self.stages

    @property
    def parameters(self) -> int:
        """Numbers in stages and classifier, each counted once."""
        return sum(part.parameters for part in self.parts)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a pass."""
        return sum(part.multiply_adds for part in self.parts)

    @property
    def kept_bytes(self) -> int:
        """Bytes that training keeps of every further example of a batch."""
        return sum(layer.kept_bytes for layer in self.layers)


def costs_of(family: Family, card: Card) -> NetworkCosts:
    """Count the network of that card."""
    with torch.device("meta"):
        with Undrawn():
            network = built(family, card).network
        if not card.num_source_classes:  # one class stands in while a network is built
            network = replace(network, source_head=None)
        whole = Whole(network)
        counted = account(whole, _inputs(card, 1))
        running = running_bytes(whole, _inputs(card, 1))
        two, three = (kept_bytes(whole, _inputs(card, number)) for number in (2, 3))
    names = [START, *network.stages, *([HEAD] if network.source_head else [])]
    paths = {name: f"parts.{at}" for at, name in enumerate(names)}
    kept = {path: three.get(path, 0) - two.get(path, 0) for path in three}
    parts = {name: _part(name, path, counted, kept, running, whole.get_submodule(path)) for name, path in paths.items()}
    return NetworkCosts(
        stages=tuple(parts[name] for name in network.stages),
        head=parts.get(HEAD) if network.source_head else None,
        side_heads=tuple(_side_heads(network, card, parts)),
        layers=tuple(_layers(whole, counted, paths, kept)),
        running_bytes=running[""],
    )


def _inputs(card: Card, num_examples: int) -> dict[str, Tensor]:
    shape = (num_examples, *card.preparation.input_px, card.channels)
    return {"pixels": torch.empty(shape, dtype=torch.uint8)}


def _part(
    name: str, path: str, counted: Account, kept: Mapping[str, int], running: Mapping[str, int], module: nn.Module
) -> PartCosts:
    share, output = counted.part(path), counted.outputs[path]
    inception = next((part for part in module.modules() if isinstance(part, Inception)), None)
    branches = {} if inception is None else _branches(inception)
    return PartCosts(
        name=name,
        output=_of_one(output.shape),
        parameters=share.parameters,
        multiply_adds=share.multiply_adds,
        kept_bytes=sum(kept.get(layer.name, 0) for layer in share.layers),
        running_bytes=running[path],
        reach=output.reach,
        **branches,
    )


def _branches(inception: Inception) -> dict[str, Any]:
    variant = inception.variant
    return {
        "filters": inception.filters,
        "reductions": variant.reductions,
        "wide_kernel": variant.wide_kernel,
    }


def _side_heads(network: Network, card: Card, stages: Mapping[str, PartCosts]) -> Iterator[PartCosts]:
    """Each alone, on what its stage gives."""
    for stage, side in network.side_heads.items():
        with torch.device("meta"):
            with Undrawn():
                module = side.build(card.num_source_classes or 1)
            one, two, three = (torch.empty((number, *(stages[stage].output or ()))) for number in (1, 2, 3))
            counted, running = account(module, one), running_bytes(module, one)
            kept = sum(kept_bytes(module, three).values()) - sum(kept_bytes(module, two).values())
        output = counted.outputs[""]
        yield PartCosts(
            name=stage,
            output=_of_one(output.shape),
            parameters=counted.parameters,
            multiply_adds=counted.multiply_adds,
            kept_bytes=kept,
            running_bytes=running[""],
            reach=None,
        )


def _layers(whole: Whole, counted: Account, paths: Mapping[str, str], kept: Mapping[str, int]) -> Iterator[LayerCosts]:
    for stage, path in paths.items():
        if stage == START:
            continue
        for layer in counted.part(path).layers:
            yield LayerCosts(
                stage=stage,
                name=layer.name.removeprefix(path).removeprefix(".").removeprefix("body").removeprefix("."),
                kind=layer.kind,
                window=_window(whole.get_submodule(layer.name)),
                output=_of_one(layer.output_shape),
                parameters=layer.parameters,
                multiply_adds=layer.multiply_adds,
                kept_bytes=kept.get(layer.name, 0),
                reach=layer.reach,
            )


def _of_one(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if shape is None else shape[1:]


def _window(module: nn.Module) -> str:
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return ""
    kernel, stride = (
        (value, value) if isinstance(value, int) else tuple(value) for value in (module.kernel_size, module.stride)
    )
    step = "" if stride == (1, 1) else f"/{stride[0]}" if stride[0] == stride[1] else f"/{stride[0]}x{stride[1]}"
    return f"{kernel[0]}x{kernel[1]}{step}"
