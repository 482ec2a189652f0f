"""The first stage of a vision transformer.

Letters: n examples, c channels, h and w height and width in pixels, t tokens (the class token first), d features.
Source: Dosovitskiy et al. 2020, arXiv:2010.11929, equation 1.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Embeddings(nn.Module):
    """Patches, the class token before them, and the position embedding on all; holds the original's own tensors."""

    def __init__(
        self,
        patches: nn.Conv2d,
        class_token: Float[nn.Parameter, "1 1 d"],
        positions: Float[nn.Parameter, "1 t d"],
    ) -> None:
        super().__init__()
        self.patches = patches
        self.class_token = class_token
        self.positions = positions

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t d"]:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], dim=1) + self.positions
