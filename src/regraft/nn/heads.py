"""The heads that are trained anew: a linear layer on the pooled features, and fresh auxiliary classifiers.

Letters: n examples, d features, c outputs.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regraft.nn.googlenet import GoogLeNet
from regraft.nn.side_heads import SideHead

__all__ = ["PooledHead", "SideHead", "side_head"]


class PooledHead(nn.Module):
    """Pooled features -> outputs: `dropout(x) @ weight.T + bias`.

    Starts at zero (our choice), so that an untrained head gives every class the same probability and two heads of
    one shape start alike.
    """

    weight: Float[nn.Parameter, "c d"]
    bias: Float[nn.Parameter, "c"]

    def __init__(self, width: int, num_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_outputs, width))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        self.dropout = nn.Dropout(dropout)

    def forward(self, pooled: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return functional.linear(self.dropout(pooled), self.weight, self.bias)


def side_head(net: GoogLeNet, stage: str) -> Callable[[int], SideHead]:
    """How to make a fresh auxiliary classifier for `stage` of `net`: number of outputs -> module.

    Raises:
        UnknownName: when called, if no auxiliary classifier belongs to `stage`.
    """
    return partial(net.new_side_head, stage)
