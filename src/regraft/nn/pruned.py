"""A module without some of its parts: the same methods on the same tensors, for whoever calls only some of them."""

import copy
from collections.abc import Iterable

from torch import nn


def without(module: nn.Module, paths: Iterable[str], *, bare: bool = False) -> nn.Module:
    """A shallow copy of `module` that lacks the parts at the dotted `paths`; all other parts and tensors are shared.

    `bare` leaves the module's own parameters and buffers out too, those of its parts stay. A method that uses what is
    missing fails. The original is left as it is.
    """
    pruned = copy.copy(module)
    pruned._modules = dict(module._modules)  # noqa: SLF001 - a copy's tables are the original's own until replaced
    pruned._parameters = {} if bare else dict(module._parameters)  # noqa: SLF001
    pruned._buffers = {} if bare else dict(module._buffers)  # noqa: SLF001
    deeper: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition(".")
        if rest:
            deeper.setdefault(name, []).append(rest)
        else:
            pruned._modules.pop(name, None)  # noqa: SLF001
    for name, inner in deeper.items():
        part = pruned._modules.get(name)  # noqa: SLF001
        if part is not None:
            pruned._modules[name] = without(part, inner)  # noqa: SLF001
    return pruned
