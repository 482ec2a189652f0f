"""What a network costs: parameters, multiply-adds and receptive field per layer, from a real forward pass.

A multiply-add is one multiplication with its addition: a convolution costs output cells x filters x kernel cells x
input channels per group, a dense layer outputs x inputs. Products of activations with activations, as in attention,
count as well; biases, pools, normalisation and rectifiers do not. That is the rule by which torchvision publishes
`_ops` (in units of 10^9), and the counter is torch's own (`torch.utils.flop_counter`, which counts two per
multiply-add).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from regraft.nn.receptive import Reach, ReachMode

_WHOLE = (nn.MultiheadAttention,)
"""Modules with children that are one layer: their forward uses the children's parameters, not the children."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer and its share of the costs."""

    name: str
    """Its path in the module, as `named_modules` spells it; empty for the module itself."""
    kind: str
    """Its class: `Conv2d`, `BatchNorm2d`, `Linear` …"""
    output_shape: tuple[int, ...] | None
    """Shape of its (first) output tensor, of the last call if it was called often; None if it was never called."""
    parameters: int
    """Numbers it holds itself; one that several layers share is counted at the first."""
    multiply_adds: int
    """Multiply-adds of all its calls, for the whole batch that was passed."""
    reach: Reach | None
    """What one cell of its output depends on, of the last call; None where that is unknown, or it never ran."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a part of a network gave when it was last called."""

    shape: tuple[int, ...] | None
    """Shape of its (first) tensor; None where there is none."""
    reach: Reach | None
    """What one cell of it depends on; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The costs of one forward pass, layer by layer in the order in which they ran, idle ones last."""

    layers: tuple[Layer, ...]
    """Every layer without children, and every other module with parameters or multiply-adds of its own."""
    outputs: Mapping[str, Output]
    """What every module that was called gave, layers or not, by its path."""

    @property
    def parameters(self) -> int:
        """Numbers in all parameters, each counted once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the whole pass, for the whole batch that was passed."""
        return sum(layer.multiply_adds for layer in self.layers)

    def part(self, *paths: str) -> "Account":
        """The layers at or below any of `paths`."""

        def inside(name: str) -> bool:
            return any(name == path or name.startswith(f"{path}.") for path in paths)

        return Account(
            layers=tuple(layer for layer in self.layers if inside(layer.name)),
            outputs={name: output for name, output in self.outputs.items() if inside(name)},
        )

    def of_kind(self, *kinds: str) -> "Account":
        """The layers of these classes."""
        return replace(self, layers=tuple(layer for layer in self.layers if layer.kind in kinds))


def account(module: nn.Module, *inputs: Any) -> Account:
    """Run `module(*inputs)` once, in evaluation mode without gradients, and count.

    The module is as it was afterwards: same mode of every part, same statistics. Pass one example to get the costs per
    example; on device `meta` the pass takes no arithmetic. Auxiliary heads do not run in evaluation mode: their layers
    have parameters but no multiply-adds.
    """
    watch = _Watch(ReachMode(inputs))
    with evaluating(module), taken_apart(), watch.reaches, watch.counter, watch.on(module):
        module(*inputs)
    names = {part: name for name, part in parts_of(module).items()}
    return Account(
        layers=tuple(_layers(module, watch)), outputs={names[part]: output for part, output in watch.outputs.items()}
    )


class _Watch:
    """What hooks saw: multiply-adds of each module net of its children's, the shape of its output and its reach."""

    def __init__(self, reaches: ReachMode) -> None:
        self.counter, self.reaches = FlopCounterMode(display=False), reaches
        self.own: dict[nn.Module, int] = {}
        self.outputs: dict[nn.Module, Output] = {}
        self._open: list[tuple[int, int]] = []

    @contextmanager
    def on(self, module: nn.Module) -> Iterator[None]:
        parts = list(parts_of(module).values())
        handles = [part.register_forward_pre_hook(self._enter) for part in parts]
        handles += [part.register_forward_hook(self._leave) for part in parts]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._open.append((self.counter.get_total_flops(), 0))

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        before, inner = self._open.pop()
        spent = self.counter.get_total_flops() - before
        self.own[module] = self.own.get(module, 0) + (spent - inner) // 2
        self.outputs[module] = Output(shape=_shape(output), reach=self.reaches.of(output))
        if self._open:
            outer, inner = self._open[-1]
            self._open[-1] = (outer, inner + spent)


def _layers(module: nn.Module, watch: _Watch) -> Iterator[Layer]:
    seen: set[int] = set()
    ran = {part: position for position, part in enumerate(watch.outputs)}
    for name, part in sorted(parts_of(module).items(), key=lambda item: ran.get(item[1], len(ran))):
        held = {id(p): p.numel() for p in part.parameters(recurse=isinstance(part, _WHOLE))}
        parameters = sum(count for key, count in held.items() if key not in seen)
        seen |= held.keys()
        multiply_adds = watch.own.get(part, 0)
        if isinstance(part, _WHOLE) or not list(part.children()) or parameters or multiply_adds:
            yield Layer(
                name=name,
                kind=type(part).__name__,
                output_shape=watch.outputs[part].shape if part in watch.outputs else None,
                parameters=parameters,
                multiply_adds=multiply_adds,
                reach=watch.outputs[part].reach if part in watch.outputs else None,
            )


def parts_of(module: nn.Module) -> dict[str, nn.Module]:
    """Every module inside `module`, itself too, by path; of one that is one layer with its children, itself alone."""
    hidden = {id(child) for part in module.modules() if isinstance(part, _WHOLE) for child in part.children()}
    return {name: part for name, part in module.named_modules() if id(part) not in hidden}


def _shape(output: Any) -> tuple[int, ...] | None:
    if isinstance(output, Tensor):
        return tuple(output.shape)
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((shape for value in values if (shape := _shape(value)) is not None), None)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients inside; afterwards every part and parameter is as it was."""
    modes = {part: part.training for part in module.modules()}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.eval().requires_grad_(False)
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def taken_apart() -> Iterator[None]:
    """Inside, fused attention is taken apart into products, so that each of them is seen."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
