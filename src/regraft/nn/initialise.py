"""Initialisation of parameters from one generator; or none, for networks whose tensors are then loaded from a file."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode


def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Initialise the parameters of `module`, in the order of its layers.

    Convolutions: normal with variance 2 / fan-in, which preserves the signal's scale through ReLUs even without batch
    norm (He et al. 2015, arXiv:1502.01852, equation 10). Linear layers: normal with standard deviation 0.01. Biases: 0;
    batch norm: identity. `generator` None uses torch's global one.

    torchvision uses 0.01 for convolutions too: with batch norm the scale does not matter, but without it the signal
    would vanish.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


_DRAWS = frozenset({init.normal_, init.uniform_, init.kaiming_uniform_})
"""Random initialisers as seen by a function mode: these three of `torch.nn.init` are passed as a whole, the others step
by step.

Source: torch/nn/init.py, where `handle_torch_function` is called.
"""

_STEPS = {Tensor.normal_: "mean", Tensor.uniform_: "from"}
"""Steps of the other initialisers, and the argument with a typical value: with uninitialised memory, a draw that is
repeated until it lies within bounds (`trunc_normal_`) might never end."""

_MAKES = frozenset({torch.rand, torch.randn})
"""Functions that create a new random tensor."""


class Undrawn(TorchFunctionMode):
    """Context without random initialisation: a new parameter keeps whatever is in its memory, or the mean or lower
    bound of its distribution; the random state does not change.

    Constant initialisation (biases, batch norm) works as usual.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else named["tensor"]
        if func in _STEPS:
            return args[0].fill_(args[1] if len(args) > 1 else named.get(_STEPS[func], 0.0))
        if func in _MAKES:
            return torch.empty(*args, **{name: value for name, value in named.items() if name != "generator"})
        return func(*args, **named)


class Unfilled(Undrawn):
    """As `Undrawn`, with the results of `torch.empty` on device `meta`: a layer's parameters, which are later replaced
    by those of a file, and for which even an initialisation in many steps costs nothing.

    With everything on `meta`, constants that are in no file would be lost, and a plain `torch.device("meta")` loads
    torch's compiler.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is torch.empty and named.get("device") is None:
            return func(*args, **{**named, "device": "meta"})
        return super().__torch_function__(func, types, args, kwargs)
