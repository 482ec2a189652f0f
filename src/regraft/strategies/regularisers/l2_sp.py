"""L2-SP: weight decay towards the pretrained weights instead of towards zero.

    alpha / 2 * |w - w0|^2  +  beta / 2 * |v|^2

w are the parameters of the stages above the cut (scales and shifts of norms too), w0 their pretrained values, v the
parameters that are trained from random weights. It replaces weight decay, which is off. AdamW normalises gradients,
including that of this term, so alpha does not determine how fast weights shrink, as it does with SGD.

Source: Li, Grandvalet & Davoine 2018, arXiv:1802.01483, the penalty called L2-SP. alpha and beta are 0.01 in the
experiments of thuml's Transfer-Learning-Library (`--trade-off-backbone`, `--trade-off-head`).
"""

from jaxtyping import Float
from torch import Tensor

from regraft.contracts.strategy import Problem
from regraft.strategies.regularisers.regulariser import Kind, Regulariser, head_term
from regraft.strategies.tail import Batch, Tail

WEIGHT = 0.01
"""alpha."""


class StartingPoint(Regulariser):
    """Half the squared distance to where training starts from."""

    replaces_decay = True

    def __init__(self, tail: Tail, weight: float) -> None:
        super().__init__(weight)
        for number, parameter in enumerate(tail.stages.parameters()):
            self.register_buffer(f"start_{number}", parameter.detach().clone(), persistent=False)

    def forward(self, tail: Tail, batch: Batch) -> Float[Tensor, ""]:
        total = head_term(tail)
        for parameter, start in zip(tail.stages.parameters(), self.buffers(), strict=True):
            total = total + 0.5 * self.weight * (parameter - start).square().sum()
        return total


def build(problem: Problem, tail: Tail, weight: float) -> StartingPoint:
    """Return the regulariser towards the tail's current weights, which are the pretrained ones."""
    return StartingPoint(tail, weight)


ENTRY = Kind(weight=WEIGHT, build=build)
