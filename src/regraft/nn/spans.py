"""A head that predicts the first and the last token of an answer, and its loss.

Source: Devlin et al. 2019, arXiv:1810.04805, section 4.2. Our choice: tokens that cannot be part of an answer (the
question, padding) are excluded. Letters: b rows, t tokens, d features.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

SIDES = ("start", "end")


class SpanHead(nn.Module):
    """Tokens (b t d) -> `start` and `end` (b t): scores of each token for being the answer's first or last."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout, self.sides = nn.Dropout(dropout), nn.Linear(width, 2)
        nn.init.zeros_(self.sides.weight)
        nn.init.zeros_(self.sides.bias)

    def forward(self, tokens: Float[Tensor, "b t d"]) -> dict[str, Tensor]:
        return dict(zip(SIDES, self.sides(self.dropout(tokens)).unbind(dim=2), strict=True))


def span_loss(output: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> Tensor:
    """Return the mean of the cross entropies of start and end; `encoded` has the index of the correct token for each,
    and which tokens are `outside` (b t)."""
    lowest = torch.finfo(output["start"].dtype).min
    lost = [
        nn.functional.cross_entropy(output[side].masked_fill(encoded["outside"], lowest), encoded[side])
        for side in SIDES
    ]
    return torch.stack(lost).mean()
