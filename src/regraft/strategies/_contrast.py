"""Contrast: the features of two views of one example are drawn together, and apart from those of all others.

A batch holds every example twice, in two views. Behind a projector that is thrown away, z are the features at length 1;
the loss of a row is the cross-entropy of finding its other view among all other rows, by z . z' / TEMPERATURE.

Sources: Chen et al. 2020, arXiv:2002.05709 (NT-Xent, with a projector of one hidden layer); Islam et al. 2021,
arXiv:2103.13517 (beside the loss of the classes it makes features that transfer better, farther away above all). The
temperature and the width of 128 are our choice among those of the former.

Letters: r rows of a batch, twice as many as examples; d values of the features.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

TEMPERATURE = 0.2
WIDTH = 128
"""Values in which two views are compared."""


class Contrast(nn.Module):
    """The features of a batch (r d), the second views after the first -> the loss."""

    def __init__(self, width: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.layers = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, WIDTH)
        )

    def forward(self, features: Float[Tensor, "r d"]) -> Float[Tensor, ""]:
        compared = functional.normalize(self.layers(features).float(), dim=1)
        rows = len(compared)
        with torch.autocast(compared.device.type, enabled=False):
            alike = compared @ compared.T / TEMPERATURE
        itself = torch.eye(rows, dtype=torch.bool, device=alike.device)
        twin = torch.arange(rows, device=alike.device).roll(rows // 2)
        loss: Tensor = self.weight * functional.cross_entropy(alike.masked_fill(itself, -torch.inf), twin)
        return loss
