"""Cost of a network by layer, measured on a forward pass: parameters, multiply-adds, memory and receptive field.

A multiply-add is one multiplication with its addition: a convolution costs output cells x filters x kernel cells x
input channels per group, a linear layer outputs x inputs. Products of activations with activations, as in attention,
count as well; biases, pools, normalisation and ReLUs do not. This is the convention of torchvision's published `_ops`
(in units of 10^9), and the formulas are torch's own (`torch.utils.flop_counter`, which counts two per multiply-add).

Memory is reported for two cases. In *inference*, a tensor is freed as soon as nothing needs it; the number is the peak
of bytes in use. In *training*, autograd keeps what the backward pass needs; those bytes are counted as torch saves
them. Both exclude parameters, buffers, and a kernel's temporary memory, and count memory shared by several tensors
(views, in-place layers) once.

Attention is counted as in torch's fused kernels, which never store a weight for each pair of tokens: they keep queries,
keys, values, output and one number per query and head (Dao et al. 2022, arXiv:2205.14135, section 3.1).

On device `meta` a pass needs neither memory nor arithmetic.
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
"""Modules with children that count as one layer: their forward uses the children's parameters, not the children."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One module of a network and its own costs, without those of its children."""

    name: str
    """Its path in the network, as in `named_modules`; empty for the network itself."""
    kind: str
    """Class name: `Conv2d`, `BatchNorm2d`, `Linear` …"""
    window: str
    """Kernel of a convolution or a pool, with its stride unless that is 1, as `7x7/2`; empty for other layers."""
    output: tuple[int, ...] | None
    """Shape of its (first) output tensor in the last call; None if it was never called."""
    parameters: int
    """Number of its own parameters; shared ones are counted at the first layer."""
    multiply_adds: int
    """Multiply-adds of all its calls, for the whole batch."""
    kept_bytes: int
    """Bytes that autograd keeps for the backward pass, for the whole batch; 0 in evaluation mode. What is kept between
    layers is counted with the preceding layer."""
    running_bytes: int
    """Peak bytes of activations while it ran, including its children. The network's inputs are not counted; activations
    that exist when the module starts are. In training mode autograd keeps activations alive, so use evaluation mode for
    this."""
    reach: Reach | None
    """Receptive field of a cell of its output, in the last call; None if it is unknown, or the layer never ran."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Some layers and the sums of their costs."""

    layers: tuple[Layer, ...]
    """All modules without children, or with parameters or multiply-adds of their own, in execution order, unused ones
    last."""

    @property
    def parameters(self) -> int:
        """Number of parameters, each counted once."""
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
    """Costs of one forward pass, for the whole batch."""

    outputs: Mapping[str, Layer]
    """All modules that were called, layers or not, by path."""

    def part(self, *paths: str) -> "Account":
        """Return the layers at or below any of `paths`; the empty path is the whole network."""

        def inside(name: str) -> bool:
            return any(path in ("", name) or name.startswith(f"{path}.") for path in paths)

        return Account(
            layers=tuple(layer for layer in self.layers if inside(layer.name)),
            outputs={name: output for name, output in self.outputs.items() if inside(name)},
        )


def account(module: nn.Module, *inputs: Any, training: bool = False) -> Account:
    """Run `module(*inputs)` once, and count its costs.

    Runs in evaluation mode without gradients, or in training mode with them: batch norm then uses the batch's
    statistics, and dropout is active. Auxiliary heads do not run in evaluation mode: their layers have parameters but
    no multiply-adds. Afterwards every module's mode is restored; in training mode running statistics are updated,
    except on device `meta`. Pass one example to get the costs per example.
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
    """One pass: records every operation dispatched by torch, the current module, and what autograd saves."""

    def __init__(self, module: nn.Module, inputs: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        hidden = {id(child) for part in module.modules() if isinstance(part, _WHOLE) for child in part.children()}
        self._parts = {name: part for name, part in module.named_modules() if id(part) not in hidden}
        self._leaves = {n for n, part in self._parts.items() if isinstance(part, _WHOLE) or not [*part.children()]}
        self._own = {_key(tensor) for tensor in (*module.parameters(), *module.buffers())}
        self._reaches = Reaches(inputs)
        self._outputs: dict[str, tuple[tuple[int, ...] | None, Reach | None]] = {}
        self._open: list[list[int]] = []  # for each running module: flops at its start, flops inside, peak before it
        self._flops, self._flops_of = 0, Counter[str]()
        self._alive, self._peak, self._most = 0, 0, Counter[str]()
        self._known: dict[int, Any] = {}
        self._last: str | None = None  # the layer that started last; None before the first
        self._kept, self._stored = Counter[str | None](), dict[int, torch.UntypedStorage]()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record everything inside the context, without torch's fast paths for attention, which would hide its
        modules."""
        handles = []
        for name, part in self._parts.items():
            handles.append(part.register_forward_pre_hook(partial(self._enter, name)))
            handles.append(part.register_forward_hook(partial(self._leave, name)))
        shortcut, attention = torch.backends.mha.get_fastpath_enabled(), functional.scaled_dot_product_attention
        torch.backends.mha.set_fastpath_enabled(False)
        # Patch the name that modules use: a function mode does not see the calls of `nn.MultiheadAttention`.
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
        """Track the memory of tensors until it is freed; inputs not made by a tracked operation are not counted."""
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
        """Record a tensor that autograd saves."""
        key = _key(tensor)
        if key not in self._own and key not in self._stored:
            self._stored[key] = tensor.untyped_storage()
            self._kept[self._last] += self._stored[key].nbytes()
        return tensor

    def _attend(
        self, plain: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any
    ) -> Tensor:
        """Replace torch's attention function. Calls the original if its kernels are not fused: with a trainable mask,
        or values of another length."""
        mask = rest[0] if rest else named.get("attn_mask")
        trained = mask is not None and mask.requires_grad and torch.is_grad_enabled()
        if query.ndim != 4 or query.shape[-1] != value.shape[-1] or trained:
            return plain(query, key, value, *rest, **named)
        attended: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
        self._flops += 2 * 2 * query.numel() * key.shape[-2]  # queries times keys, then weights times values
        self._reaches.attended(query, key, value, attended)
        return attended

    def account(self) -> Account:
        """Return the record, in the order in which the modules finished."""
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
    """Queries (n h q d), keys (n h k d), values (n h k d) -> (n h q d), uninitialised, with the memory layout of the
    queries.

    Uses the memory of a fused kernel, on every device.
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
    """Return a key that identifies a piece of memory, also on device `meta`, where nothing has an address."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the identity that torch's own trackers use
