"""The head of a language model: an output layer over the vocabulary, and the loss of the predicted tokens.

The loss is computed in the head, only at positions with a token to be predicted, so that the logits of a whole batch
are never in memory. Letters: b rows, t tokens, d features, v vocabulary size.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

AT_ONCE = 1024
"""Number of positions whose logits are computed at once."""


class LanguageHead(nn.Sequential):
    """Dropout and an output layer. `tokens` (b t d) -> logits (b t v); or `tokens` with `truth` (b t), 1 + the token to
    be predicted at each position, 0 for none -> for each row the summed loss `nll` in nats and the number of predicted
    `tokens`."""

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
