"""What turns gradients into steps.

Sources: Loshchilov & Hutter 2017, arXiv:1711.05101 (AdamW); Sutskever et al. 2013, section 2 (Nesterov's momentum, in
torch's form; 0.9 is the field's habit).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

OptimiserName = Literal["adamw", "sgd"]

MOMENTUM = 0.9


def optimiser_of(
    name: OptimiserName, groups: Sequence[Mapping[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser of these parameter groups, each with its peak rate `lr` and its `weight_decay`."""
    own, fused = [dict(group) for group in groups], device.type in ("cpu", "cuda")
    if name == "sgd":
        return torch.optim.SGD(own, momentum=MOMENTUM, nesterov=True, fused=fused)
    return torch.optim.AdamW(own, fused=fused)
