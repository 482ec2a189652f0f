"""First values of parameters, from one generator."""

import torch
from torch import nn


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
