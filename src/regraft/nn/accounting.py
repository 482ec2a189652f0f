"""What a network costs, layer by layer, from a real pass: parameters, multiply-adds, memory and receptive field.

A multiply-add is one multiplication with its addition: a convolution costs output cells x filters x kernel cells x
input channels per group, a dense layer outputs x inputs. Products of activations with activations, as in attention,
count as well; biases, pools, normalisation and rectifiers do not. That is the rule by which torchvision publishes
`_ops` (in units of 10^9), and the formulas are torch's own (`torch.utils.flop_counter`, which counts two per
multiply-add).

Memory is two numbers, because two things are done. *Running* a network, a tensor goes as soon as nothing needs it; what
counts is the most bytes that are alive together. *Training* it, autograd keeps what the backward pass will need; those
bytes are counted as torch saves them. In both, parameters, buffers, and what a kernel takes for itself while it works
are left out, and memory that several tensors share (views, layers that overwrite their input) counts once.

Attention counts as torch's fused kernels do it, which never hold a weight for each pair of tokens: kept are queries,
keys, values, output and one number for each query and head (Dao et al. 2022, arXiv:2205.14135, section 3.1).

On device `meta` a pass takes neither memory nor arithmetic.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from regraft.nn.receptive import Reach, Reaches

_WHOLE = (nn.MultiheadAttention,)
"""Modules with children that are one layer: their forward uses the children's parameters, not the children."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One module of a network and its own share of the costs, without those of the modules inside it."""

    name: str
    """Its path in the network, as `named_modules` spells it; empty for the network itself."""
    kind: str
    """Its class: `Conv2d`, `BatchNorm2d`, `Linear` …"""
    window: str
    """Of a convolution or a pool: its window, and its stride where that is not 1, as `7x7/2`; empty for others."""
    output: tuple[int, ...] | None
    """Shape of its (first) output tensor, of the last call if it was called often; None if it was never called."""
    parameters: int
    """Numbers it holds itself; one that several layers share is counted at the first."""
    multiply_adds: int
    """Multiply-adds of all its calls, for the whole batch that was passed."""
    kept_bytes: int
    """Bytes that autograd keeps for the backward pass, for the whole batch; 0 of a pass in evaluation mode. What is
    kept of steps between layers counts with the layer before them."""
    running_bytes: int
    """Most bytes of activations alive at once while it ran, the modules inside it included. The network's inputs are
    not counted; an activation that is alive when the module begins, counts in it. In training mode autograd holds on
    to activations, so ask for this in evaluation mode."""
    reach: Reach | None
    """What one cell of its output depends on, of the last call; None where that is unknown, or it never ran."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Some layers and the sums of their costs."""

    layers: tuple[Layer, ...]
    """Every module without children, and every other one with parameters or multiply-adds of its own, in the order in
    which they ran, idle ones last."""

    @property
    def parameters(self) -> int:
        """Numbers in all parameters, each counted once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a pass."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def kept_bytes(self) -> int:
        """Bytes that autograd keeps for the backward pass."""
        return sum(layer.kept_bytes for layer in self.layers)


@dataclass(frozen=True, kw_only=True)
class Account(Layers):
    """The costs of one forward pass, for the whole batch that was passed."""

    outputs: Mapping[str, Layer]
    """Every module that was called, a layer or not, by its path."""

    def part(self, *paths: str) -> "Account":
        """The layers at or below any of `paths`; the empty path is the whole network."""

        def inside(name: str) -> bool:
            return any(path in ("", name) or name.startswith(f"{path}.") for path in paths)

        return Account(
            layers=tuple(layer for layer in self.layers if inside(layer.name)),
            outputs={name: output for name, output in self.outputs.items() if inside(name)},
        )


def account(module: nn.Module, *inputs: Any, training: bool = False) -> Account:
    """Run `module(*inputs)` once, and count.

    In evaluation mode without gradients, or else in training mode with them: batch norm then takes the batch's
    statistics, and dropout draws. Auxiliary heads do not run in evaluation mode: their layers have parameters but no
    multiply-adds. Afterwards every part is in the mode it was in; running statistics move in training mode, save on
    device `meta`. Pass one example to get the costs per example.
    """
    seen = _Pass(module, inputs)
    modes = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        with torch.set_grad_enabled(training), seen.watching():
            module(*inputs)
    finally:
        for part, mode in modes.items():
            part.training = mode
    return seen.account()


class _Pass(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """One pass: sees every operation as torch dispatches it, which module is at work, and what autograd saves."""

    def __init__(self, module: nn.Module, inputs: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        hidden = {id(child) for part in module.modules() if isinstance(part, _WHOLE) for child in part.children()}
        self._parts = {name: part for name, part in module.named_modules() if id(part) not in hidden}
        self._leaves = {n for n, part in self._parts.items() if isinstance(part, _WHOLE) or not [*part.children()]}
        self._own = {_key(tensor) for tensor in (*module.parameters(), *module.buffers())}
        self._reaches = Reaches(inputs)
        self._outputs: dict[str, tuple[tuple[int, ...] | None, Reach | None]] = {}
        self._open: list[list[int]] = []  # of each module at work: flops when it began, those inside, peak before it
        self._flops, self._flops_of = 0, Counter[str]()
        self._alive, self._peak, self._most = 0, 0, Counter[str]()
        self._known: dict[int, Any] = {}
        self._last: str | None = None  # the layer that began last; None before the first
        self._kept, self._stored = Counter[str | None](), dict[int, torch.UntypedStorage]()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside it everything is recorded; torch's shortcuts for attention are off, so that its parts are seen."""
        handles = []
        for name, part in self._parts.items():
            handles.append(part.register_forward_pre_hook(partial(self._enter, name)))
            handles.append(part.register_forward_hook(partial(self._leave, name)))
        shortcut, attention = torch.backends.mha.get_fastpath_enabled(), functional.scaled_dot_product_attention
        torch.backends.mha.set_fastpath_enabled(False)
        # By the name that modules call it by: a mode of functions does not see the calls of `nn.MultiheadAttention`.
        functional.scaled_dot_product_attention = partial(self._attend, attention)
        try:
            with sdpa_kernel(SDPBackend.MATH), saved_tensors_hooks(self._keep, lambda tensor: tensor), self:
                yield
        finally:
            functional.scaled_dot_product_attention = attention
            torch.backends.mha.set_fastpath_enabled(shortcut)
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._hold((args, kwargs), counted=False)
        output = func(*args, **kwargs)
        self._hold(output, counted=True)
        if formula := flop_registry.get(func.overloadpacket):
            self._flops += formula(*args, **kwargs, out_val=output)
        self._reaches.follow(func, args, kwargs, output)
        return output

    def _enter(self, name: str, module: nn.Module, inputs: Any) -> None:
        self._open.append([self._flops, 0, self._peak])
        self._peak = self._alive
        if name in self._leaves:
            self._last = name
            self._kept[name] += self._kept.pop(None, 0)

    def _leave(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        began, inside, peak = self._open.pop()
        self._flops_of[name] += self._flops - began - inside
        if self._open:
            self._open[-1][1] += self._flops - began
        self._most[name] = max(self._most[name], self._peak)
        self._peak = max(self._peak, peak)
        first = next((one for one in tree_leaves(output) if isinstance(one, Tensor)), None)
        self._outputs[name] = (None, None) if first is None else (tuple(first.shape), self._reaches.of(first))

    def _hold(self, tensors: Any, *, counted: bool) -> None:
        """Follow the memory of tensors until it is freed; what an operation gets and did not come of one, is free."""
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, Tensor) and (key := _key(tensor)) not in self._known:
                storage = tensor.untyped_storage()
                num_bytes = storage.nbytes() if counted else 0
                self._known[key] = weakref.ref(storage, partial(self._freed, key, num_bytes))
                self._alive += num_bytes
                self._peak = max(self._peak, self._alive)

    def _freed(self, key: int, num_bytes: int, _: Any) -> None:
        self._alive -= num_bytes
        del self._known[key]

    def _keep(self, tensor: Tensor) -> Tensor:
        """What autograd saves passes through here."""
        key = _key(tensor)
        if key not in self._own and key not in self._stored:
            self._stored[key] = tensor.untyped_storage()
            self._kept[self._last] += self._stored[key].nbytes()
        return tensor

    def _attend(
        self, plain: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any
    ) -> Tensor:
        """In the place of torch's function. Left to it where its kernels are not fused: with a mask that is trained, or
        values of another length."""
        mask = rest[0] if rest else named.get("attn_mask")
        trained = mask is not None and mask.requires_grad and torch.is_grad_enabled()
        if query.ndim != 4 or query.shape[-1] != value.shape[-1] or trained:
            return plain(query, key, value, *rest, **named)
        attended: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
        self._flops += 2 * 2 * query.numel() * key.shape[-2]  # queries on keys, then weights on values
        self._reaches.attended(query, key, value, attended)
        return attended

    def account(self) -> Account:
        """What was seen, in the order in which the modules ended."""
        order, seen, layers, outputs = [*self._outputs], set[int](), list[Layer](), dict[str, Layer]()
        for name in (*order, *(name for name in self._parts if name not in self._outputs)):
            part = self._parts[name]
            held = {id(p): p.numel() for p in part.parameters(recurse=isinstance(part, _WHOLE))}
            shape, reach = self._outputs.get(name, (None, None))
            layer = Layer(
                name=name,
                kind=type(part).__name__,
                window=_window(part),
                output=shape,
                parameters=sum(count for key, count in held.items() if key not in seen),
                multiply_adds=self._flops_of[name] // 2,
                kept_bytes=self._kept[name],
                running_bytes=self._most[name],
                reach=reach,
            )
            seen |= held.keys()
            if name in self._leaves or layer.parameters or layer.multiply_adds:
                layers.append(layer)
            if name in self._outputs:
                outputs[name] = layer
        return Account(layers=tuple(layers), outputs=outputs)


class _Attention(torch.autograd.Function):
    """Queries (n h q d), keys (n h k d), values (n h k d) -> (n h q d) without numbers, laid out as the queries are.

    Takes the memory that a fused kernel takes, on every device.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return output


def _window(module: nn.Module) -> str:
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return ""
    kernel, stride = (
        (value, value) if isinstance(value, int) else tuple(value) for value in (module.kernel_size, module.stride)
    )
    step = "" if stride == (1, 1) else f"/{stride[0]}" if stride[0] == stride[1] else f"/{stride[0]}x{stride[1]}"
    return f"{kernel[0]}x{kernel[1]}{step}"


def _key(tensor: Tensor) -> int:
    """What tells one piece of memory from another, on device `meta` too, where nothing has an address."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the identity that torch's own trackers use
