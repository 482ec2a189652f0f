"""The head of a language model: an output layer over the vocabulary, and the loss of the tokens to be predicted.

The loss is computed in the head, of the places with a token to be predicted alone, so that a batch never has logits
of all its places. Letters: b rows, t tokens, d features, v vocabulary size.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

AT_ONCE = 1024
"""Places whose logits are computed at once."""


class LanguageHead(nn.Sequential):
    """Dropout and an output layer. `tokens` (b t d) -> logits (b t v); or `tokens` with `truth` (b t), 1 + the token to
    be predicted at each place, 0 for none -> by row the sum of their losses `nll` in nats and their number `tokens`."""

    def __init__(self, output: nn.Module, dropout: float) -> None:
        super().__init__(nn.Dropout(dropout), output)

    def forward(self, read: Any) -> Any:
        dropout, output = self
        if not isinstance(read, Mapping):
            return output(dropout(read))
        truth: Tensor = read["truth"]
        row, place = (truth > 0).nonzero(as_tuple=True)
        hidden, wanted = read["tokens"][row, place], truth[row, place].long() - 1
        lost = [
            nn.functional.cross_entropy(output(dropout(some)).float(), goals, reduction="none")
            for some, goals in zip(torch.split(hidden, AT_ONCE), torch.split(wanted, AT_ONCE), strict=True)
        ]
        sums = torch.zeros(len(truth), device=hidden.device)
        return {"nll": sums.index_add(0, row, torch.cat(lost)), "tokens": (truth > 0).sum(dim=1).float()}
