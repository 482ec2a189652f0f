"""Batch norm's statistics, measured again on the training examples.

Sources: Li et al. 2016, arXiv:1603.04779 (adaptive batch normalisation); Wu & Johnson 2021, arXiv:2105.07576, section 3
(statistics of the population from moments of batches, instead of running averages).
"""

import numpy as np
import torch
from torch import Tensor, nn

from regraft.contracts.strategy import Problem
from regraft.identity import derive_seed
from regraft.strategies._batches import fetched, plain_draws
from regraft.strategies.tail import BATCH_NORM, Tail


def recalibrate(tail: Tail, problem: Problem) -> None:
    """Set the running statistics above the cut to mean and unbiased variance over the plain training examples.

    Each batch norm sees what those before it make of a batch with the batch's own statistics, in batches of 64 in a
    drawn order; so up to 64 examples, and in the lowest batch norm always, the figures are exact.
    """
    device = next(tail.parameters()).device
    moments = [_Moments(norm) for norm in tail.norms() if norm.track_running_stats]
    examples = np.random.default_rng(derive_seed(problem.seed, "recalibrate")).permutation(problem.train)
    tail.eval()
    for one in moments:
        one.begin()
    with torch.no_grad():
        for state in fetched(problem.states, plain_draws(examples, min_rows=2), device):
            tail(state)
    for one in moments:
        one.finish()


class _Moments:
    """Count, mean and sum of squared deviations of what enters one batch norm, combined from batches.

    Source of the combination: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm".
    """

    def __init__(self, norm: BATCH_NORM) -> None:
        self._norm, self._momentum = norm, norm.momentum
        self._count = 0
        self._mean = self._squares = torch.zeros(norm.num_features, dtype=torch.float64)

    def begin(self) -> None:
        """Let the norm use its batches' statistics without keeping them, and watch what comes in."""
        self._norm.train()
        self._norm.momentum = 0.0
        self._hook = self._norm.register_forward_pre_hook(self._watch)

    def finish(self) -> None:
        """Set the running statistics, and put the norm back into evaluation mode."""
        self._hook.remove()
        self._norm.momentum = self._momentum
        self._norm.eval()
        assert self._norm.running_mean is not None
        assert self._norm.running_var is not None
        self._norm.running_mean.copy_(self._mean)
        self._norm.running_var.copy_(self._squares / max(1, self._count - 1))

    def _watch(self, norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        axes = [axis for axis in range(given[0].ndim) if axis != 1]
        count = given[0].numel() // given[0].shape[1]
        variance, mean = (t.to("cpu", torch.float64) for t in torch.var_mean(given[0].float(), axes, correction=0))
        total, gap = self._count + count, mean - self._mean
        self._squares = self._squares + variance * count + gap**2 * (self._count * count / total)
        self._mean = self._mean + gap * (count / total)
        self._count = total
