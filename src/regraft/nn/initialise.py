"""First values of parameters, from one generator; or none, for networks whose tensors are filled from a file right
after they are built, so that drawing them would be in vain.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode


def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw the parameters of `module` again, in the order of its layers.

    Convolutions: normal with variance 2 / fan-in, which keeps the signal's scale through rectifiers even without
    batch norm (He et al. 2015, arXiv:1502.01852, equation 10). Dense layers: normal with standard deviation 0.01.
    Biases 0; batch norm the identity. `generator` None means torch's global one.

    torchvision's own rule is 0.01 for convolutions too: with batch norm the scale does not matter, without it the
    signal would vanish.
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
"""What draws, as a mode sees it: of `torch.nn.init`, these three hand themselves over whole, the others by their steps.

Source: torch/nn/init.py, where `handle_torch_function` is called.
"""

_STEPS = {Tensor.normal_: "mean", Tensor.uniform_: "from"}
"""The steps of the others, and which argument says where to: left to what lay in memory, a draw that is repeated until
it lies within bounds (`trunc_normal_`) might never end."""

_MAKES = frozenset({torch.rand, torch.randn})
"""What makes a new tensor and draws it."""


class Undrawn(TorchFunctionMode):
    """Inside it nothing is drawn: a new parameter holds whatever lay in its memory, or the mean or lower end of what
    was to be drawn; the random state does not move.

    What is set to a constant (biases, batch norm) is set as ever.
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
    """As `Undrawn`, and what `torch.empty` makes lies on device `meta`: a layer's parameters, which wait to be swapped
    for those of a file, and for which even a draw of many steps costs nothing.

    With all on `meta`, constants that no file holds would be lost, and a plain `torch.device("meta")` loads torch's
    compiler.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is torch.empty and named.get("device") is None:
            return func(*args, **{**named, "device": "meta"})
        return super().__torch_function__(func, types, args, kwargs)
