"""What activations take: the most that is alive at once in a forward pass, and what training keeps of it.

Two numbers, because two things are done. *Running* a network, a tensor goes as soon as nothing needs it; what counts is
the most bytes that are alive together. *Training* it, autograd keeps what the backward pass will need; those bytes are
counted as torch saves them. In both, parameters, buffers, and what a kernel takes for itself while it works are left
out, and memory that several tensors share (views, layers that overwrite their input) counts once.

Attention counts as torch's fused kernels do it, which never hold a weight for each pair of tokens: kept are queries,
keys, values, output and one number for each query and head (Dao et al. 2022, arXiv:2205.14135, section 3.1).

On device `meta` neither pass takes memory or arithmetic.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from regraft.nn.accounting import evaluating, parts_of, taken_apart


def running_bytes(module: nn.Module, *inputs: Any) -> dict[str, int]:
    """Most bytes of activations alive at once, by the path of the part that ran; the whole pass under ``.

    In evaluation mode, without gradients. The inputs' own bytes are not counted; an activation that is alive when a
    part begins, counts in it.
    """
    live = _Live()
    most: dict[str, int] = {}
    began: list[int] = []

    def enter(*_: Any) -> None:
        began.append(live.peak)
        live.peak = live.now

    def leave(name: str) -> None:
        most[name] = max(most.get(name, 0), live.peak)
        live.peak = max(live.peak, began.pop())

    with evaluating(module), taken_apart(), fused_attention(), live, _hooked(parts_of(module), enter, leave):
        module(*inputs)
    return most


def kept_bytes(module: nn.Module, *inputs: Any) -> dict[str, int]:
    """Bytes that autograd keeps for the backward pass, by the path of the layer that ran.

    In training mode, all parameters trained: batch norm takes the batch's statistics, dropout draws. What is kept of
    steps between layers counts with the layer before them. Running statistics move, save on device `meta`.
    """
    parts = parts_of(module)
    inside = set(parts.values())
    layers = {name for name, part in parts.items() if inside.isdisjoint(part.children())}
    own = {_key(tensor) for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[str, int] = {}
    stored: dict[int, torch.UntypedStorage] = {}
    last = [""]

    def enter(name: str) -> None:
        if name in layers:
            last[0] = name
            kept[name] = kept.get(name, 0) + kept.pop("", 0)

    def pack(tensor: Tensor) -> Tensor:
        key = _key(tensor)
        if key not in own and key not in stored:
            stored[key] = tensor.untyped_storage()
            kept[last[0]] = kept.get(last[0], 0) + stored[key].nbytes()
        return tensor

    modes = {part: part.training for part in module.modules()}
    module.train()
    try:
        saving = saved_tensors_hooks(pack, lambda tensor: tensor)
        with taken_apart(), fused_attention(), torch.enable_grad(), saving, _hooked(parts, enter, lambda name: None):
            module(*inputs)
    finally:
        for part, training in modes.items():
            part.training = training
    return kept


@contextmanager
def fused_attention() -> Iterator[None]:
    """Inside it, attention takes the memory that a fused kernel takes, on every device, and gives no numbers.

    Put in the place of torch's function, by whose name modules call it: a mode of functions does not see the calls that
    `nn.MultiheadAttention` makes.
    """
    plain = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = partial(_attend, plain)
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = plain


def _attend(
    plain: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any
) -> Tensor:
    """Left to torch where its kernels are not fused: with a mask that is trained, or values of another length."""
    mask = rest[0] if rest else named.get("attn_mask")
    if query.ndim != 4 or query.shape[-1] != value.shape[-1] or (mask is not None and mask.requires_grad):
        return plain(query, key, value, *rest, **named)
    attended: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return attended


class _Attention(torch.autograd.Function):
    """Queries (n h q d), keys (n h k d), values (n h k d) -> (n h q d) without numbers, laid out as the queries are."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return output


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operations make, until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._note((args, kwargs), counted=False)
        output = func(*args, **(kwargs or {}))
        self._note(output, counted=True)
        return output

    def _note(self, tensors: Any, *, counted: bool) -> None:
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, Tensor) and (key := _key(tensor)) not in self._known:
                storage = tensor.untyped_storage()
                num_bytes = storage.nbytes() if counted else 0
                self._known[key] = weakref.ref(storage, partial(self._freed, key, num_bytes))
                self.now += num_bytes
                self.peak = max(self.peak, self.now)

    def _freed(self, key: int, num_bytes: int, _: Any) -> None:
        self.now -= num_bytes
        del self._known[key]


def _key(tensor: Tensor) -> int:
    """What tells one piece of memory from another, on device `meta` too, where nothing has an address."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the identity that torch's own trackers use


@contextmanager
def _hooked(
    parts: Mapping[str, nn.Module], enter: Callable[[str], object], leave: Callable[[str], object]
) -> Iterator[None]:
    """Call `enter` and `leave` with the path of every part that begins and ends."""
    handles = []
    for name, part in parts.items():
        handles.append(part.register_forward_pre_hook(lambda *_, name=name: _ignore(enter(name))))
        handles.append(part.register_forward_hook(lambda *_, name=name: _ignore(leave(name))))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _ignore(_: object) -> None:
    """Hooks must return None, or they replace what went in or came out."""
