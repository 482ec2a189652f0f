"""Embedding head: inputs of the same identity are mapped close together.

Letters: n rows, d features, e dimensions, k identities.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional


class EmbeddingHead(nn.Module):
    """Features (n d) -> `embedding` (n e), of unit length, and `cosines` (n k) with a proxy per training identity."""

    def __init__(self, width: int, dimensions: int, num_identities: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(width, dimensions)
        self.proxies = nn.Parameter(torch.randn(num_identities, dimensions))

    def forward(self, features: Float[Tensor, "n d"]) -> dict[str, Tensor]:
        place = functional.normalize(self.embed(self.dropout(features)))
        return {"embedding": place, "cosines": place @ functional.normalize(self.proxies).T}


def arcface(
    trained: Int[Tensor, " t"], scale: float, margin: float
) -> Callable[[dict[str, Tensor], Int[Tensor, " n"]], Tensor]:
    """Return the ArcFace loss: cross entropy of the scaled cosines, with `margin` added to the angle to the correct
    proxy (Deng et al. 2018, arXiv:1801.07698, equation 3). Identities that are not in `trained` are excluded, as are
    their rows."""

    def loss(output: dict[str, Tensor], identities: Int[Tensor, " n"]) -> Tensor:
        cosines = output["cosines"]
        among = torch.full((cosines.shape[1],), -torch.inf, device=cosines.device)
        among[trained.to(cosines.device)] = 0.0
        known = among[identities] == 0
        if not bool(known.any()):
            return cosines.sum() * 0
        cosines, identities = cosines[known], identities[known]
        own = functional.one_hot(identities, cosines.shape[1]).to(cosines.dtype)
        angles = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
        moved = torch.where(own > 0, (angles + margin).clamp(max=torch.pi).cos(), cosines)
        return functional.cross_entropy(scale * moved + among, identities)

    return loss
