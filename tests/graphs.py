"""The graph that autograd builds, walked from its end: what it holds, without the hooks that our own count uses."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def own_memory(module: nn.Module) -> set[int]:
    """Where the module's parameters and buffers lie."""
    return {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}


def saved_in_graph(output: Tensor, own: set[int]) -> int:
    """Bytes of the memory that the graph below `output` holds, that at `own` left out."""
    found: dict[int, int] = {}
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        for tensor in _saved(node):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def _saved(node: Any) -> Iterator[Tensor]:
    for name in dir(node):
        if name.startswith("_saved_"):
            value = getattr(node, name)
            yield from (one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Tensor))
